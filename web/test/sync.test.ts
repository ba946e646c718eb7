import { describe, expect, it } from "vitest";
import {
  choosePicture,
  correctAudio,
  KEYFRAME_PATIENCE_US,
  KeyframeGate,
  MAX_BUFFER_US,
  MIN_BUFFER_US,
  PlayoutClock,
  WindowedMin,
} from "../src/player/sync";

const S = 1_000_000;
const FRAME = S / 30;
/** Presentation times and local times share no zero: nothing may depend on it. */
const EPOCH = 1_795_000_000 * S;

/** Plays `seconds` of 30 fps live; `delay` gives each frame's way in µs. */
function live(
  clock: PlayoutClock,
  from: number,
  seconds: number,
  delay: (i: number) => number,
  each?: (nowUs: number, livePts: number) => void,
): void {
  let last = 0;
  for (let i = 0; i < seconds * 30; i++) {
    const sent = from + i * FRAME;
    last = Math.max(last, sent + delay(i)); // TCP keeps the order
    clock.observe(0, EPOCH + sent, last);
    clock.update(last);
    each?.(last, EPOCH + sent);
  }
}

describe("PlayoutClock", () => {
  it("runs the smallest buffer behind a steady stream", () => {
    const clock = new PlayoutClock();
    live(clock, 0, 3, () => 20_000);
    const now = 3 * S;
    expect(clock.mediaTime(now)).toBeCloseTo(EPOCH + now - 20_000 - MIN_BUFFER_US, -4);
  });

  it("knows nothing before the first frame", () => {
    expect(new PlayoutClock().mediaTime(5)).toBeNull();
  });

  it("goes straight to the live edge after the initial burst", () => {
    const clock = new PlayoutClock();
    // 2 s of the past arrive within 40 ms, then it is live.
    for (let i = 0; i < 60; i++) {
      const now = 2 * S + i * 700;
      clock.observe(0, EPOCH + i * FRAME, now);
      clock.update(now);
    }
    const now = 2 * S + 60 * 700;
    const behind = EPOCH + 59 * FRAME - (clock.mediaTime(now) ?? 0);
    expect(behind).toBeGreaterThan(MIN_BUFFER_US - 50_000);
    expect(behind).toBeLessThan(MIN_BUFFER_US + 50_000);
  });

  it("does not take the burst for jitter", () => {
    const clock = new PlayoutClock();
    for (let i = 0; i < 60; i++) clock.observe(0, EPOCH + i * FRAME, 2 * S + i * 700);
    live(clock, 2 * S, 4, () => 10_000);
    expect(clock.bufferUs).toBe(MIN_BUFFER_US);
  });

  it("widens with jitter, not beyond its limit, and shrinks again", () => {
    const clock = new PlayoutClock();
    live(clock, 0, 1, () => 20_000);
    live(clock, 1 * S, 8, (i) => 20_000 + (i % 7 === 0 ? 160_000 : 0));
    expect(clock.bufferUs).toBeGreaterThan(200_000);
    live(clock, 9 * S, 8, (i) => 20_000 + (i % 30 === 0 ? 700_000 : 0));
    expect(clock.bufferUs).toBe(MAX_BUFFER_US);
    live(clock, 20 * S, 20, () => 20_000);
    expect(clock.bufferUs).toBe(MIN_BUFFER_US);
  });

  it("never runs backwards or jumps while it adapts to mild jitter", () => {
    const clock = new PlayoutClock();
    live(clock, 0, 1, () => 20_000);
    let before: { now: number; media: number } | null = null;
    live(
      clock,
      1 * S,
      10,
      (i) => 20_000 + (i % 5) * 15_000,
      (now) => {
        const media = clock.mediaTime(now) ?? 0;
        if (before && now > before.now) {
          const rate = (media - before.media) / (now - before.now);
          expect(rate).toBeGreaterThan(0.98);
          expect(rate).toBeLessThan(1.02);
        }
        before = { now, media };
      },
    );
  });

  it("follows a source whose clock drifts", () => {
    const clock = new PlayoutClock();
    // 500 ppm is ten times what crystals do.
    live(clock, 0, 60, (i) => 20_000 + i * FRAME * 0.0005);
    const behind = EPOCH + 60 * S - (clock.mediaTime(60 * S + 50_000) ?? 0);
    expect(behind).toBeGreaterThan(100_000);
    expect(behind).toBeLessThan(250_000);
  });

  it.each([30, -30])(
    "follows a source whose clock steps by %i s within a second and a half",
    (step) => {
      const clock = new PlayoutClock();
      live(clock, 0, 3, () => 20_000);
      for (let i = 0; i < 45; i++) {
        const now = 3 * S + i * FRAME;
        clock.observe(0, EPOCH + now - 20_000 + step * S, now);
        clock.update(now);
      }
      const now = 4.5 * S;
      const behind = EPOCH + now + step * S - (clock.mediaTime(now) ?? 0);
      expect(behind).toBeGreaterThan(100_000);
      expect(behind).toBeLessThan(300_000);
    },
  );

  it("does not take a stall of the network for a step", () => {
    const clock = new PlayoutClock();
    live(clock, 0, 3, () => 20_000);
    // Nothing for 2 s, then all at once.
    live(clock, 3 * S, 4, (i) => Math.max(20_000, 2 * S - i * FRAME));
    const behind = EPOCH + 7 * S - (clock.mediaTime(7 * S) ?? 0);
    expect(behind).toBeLessThan(MAX_BUFFER_US + 40_000);
  });

  it("goes on with sound that comes late on a slow connection, and jumps once when it is level", () => {
    const clock = new PlayoutClock();
    live(clock, 0, 3, () => 20_000);
    // Behind by 0.8 s for two seconds, then level again within one.
    let heard = 0;
    let frames = 0;
    live(
      clock,
      3 * S,
      2,
      () => 820_000,
      (now, pts) => {
        frames++;
        if (pts >= (clock.mediaTime(now) ?? 0)) heard++;
      },
    );
    expect(heard / frames).toBeGreaterThan(0.7);
    let jumps = 0;
    let before = clock.mediaTime(5 * S + 820_000) ?? 0;
    let at = 5 * S + 820_000;
    live(
      clock,
      5 * S,
      4,
      (i) => Math.max(20_000, 820_000 - i * FRAME * 1.5),
      (now) => {
        const media = clock.mediaTime(now) ?? 0;
        if (Math.abs(media - before - (now - at)) > 100_000) jumps++;
        before = media;
        at = now;
      },
    );
    expect(jumps).toBe(1);
    const behind = EPOCH + 9 * S - (clock.mediaTime(9 * S) ?? 0);
    expect(behind).toBeLessThan(MAX_BUFFER_US + 40_000);
  });

  it("waits for the later of two tracks", () => {
    const clock = new PlayoutClock();
    for (let i = 0; i < 90; i++) {
      const now = i * FRAME;
      clock.observe(0, EPOCH + now - 20_000, now);
      clock.observe(1, EPOCH + now - 320_000, now);
      clock.update(now);
    }
    expect(clock.bufferUs).toBe(MIN_BUFFER_US);
    const late = EPOCH + 3 * S - (clock.mediaTime(3 * S) ?? 0);
    expect(late).toBeGreaterThan(320_000 + MIN_BUFFER_US - 40_000);
    expect(late).toBeLessThan(320_000 + MIN_BUFFER_US + 40_000);
  });

  it("no longer waits for a track that fell silent", () => {
    const clock = new PlayoutClock();
    clock.observe(1, EPOCH - 900_000, 0);
    live(clock, 0, 6, () => 20_000);
    const late = EPOCH + 6 * S - (clock.mediaTime(6 * S) ?? 0);
    expect(late).toBeLessThan(20_000 + MIN_BUFFER_US + 40_000);
  });

  it("keeps room for the loudspeaker's delay", () => {
    const clock = new PlayoutClock();
    clock.outputLatencyUs = 180_000;
    live(clock, 0, 3, () => 20_000);
    expect(clock.bufferUs).toBe(270_000);
  });

  it("starts anew after a reset", () => {
    const clock = new PlayoutClock();
    live(clock, 0, 1, () => 20_000);
    clock.reset();
    expect(clock.mediaTime(S)).toBeNull();
    expect(clock.settled(9 * S)).toBe(false);
  });
});

