/**
 * Says when a viewer is behind because the way is too slow. First sound and picture come late, by bits; then
 * the server leaves the pictures out, so that they stand still while the sound goes on, and sends them again
 * from a keyframe on when the viewer is level. Pure, times in ms.
 */

/** Eyes bear shorter pauses. */
export const STILL_MS = 1_000;
/** Slow cameras pause longer between their pictures. */
const INTERVALS = 4;
/** Sound older than this is none. */
const SOUND_MS = 1_000;
/** Sound that was on its way longer since the last picture says that the way is the trouble. */
export const LATE_MS = 400;
/** Sound so late for so long is no burst: the way carries less than what is sent. */
export const VERY_LATE_MS = 1_000;
export const LASTING_MS = 1_000;

export class Standstill {
  private pictureAt: number | null = null;
  private soundAt = Number.NEGATIVE_INFINITY;
  /** Usual time between pictures, smoothed. */
  private interval = 0;
  private late = false;
  /** Since when all sound is very late. */
  private veryLateSince: number | null = null;

  constructor(private readonly stillMs = STILL_MS) {}

  picture(now: number): void {
    if (this.pictureAt !== null) {
      const since = now - this.pictureAt;
      // A standstill is no interval.
      if (!this.behind(now)) this.interval += (since - this.interval) * 0.1;
    }
    this.pictureAt = now;
    this.late = this.veryLateSince !== null;
  }

  /** @param delayMs how long it was on its way; null where that is not known, and then it counts as long */
  sound(now: number, delayMs: number | null): void {
    this.soundAt = now;
    if (delayMs === null || delayMs > LATE_MS) this.late = true;
    if (delayMs !== null && delayMs > VERY_LATE_MS) this.veryLateSince ??= now;
    else if (delayMs === null || delayMs < LATE_MS) this.veryLateSince = null;
  }

  behind(now: number): boolean {
    if (this.pictureAt === null || !this.late || now - this.soundAt > SOUND_MS) return false;
    if (this.veryLateSince !== null && now - this.veryLateSince > LASTING_MS) return true;
    return now - this.pictureAt > Math.max(this.stillMs, INTERVALS * this.interval);
  }

  reset(): void {
    this.pictureAt = null;
    this.soundAt = Number.NEGATIVE_INFINITY;
    this.interval = 0;
    this.late = false;
    this.veryLateSince = null;
  }
}
