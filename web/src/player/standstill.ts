/**
 * Says when the picture stands still though the sound goes on: the server leaves pictures out for a viewer
 * who is behind, and sends them again from a keyframe on when that viewer is level. Pure, times in ms.
 */

/** Eyes bear shorter pauses. */
export const STILL_MS = 1_000;
/** Slow cameras pause longer between their pictures. */
const INTERVALS = 4;
/** Sound older than this is none. */
const SOUND_MS = 1_000;
/** Sound that was on its way longer since the last picture says that the way is the trouble. */
export const LATE_MS = 400;

export class Standstill {
  private pictureAt: number | null = null;
  private soundAt = Number.NEGATIVE_INFINITY;
  /** Usual time between pictures, smoothed. */
  private interval = 0;
  private late = false;

  picture(now: number): void {
    if (this.pictureAt !== null) {
      const since = now - this.pictureAt;
      // A standstill is no interval.
      if (!this.behind(now)) this.interval += (since - this.interval) * 0.1;
    }
    this.pictureAt = now;
    this.late = false;
  }

  /** @param delayMs how long it was on its way; null where that is not known, and then it counts as long */
  sound(now: number, delayMs: number | null): void {
    this.soundAt = now;
    if (delayMs === null || delayMs > LATE_MS) this.late = true;
  }

  behind(now: number): boolean {
    if (this.pictureAt === null || !this.late || now - this.soundAt > SOUND_MS) return false;
    return now - this.pictureAt > Math.max(STILL_MS, INTERVALS * this.interval);
  }

  reset(): void {
    this.pictureAt = null;
    this.soundAt = Number.NEGATIVE_INFINITY;
    this.interval = 0;
    this.late = false;
  }
}