describe("WindowedMin", () => {
  it("agrees with looking through all values", () => {
    const windowed = new WindowedMin(2 * S);
    const all: { at: number; value: number }[] = [];
    let seed = 7;
    for (let at = 0; at < 20 * S; at += 90_000) {
      seed = (seed * 48271) % 2147483647;
      all.push({ at, value: seed % 1000 });
      windowed.add(seed % 1000, at);
      // Buckets forget in steps of half a second.
      const strict = Math.min(...all.filter((a) => at - a.at <= 1.5 * S).map((a) => a.value));
      const loose = Math.min(...all.filter((a) => at - a.at <= 2.5 * S).map((a) => a.value));
      expect(windowed.value).toBeLessThanOrEqual(strict);
      expect(windowed.value).toBeGreaterThanOrEqual(loose);
    }
  });
});

describe("choosePicture", () => {
  it("draws the newest that is due and drops those before", () => {
    expect(choosePicture([10, 20, 30, 40], 30, 5, false)).toEqual({ drop: 2, draw: true });
  });

  it("waits when nothing is due", () => {
    expect(choosePicture([50], 30, 5, false)).toEqual({ drop: 0, draw: false });
    expect(choosePicture([], 30, 5, false)).toEqual({ drop: 0, draw: false });
  });

  it("draws up to half a refresh early", () => {
    expect(choosePicture([34], 30, 5, false)).toEqual({ drop: 0, draw: true });
  });

  it("hides the past while the burst is being decoded", () => {
    expect(choosePicture([0, 33_000], 2 * S, 8_000, true)).toEqual({ drop: 2, draw: false });
  });

  it("shows a late picture when no better one is on its way", () => {
    expect(choosePicture([0], 2 * S, 8_000, false)).toEqual({ drop: 0, draw: true });
  });
});

