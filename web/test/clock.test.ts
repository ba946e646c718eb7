import { describe, expect, it } from "vitest";
import { ServerClock } from "../src/player/clock";

describe("ServerClock", () => {
  it("knows nothing at first and guesses from the start message", () => {
    const clock = new ServerClock();
    expect(clock.serverTime(0)).toBeNull();
    clock.hint(5_000, 1_000);
    expect(clock.serverTime(2_000)).toBe(6_000);
    expect(clock.roundTripUs).toBeNull();
  });

  it("halves the round trip", () => {
    const clock = new ServerClock();
    clock.add(1_000_050, 0, 100);
    expect(clock.serverTime(100)).toBe(1_000_100);
  });

  it("trusts the quickest answer", () => {
    const clock = new ServerClock();
    clock.add(1_000_050, 0, 100);
    clock.add(1_090_000, 0, 100_000);
    expect(clock.serverTime(0)).toBe(1_000_000);
    expect(clock.roundTripUs).toBe(100);
  });

  it("forgets old answers so that a drifting clock is followed", () => {
    const clock = new ServerClock();
    clock.add(1_000_050, 0, 100);
    for (let i = 0; i < 12; i++) clock.add(2_000_100, 0, 200);
    expect(clock.serverTime(0)).toBe(2_000_000);
  });

  it("ignores an answer from before its question", () => {
    const clock = new ServerClock();
    clock.add(5, 100, 50);
    expect(clock.serverTime(0)).toBeNull();
  });
});
