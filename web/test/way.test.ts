import { describe, expect, it } from "vitest";
import { afterRefusal, lifeOf } from "../src/player/life";
import {
  CONNECT_MS,
  firstWay,
  nextWay,
  type Reason,
  remember,
  remembered,
  SILENCE_MS,
  type WayEvent,
  type WayState,
  whyNot,
} from "../src/player/way";

const ALL = { webrtc: true, websocket: true, hls: true };

/** A viewer with its own time: says what happens, sees what follows. */
class Story {
  now = 0;
  bytes = 0;
  packets = 0;
  lost = 0;
  constructor(public state: WayState = firstWay("auto", ALL)) {}

  says(event: WayEvent): this {
    this.state = nextWay(this.state, event, this.now);
    return this;
  }

  connects(): this {
    return this.says({ type: "offered" }).says({ type: "connected" });
  }

  /** Time goes by; `packets` come and `lost` do not, each half second. */
  pass(ms: number, packets = 0, lost = 0): this {
    for (let gone = 0; gone < ms; gone += 500) {
      this.now += 500;
      this.packets += packets;
      this.lost += lost;
      this.bytes += packets * 1000;
      this.says({ type: "tick", bytes: this.bytes, packets: this.packets, lost: this.lost });
    }
    return this;
  }

  get result(): string {
    return `${this.state.way} ${this.state.reason ?? "-"} ${this.state.attempt}`;
  }
}

describe("the automatic way", () => {
  it("begins with WebRTC and stays there while pictures come", () => {
    expect(new Story().connects().pass(60_000, 100, 2).result).toBe("webrtc - 0");
  });

  it("changes when nothing is connected after three seconds", () => {
    const story = new Story().says({ type: "offered" }).pass(CONNECT_MS - 500);
    expect(story.result).toBe("webrtc - 0");
    expect(story.pass(500).result).toBe("websocket unconnected 1");
  });

  it("changes at once when ICE fails", () => {
    const story = new Story().says({ type: "offered" }).says({ type: "failed" });
    expect(story.result).toBe("websocket unconnected 1");
  });

  it("changes when more than a tenth is lost for five seconds", () => {
    // A fifth lost for two of five seconds is less than a tenth of them.
    const story = new Story().connects().pass(10_000, 100, 0).pass(2_000, 80, 20);
    expect(story.result).toBe("webrtc - 0");
    expect(story.pass(1_000, 80, 20).result).toBe("websocket loss 1");
    expect(new Story().connects().pass(6_000, 80, 20).result).toBe("websocket loss 1");
  });

  it("bears a burst, and a loss of exactly a tenth", () => {
    expect(new Story().connects().pass(10_000, 100).pass(500, 20, 80).pass(9_000, 100).result).toBe(
      "webrtc - 0",
    );
    expect(new Story().connects().pass(20_000, 90, 10).result).toBe("webrtc - 0");
  });

  it("says nothing about losses of a handful of packets", () => {
    expect(new Story().connects().pass(20_000, 2, 1).result).toBe("webrtc - 0");
  });

  it("changes after silence, when the server says that the channel flows", () => {
    const story = new Story().connects().pass(5_000, 100).pass(1_000);
    story.says({ type: "life", life: "flowing" });
    expect(story.pass(SILENCE_MS - 1_500).result).toBe("webrtc - 0");
    expect(story.pass(500).result).toBe("websocket silence 1");
  });

  it.each(["waiting", "quiet", "gone", "unknown"] as const)(
    "bears silence while the channel is %s",
    (life) => {
      const story = new Story().connects().pass(5_000, 100).pass(1_000);
      expect(story.says({ type: "life", life }).pass(60_000).result).toBe("webrtc - 0");
    },
  );

  it("does not take what was said before the silence as its explanation", () => {
    const story = new Story().connects().says({ type: "life", life: "flowing" });
    expect(story.pass(5_000, 100).pass(20_000).result).toBe("webrtc - 0");
  });

  it("opens WebRTC anew after the server was away", () => {
    const story = new Story().connects().pass(5_000, 100).pass(2_000);
    story.says({ type: "life", life: "gone" }).says({ type: "failed" });
    expect(story.result).toBe("webrtc - 1");
    const other = new Story().connects().pass(5_000, 100).pass(2_000);
    other.says({ type: "life", life: "gone" }).pass(4_000).says({ type: "life", life: "flowing" });
    expect(other.result).toBe("webrtc - 1");
  });

  it("keeps a session over an outage of REST alone", () => {
    const story = new Story().connects().pass(5_000, 100).says({ type: "life", life: "gone" });
    story.pass(2_000, 100).says({ type: "life", life: "flowing" });
    expect(story.result).toBe("webrtc - 0");
  });

  it("does not take sleep of the machine for silence or for slowness", () => {
    const story = new Story().connects().pass(5_000, 100);
    story.now += 3_600_000;
    story.says({ type: "life", life: "flowing" });
    expect(story.pass(1_000).result).toBe("webrtc - 0");
    const early = new Story().says({ type: "offered" });
    early.now += 60_000;
    expect(early.pass(500).result).toBe("webrtc - 0");
  });

  it("changes at once where the format or the server does not fit", () => {
    expect(new Story().says({ type: "refused", reason: "codec" }).result).toBe("websocket codec 1");
    expect(new Story().says({ type: "refused", reason: "off" }).result).toBe("websocket off 1");
  });

  it("opens WebRTC anew when the server ended a session that lasted, and leaves one that did not", () => {
    expect(new Story().connects().pass(5_000, 100).says({ type: "ended" }).result).toBe(
      "webrtc - 1",
    );
    expect(new Story().connects().pass(1_000, 100).says({ type: "ended" }).result).toBe(
      "websocket silence 1",
    );
  });

  it("stays with WebSocket until asked", () => {
    const story = new Story().says({ type: "refused", reason: "codec" });
    story.connects().pass(60_000).says({ type: "life", life: "flowing" });
    expect(story.result).toBe("websocket codec 1");
    expect(story.says({ type: "choose", choice: "auto" }).result).toBe("webrtc - 2");
  });

  it("begins with WebSocket in browsers without WebRTC", () => {
    const state = firstWay("auto", { ...ALL, webrtc: false });
    expect(new Story(state).result).toBe("websocket missing 0");
  });

  it("comes to HLS last", () => {
    const story = new Story().says({ type: "offered" }).pass(CONNECT_MS);
    expect(story.says({ type: "blocked" }).result).toBe("hls blocked 2");
    expect(story.says({ type: "refused", reason: "codec" }).says({ type: "blocked" }).result).toBe(
      "hls blocked 2",
    );
    const decoder = new Story().says({ type: "refused", reason: "codec" });
    expect(decoder.says({ type: "refused", reason: "decoder" }).result).toBe("hls decoder 2");
  });

  it("passes over what the browser or the page cannot", () => {
    const plain = firstWay("auto", { ...ALL, websocket: false });
    expect(new Story(plain).says({ type: "offered" }).pass(CONNECT_MS).result).toBe(
      "hls unconnected 1",
    );
    const old = firstWay("auto", { webrtc: false, websocket: false, hls: true });
    expect(new Story(old).result).toBe("hls missing 0");
  });

  it("opens WebRTC again where the browser cannot decode frames itself", () => {
    const only = { webrtc: true, websocket: false, hls: false };
    expect(new Story(firstWay("auto", only)).connects().pass(20_000, 70, 30).result).toBe(
      "webrtc - 0",
    );
    expect(new Story(firstWay("auto", only)).says({ type: "offered" }).pass(3_000).result).toBe(
      "webrtc - 1",
    );
  });
});

