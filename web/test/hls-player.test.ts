// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { resolve } from "../src/player/address";
import { HlsPlayer } from "../src/player/hls-player";
import type { WayEvent } from "../src/player/way";

const made: FakeHls[] = [];

class FakeHls {
  static isSupported = (): boolean => true;
  readonly levels = [];
  currentLevel = -1;
  latency = 0;
  targetLatency = null;
  source = "";
  readonly calls: string[] = [];
  private readonly heard = new Map<string, (event: string, data: unknown) => void>();

  constructor() {
    made.push(this);
  }

  on(event: string, call: (event: string, data: unknown) => void): void {
    this.heard.set(event, call);
  }

  fails(data: object): void {
    this.heard.get("error")?.("error", { fatal: true, type: "network", details: "", ...data });
  }

  loadSource(url: string): void {
    this.source = url;
  }

  attachMedia(): void {}
  stopLoad = (): void => void this.calls.push("stopLoad");
  destroy = (): void => void this.calls.push("destroy");
  recoverMediaError = (): void => void this.calls.push("recover");
}

vi.mock("hls.js", () => ({
  default: FakeHls,
  Events: { ERROR: "error", FRAG_BUFFERED: "buffered" },
  ErrorTypes: { MEDIA_ERROR: "media" },
  ErrorDetails: {
    MANIFEST_INCOMPATIBLE_CODECS_ERROR: "codecs",
    BUFFER_ADD_CODEC_ERROR: "add",
    BUFFER_INCOMPATIBLE_CODECS_ERROR: "incompatible",
  },
}));

/** What the API says of the channel. */
let told: { status: number; body: object } = { status: 200, body: {} };
const ON_AIR = { state: "on_air", bitrate: 9, tracks: [{ kind: "video", codec: "vp8" }] };

beforeEach(() => {
  made.length = 0;
  vi.useFakeTimers();
  vi.spyOn(HTMLMediaElement.prototype, "play").mockResolvedValue();
  vi.spyOn(HTMLMediaElement.prototype, "pause").mockReturnValue();
  vi.stubGlobal("fetch", async () => new Response(JSON.stringify(told.body), told));
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

async function playing(): Promise<{ player: HlsPlayer; events: WayEvent[] }> {
  const events: WayEvent[] = [];
  const quiet = { state: () => {}, notice: () => {}, behind: () => {}, soundBlocked: () => {} };
  const player = new HlsPlayer(document.createElement("video"), quiet, (event) => {
    events.push(event);
  });
  player.load(resolve("http://tv:1/watch/yard?token=T", "http://tv:1/"));
  await vi.advanceTimersByTimeAsync(10);
  return { player, events };
}

const newest = (): FakeHls => {
  const one = made.at(-1);
  if (!one) throw new Error("hls.js was not started");
  return one;
};

describe("watching by HLS", () => {
  it("shows the token to the server", async () => {
    const { player } = await playing();
    expect(newest().source).toBe("http://tv:1/hls/yard/index.m3u8?token=T");
    expect(player.state).toBe("connecting");
    player.destroy();
  });

  it("waits for a channel that is not on air, and begins when it is", async () => {
    told = { status: 200, body: { ...ON_AIR, state: "waiting" } };
    const { player } = await playing();
    newest().fails({ response: { code: 404 } });
    await vi.advanceTimersByTimeAsync(10_000);
    expect([player.state, made.length]).toEqual(["waiting", 1]);
    told = { status: 200, body: ON_AIR };
    await vi.advanceTimersByTimeAsync(3_000);
    expect(made.length).toBe(2);
    player.destroy();
  });

  it("takes up the next rendition when one ends", async () => {
    told = { status: 200, body: ON_AIR };
    const { player } = await playing();
    newest().fails({ response: { code: 404 } });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(made.length).toBe(2);
    player.destroy();
  });

  it.each([
    [401, "refused"],
    [0, "reconnecting"],
  ])("after %i it is %s", async (code, state) => {
    told = { status: 200, body: ON_AIR };
    const { player } = await playing();
    newest().fails({ response: { code } });
    await vi.advanceTimersByTimeAsync(50);
    expect(player.state).toBe(state);
    player.destroy();
  });

  it("says which format does not fit", async () => {
    told = { status: 200, body: ON_AIR };
    const { player, events } = await playing();
    newest().fails({ response: { code: 406 } });
    await vi.advanceTimersByTimeAsync(50);
    expect(events).toEqual([{ type: "refused", reason: "codec" }]);
    player.unfit(false);
    expect([player.state, player.unsupportedCodec]).toEqual(["unsupported", "VP8"]);
    player.unfit(true);
    expect(player.state).toBe("unfit");
    player.destroy();
  });

  it("mends a decoder once, and begins anew when that is not enough", async () => {
    told = { status: 200, body: ON_AIR };
    const { player } = await playing();
    const first = newest();
    first.fails({ type: "media" });
    expect(first.calls).toEqual(["recover"]);
    first.fails({ type: "media" });
    await vi.advanceTimersByTimeAsync(1_000);
    expect(made.length).toBe(2);
    player.destroy();
    expect(first.calls).toContain("destroy");
  });

  it("asks nobody while it is paused, and goes on at the live edge", async () => {
    told = { status: 200, body: ON_AIR };
    const { player } = await playing();
    player.pause();
    newest().fails({ response: { code: 404 } });
    await vi.advanceTimersByTimeAsync(60_000);
    expect([player.state, made.length]).toEqual(["paused", 1]);
    player.resume();
    await vi.advanceTimersByTimeAsync(10);
    expect(made.length).toBe(2);
    player.destroy();
  });
});
