// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { resolve } from "../src/player/address";
import { LAST_DELAY_MS } from "../src/player/backoff";
import { ElementPlayer } from "../src/player/element-player";
import type { AfterRefusal } from "../src/player/life";
import type { PlayerState, PlayerStats } from "../src/player/stats";

/** Notes what it is told to do, and plays nothing. */
class Shell extends ElementPlayer {
  override readonly unsupportedCodec = "";
  attempts = 0;
  released = 0;

  override get stats(): PlayerStats {
    throw new Error("nothing is measured here");
  }

  override retryNow(): void {}
  override unfit(): void {}

  protected override async connect(): Promise<void> {
    this.generation++;
    this.attempts++;
    this.become("connecting");
  }

  protected override release(): void {
    this.released++;
  }

  refused(why: Exclude<AfterRefusal, "codec">, leastMs = 0): void {
    this.tryLater(why, 1_000, leastMs);
  }
}

let told: { status: number; state: string };
let states: PlayerState[];
let player: Shell;

beforeEach(() => {
  vi.useFakeTimers();
  told = { status: 200, state: "waiting" };
  vi.stubGlobal(
    "fetch",
    async () => new Response(JSON.stringify({ state: told.state, bitrate: 9 }), told),
  );
  states = [];
  const events = {
    state: (state: PlayerState) => states.push(state),
    notice: () => {},
    behind: () => {},
    soundBlocked: () => {},
  };
  player = new Shell(document.createElement("video"), events, () => {});
  player.load(resolve("yard", "http://tv:1/"));
});

afterEach(() => {
  player.destroy();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a player with a video element", () => {
  it("is told of no channel at all", () => {
    player.load(null);
    expect([player.state, player.attempts]).toEqual(["unknown", 1]);
  });

  it("asks whether a channel began before it tries again", async () => {
    player.refused("waiting");
    await vi.advanceTimersByTimeAsync(8_000);
    expect([player.state, player.attempts]).toEqual(["waiting", 1]);
    told.state = "on_air";
    await vi.advanceTimersByTimeAsync(2_000);
    expect(player.attempts).toBe(2);
  });

  it.each([
    ["gone", "reconnecting"],
    ["off", "buffering"],
    ["full", "full"],
  ] as const)("tries soon again after %s and is %s", async (why, state) => {
    player.refused(why);
    expect(player.state).toBe(state);
    await vi.advanceTimersByTimeAsync(LAST_DELAY_MS);
    expect(player.attempts).toBe(2);
  });

  it("seldom looks for a channel that does not exist", async () => {
    player.refused("unknown");
    await vi.advanceTimersByTimeAsync(4_900);
    expect(player.attempts).toBe(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(player.attempts).toBe(2);
  });

  it("waits as long as the server wants", async () => {
    player.refused("full", 60_000);
    await vi.advanceTimersByTimeAsync(59_000);
    expect(player.attempts).toBe(1);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(player.attempts).toBe(2);
  });

  it("tries no more where it may not watch, and after a pause or stop", async () => {
    player.refused("refused");
    await vi.advanceTimersByTimeAsync(60_000);
    player.refused("gone");
    player.pause();
    await vi.advanceTimersByTimeAsync(60_000);
    player.resume();
    player.refused("gone");
    player.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(player.attempts).toBe(2);
    expect(states).toEqual([
      "connecting",
      "refused",
      "reconnecting",
      "paused",
      "connecting",
      "reconnecting",
      "idle",
    ]);
  });

  it("keeps the last picture until it is gone itself", () => {
    player.pause();
    player.stop();
    expect(player.released).toBe(0);
    player.destroy();
    expect(player.released).toBe(1);
  });
});