describe("a chosen way", () => {
  it("is kept whatever happens", () => {
    const story = new Story(firstWay("webrtc", ALL));
    story.says({ type: "refused", reason: "codec" }).connects().pass(20_000, 50, 50);
    expect(story.result).toBe("webrtc - 0");
    expect(new Story(firstWay("webrtc", ALL)).says({ type: "offered" }).pass(3_000).result).toBe(
      "webrtc - 1",
    );
    expect(new Story(firstWay("websocket", ALL)).connects().pass(9_000).result).toBe(
      "websocket - 0",
    );
    const socket = new Story(firstWay("websocket", ALL)).says({ type: "blocked" });
    expect(socket.says({ type: "refused", reason: "decoder" }).result).toBe("websocket - 0");
  });

  it("is left out where it does not go", () => {
    const state = firstWay("websocket", { ...ALL, websocket: false });
    expect([state.choice, state.way]).toEqual(["auto", "webrtc"]);
  });

  it("is remembered, and nonsense is not", () => {
    const kept = new Map<string, string>();
    const storage = {
      getItem: (k: string) => kept.get(k) ?? null,
      setItem: (k: string, v: string) => kept.set(k, v),
    } as unknown as Storage;
    expect(remembered(null, storage)).toBe("auto");
    remember("websocket", storage);
    expect(remembered(null, storage)).toBe("websocket");
    expect(remembered("hls", storage)).toBe("hls");
    expect(remembered("carrier pigeon", storage)).toBe("auto");
    expect(remembered(null, null)).toBe("auto");
  });

  it("gives every reason its words", () => {
    const all = ["unconnected", "loss", "silence", "codec", "off", "missing", "blocked", "decoder"];
    for (const reason of all as Reason[]) {
      expect(whyNot(reason)).toMatch(/^[A-Z].*\.$/);
    }
    expect(whyNot(null)).toBe("");
  });
});

describe("what the server says", () => {
  it.each([
    [null, null, "gone"],
    [503, null, "gone"],
    [404, null, "unknown"],
    [200, { state: "on_air", bitrate: 9 }, "flowing"],
    [200, { state: "on_air", bitrate: 0 }, "quiet"],
    [200, { state: "waiting", bitrate: 0 }, "waiting"],
    [200, { state: "idle", bitrate: 0 }, "waiting"],
    [200, "nonsense", "unknown"],
  ])("%s %o is %s", (status, body, life) => {
    expect(lifeOf({ status, body })).toBe(life);
  });

  const onAir = { state: "on_air", bitrate: 9, readers: 1, max_readers: 2 };
  it.each([
    [406, 200, onAir, "codec"],
    [406, 200, { ...onAir, state: "waiting" }, "waiting"],
    [401, 200, onAir, "refused"],
    [403, 200, onAir, "refused"],
    [0, null, null, "gone"],
    [404, 404, null, "unknown"],
    [404, 200, onAir, "off"],
    [405, 200, onAir, "off"],
    [429, 200, onAir, "full"],
    [503, 200, onAir, "off"],
    [503, 200, { ...onAir, readers: 2 }, "full"],
    [503, null, null, "gone"],
    [404, 200, { ...onAir, state: "idle" }, "waiting"],
  ])("a refusal with %s, then %s %o, means %s", (status, then, body, wanted) => {
    expect(afterRefusal(status, { status: then, body })).toBe(wanted);
  });
});
