import { beforeEach, describe, expect, it } from "vitest";
import { AGAIN_MS, PATIENT_MS, QUIET_MS, SPREAD_MS, Vigil, WAITING_MS } from "../src/player/vigil";

let vigil: Vigil;

/** Media that come every 40 ms. */
function plays(from: number, until: number): void {
  for (let now = from; now <= until; now += 40) {
    expect(vigil.due(now)).toBe(false);
    vigil.heard(now);
  }
}

beforeEach(() => {
  vigil = new Vigil(0);
});

describe("a session", () => {
  it("is not asked about before it brought anything, and not while it brings media", () => {
    expect(vigil.due(60_000)).toBe(false);
    plays(0, 2_000);
  });

  it("is asked about once it is quiet, spread over a moment", () => {
    plays(0, 2_000);
    expect(vigil.due(2_000 + QUIET_MS - 1)).toBe(false);
    expect(vigil.due(2_000 + QUIET_MS)).toBe(true);
    expect(vigil.due(2_001 + QUIET_MS)).toBe(false);
    const late = new Vigil(1);
    late.heard(0);
    expect(late.due(QUIET_MS + SPREAD_MS - 1)).toBe(false);
    expect(late.due(QUIET_MS + SPREAD_MS)).toBe(true);
  });

  it.each([
    ["gone", true],
    ["mute", true],
    ["flowing", false],
    ["waiting", false],
    ["unknown", false],
    ["blind", false],
  ] as const)("that is said to be %s is followed by another: %s", (look, next) => {
    plays(0, 2_000);
    expect(vigil.due(2_500)).toBe(true);
    expect(vigil.answered(look, 2_500, 2_520)).toBe(next);
  });

  it("that brings media again before the answer stays", () => {
    plays(0, 2_000);
    vigil.due(2_500);
    vigil.heard(2_510);
    expect(vigil.answered("mute", 2_500, 2_520)).toBe(false);
  });

  it("is asked about again while the silence lasts, and seldom while its channel waits", () => {
    plays(0, 2_000);
    vigil.due(2_500);
    vigil.answered("flowing", 2_500, 2_520);
    expect(vigil.due(2_519 + AGAIN_MS)).toBe(false);
    expect(vigil.due(2_520 + AGAIN_MS)).toBe(true);
    vigil.answered("waiting", 3_520, 3_540);
    expect(vigil.due(3_539 + WAITING_MS)).toBe(false);
    expect(vigil.due(3_540 + WAITING_MS)).toBe(true);
    expect(vigil.answered("gone", 5_540, 5_560)).toBe(true);
  });

  it("of a server that cannot be asked is never asked about again", () => {
    plays(0, 2_000);
    vigil.due(2_500);
    vigil.answered("blind", 2_500, 2_520);
    vigil.heard(3_000);
    expect(vigil.due(60_000)).toBe(false);
  });

  it("with a picture a second is asked about once and not at each pause", () => {
    let asked = 0;
    vigil.heard(0);
    for (let now = 0; now <= 20_000; now += 100) {
      if (now % 1_000 === 0) vigil.heard(now);
      if (vigil.due(now)) {
        asked++;
        vigil.answered("flowing", now, now + 10);
      }
    }
    expect(asked).toBe(1);
  });

  it("is watched closely again when its pauses have become short", () => {
    vigil.heard(0);
    vigil.heard(1_000);
    expect(vigil.due(1_000 + PATIENT_MS - 100)).toBe(false);
    plays(1_040, 40_000);
    expect(vigil.due(40_000 + QUIET_MS + 60)).toBe(true);
  });
});
