import { describe, expect, it } from "vitest";
import { pollDelay } from "../src/api/poll";
import { permitOf, resolve } from "../src/player/address";
import { refusal } from "../src/player/life";
import { STILL_MS, Standstill } from "../src/player/standstill";
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
      hls: "https://host:8443/hls/demo/index.m3u8",
      api: "https://host:8443/api/v1/channels/demo",
      foreign: false,
    };
    for (const src of ["demo", "/watch/demo", "/ws/demo", "wss://host:8443/ws/demo"]) {
      expect(resolve(src, base)).toEqual(wanted);
    }
  });

  it("stays plain on a plain page, and shows a token or key on every way", () => {
    for (const permit of ["?token=v1.a.b", "?key=k1"]) {
      const found = resolve(`http://a:1/watch/x${permit}&way=hls#t`, base);
      expect(found).toMatchObject({
        websocket: `ws://a:1/ws/x${permit}`,
        whep: `http://a:1/whep/x${permit}`,
        hls: `http://a:1/hls/x/index.m3u8${permit}`,
        api: `http://a:1/api/v1/channels/x${permit}`,
      });
    }
    expect(permitOf("?way=hls&key=&token=")).toBe("");
    expect(permitOf("?key=a%26b")).toBe("?key=a%26b");
  });

  it("knows a channel of another server, and of the script's", () => {
    const page = "https://blog.example/post";
    expect(resolve("https://host:8443/watch/x", base, page)?.foreign).toBe(true);
    expect(resolve("x", base, page)).toMatchObject({
      foreign: true,
      whep: "https://host:8443/whep/x",
    });
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
    expect(refusal({ status, body })).toBe(wanted);
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

describe("a standstill", () => {
  /** Ten seconds of pictures each `every` ms, and sound that is `delay` ms on its way. */
  const playing = (every: number, delay: number): Standstill => {
    const still = new Standstill();
    for (let at = 0; at <= 10_000; at += 20) {
      if (at % every === 0) still.picture(at);
      still.sound(at, delay);
      expect(still.behind(at)).toBe(false);
    }
    return still;
  };

  it("is a picture that stays while late sound goes on, until the next picture", () => {
    const still = playing(40, 30);
    for (let at = 10_020; at <= 12_000; at += 20) still.sound(at, 900);
    expect(still.behind(10_000 + STILL_MS)).toBe(false);
    expect(still.behind(12_000)).toBe(true);
    still.picture(12_010);
    expect(still.behind(12_010)).toBe(false);
  });

  it("is told also while pictures still come, but all comes late for long", () => {
    const still = playing(40, 30);
    for (let at = 10_020; at <= 12_000; at += 20) {
      if (at % 200 === 0) still.picture(at);
      still.sound(at, 1_500);
      if (at < 11_000) expect(still.behind(at)).toBe(false);
    }
    expect(still.behind(12_000)).toBe(true);
    still.sound(12_020, 100);
    still.picture(12_020);
    expect(still.behind(12_020)).toBe(false);
  });

  it("is none of a slow camera, of a source without pictures, or where all is silent", () => {
    const slow = playing(1_000, 900);
    for (let at = 10_020; at <= 12_500; at += 20) slow.sound(at, 900);
    expect(slow.behind(12_500)).toBe(false);
    const dark = playing(40, 30);
    for (let at = 10_020; at <= 15_000; at += 20) dark.sound(at, 30);
    expect(dark.behind(15_000)).toBe(false);
    expect(playing(40, 900).behind(20_000)).toBe(false);
  });
});