describe("correctAudio", () => {
  it("leaves alone what is near enough", () => {
    expect(correctAudio(3_000)).toEqual({ kind: "stretch", rate: 1 });
  });

  it("speeds up when late and slows down when early, gently", () => {
    for (const error of [-100_000, -20_000, 20_000, 100_000]) {
      const correction = correctAudio(error);
      if (correction.kind !== "stretch") throw new Error("no stretch");
      expect(Math.sign(correction.rate - 1)).toBe(-Math.sign(error));
      expect(Math.abs(correction.rate - 1)).toBeLessThan(0.00801);
    }
  });

  it("jumps when far off", () => {
    expect(correctAudio(-400_000)).toEqual({ kind: "jump", byUs: 400_000 });
  });

  it("converges", () => {
    let error = -120_000;
    for (let i = 0; i < 400; i++) {
      const c = correctAudio(error);
      if (c.kind === "stretch") error += (c.rate - 1) * 100_000;
    }
    expect(Math.abs(error)).toBeLessThan(5_000);
  });
});

describe("KeyframeGate", () => {
  const key = { keyframe: true, discontinuity: false };
  const delta = { keyframe: false, discontinuity: false };
  const gap = { keyframe: false, discontinuity: true };

  it("lets nothing into a new decoder before a keyframe, however long it takes", () => {
    const gate = new KeyframeGate();
    expect(gate.pass(delta, 0)).toBe(false);
    expect(gate.pass(delta, 60 * S)).toBe(false);
    expect(gate.pass(key, 61 * S)).toBe(true);
    expect(gate.pass(delta, 62 * S)).toBe(true);
  });

  it("waits for a keyframe after a gap, but not for ever", () => {
    const gate = new KeyframeGate();
    gate.pass(key, 0);
    expect(gate.pass(gap, S)).toBe(false);
    expect(gate.pass(delta, S + KEYFRAME_PATIENCE_US - 1)).toBe(false);
    expect(gate.pass(delta, S + KEYFRAME_PATIENCE_US)).toBe(true);
  });

  it("opens at once when the frame after the gap is a keyframe", () => {
    const gate = new KeyframeGate();
    gate.pass(key, 0);
    expect(gate.pass({ keyframe: true, discontinuity: true }, S)).toBe(true);
  });

  it("is strict again for a rebuilt decoder", () => {
    const gate = new KeyframeGate();
    gate.pass(key, 0);
    gate.restart();
    expect(gate.pass(delta, 10 * S)).toBe(false);
  });
});
