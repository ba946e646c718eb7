import { describe, expect, it } from "vitest";
import { pollDelay } from "../src/api/poll";
import { refusal, resolve } from "../src/player/address";
import { Rate, Recent } from "../src/player/stats";
import { describe as say } from "../src/player/words";
import { bitrate, count, duration, secondsSince } from "../src/ui/format";

describe("resolve", () => {
  const base = "https://host:8443/watch/demo";

  it("takes a channel name, a page or a socket", () => {
    const wanted = {
      channel: "demo",
      websocket: "wss://host:8443/ws/demo",
      whep: "https://host:8443/whep/demo",
      key: "",
      api: "https://host:8443/api/v1/channels/demo",
    };
    for (const src of ["demo", "/watch/demo", "/ws/demo", "wss://host:8443/ws/demo"]) {
      expect(resolve(src, base)).toEqual(wanted);
    }
  });

  it("stays plain on a plain page and keeps a query", () => {
    expect(resolve("http://a:1/watch/x?token=1", base)?.websocket).toBe("ws://a:1/ws/x?token=1");
    expect(resolve("http://a:1/watch/x?key=k1", base)?.key).toBe("k1");
  });

  it("refuses what is neither", () => {
    for (const src of ["", "a b", "/live/demo", "http://[", "/ws/a/b", "/ws/%20"]) {
      expect(resolve(src, base)).toBeNull();
    }
  });
});

describe("refusal", () => {
  it.each([
    [null, null, "gone"],
    [502, null, "gone"],
    [404, null, "unknown"],
    [403, null, "refused"],
    [503, null, "full"],
    [200, { readers: 5, max_readers: 5 }, "full"],
    [200, { readers: 4, max_readers: 5 }, "unclear"],
    [200, { readers: 4, max_readers: null }, "unclear"],
    [200, "nonsense", "unclear"],
  ])("%s %o means %s", (status, body, wanted) => {
    expect(refusal(status, body)).toBe(wanted);
  });
});

describe("words", () => {
  it("names the codec that cannot be decoded", () => {
    expect(say("unsupported", "MPEG-2 video (mpeg2)")?.title).toContain("MPEG-2 video (mpeg2)");
    expect(say("unsupported", "")?.title).toContain("too old");
  });

  it("lets the picture speak while it plays", () => {
    expect(say("playing", "")).toBeNull();
  });
});

describe("pollDelay", () => {
  it("grows with failures to ten seconds, and is slow when hidden", () => {
    expect(pollDelay(0, false)).toBe(2_000);
    expect(pollDelay(2, false)).toBe(3_000);
    expect(pollDelay(40, false)).toBe(10_000);
    expect(pollDelay(0, true)).toBe(20_000);
  });
});

describe("figures", () => {
  it("writes bit rates", () => {
    expect([0, 26_400, 999_400, 999_600, 2_150_000, 12_400_000].map(bitrate)).toEqual([
      "0 kbit/s",
      "26 kbit/s",
      "999 kbit/s",
      "1.0 Mbit/s",
      "2.1 Mbit/s",
      "12 Mbit/s",
    ]);
  });

  it("writes durations in their two largest units", () => {
    expect([5, 90, 3_700, 200_000].map(duration)).toEqual(["5 s", "1 min", "1 h 1 min", "2 d 7 h"]);
  });

  it("counts in words", () => {
    expect(count(1, "viewer", "viewers")).toBe("1 viewer");
    expect(count(1200, "viewer", "viewers")).toBe("1,200 viewers");
  });

  it("measures since a time, never less than nothing", () => {
    expect(secondsSince("2026-01-01T00:00:00Z", Date.parse("2026-01-01T00:01:00Z"))).toBe(60);
    expect(secondsSince("2026-01-01T00:00:09Z", Date.parse("2026-01-01T00:00:00Z"))).toBe(0);
    expect(secondsSince("soon", 0)).toBeNull();
  });

  it("keeps a rate over its window", () => {
    const rate = new Rate(1_000_000);
    for (let at = 0; at <= 3_000_000; at += 100_000) rate.add(5, at);
    expect(rate.perSecond(3_000_000)).toBeCloseTo(55);
    expect(rate.perSecond(9_000_000)).toBe(0);
  });

  it("keeps mean and peak of the last values", () => {
    const recent = new Recent(3);
    for (const v of [100, 1, -4, 3]) recent.add(v);
    expect([recent.mean, recent.peak]).toEqual([0, -4]);
  });
});
