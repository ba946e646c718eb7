/**
 * Watches over a WebRTC session that falls silent: the machine that serves it may have died, which ICE would
 * notice after five seconds only. The server is asked whether the session lives; a channel whose source is
 * silent is no reason for another session. Pure, times in ms.
 */

import type { Look } from "../webrtc/signal";

/** Longer than any pause between packets of a running camera. */
export const QUIET_MS = 450;
/** A thousand pages of a machine that died do not ask in the same instant. */
export const SPREAD_MS = 150;
/** A shared screen on which nothing moves sends a picture a second, which is not asked about each time. */
export const PATIENT_MS = 1_500;
/** In so long a pauses that were longer are forgotten. */
const FORGET_MS = 10_000;
/** Between two questions while the session lives, or nobody answers. */
export const AGAIN_MS = 1_000;
/** The same while its channel waits for its source. */
export const WAITING_MS = 2_000;

export class Vigil {
  private heardAt = Number.POSITIVE_INFINITY;
  private askAt = 0;
  private asking = false;
  /** Silence that this channel may have. */
  private patience = QUIET_MS;
  private readonly spread: number;
  /** The server is none that could answer. */
  private blind = false;

  constructor(random: number) {
    this.spread = SPREAD_MS * random;
  }

  /** Something came. */
  heard(now: number): void {
    const gap = Math.max(0, now - this.heardAt);
    if (gap > QUIET_MS) this.patience = Math.min(PATIENT_MS, 1.5 * gap);
    else this.patience -= (this.patience - QUIET_MS) * Math.min(1, gap / FORGET_MS);
    this.heardAt = now;
    this.askAt = 0;
  }

  /** Whether to ask now; what comes of it is to be told. */
  due(now: number): boolean {
    if (this.blind || this.asking || now < this.askAt) return false;
    if (now - this.heardAt < this.patience + this.spread) return false;
    this.asking = true;
    this.askAt = now + AGAIN_MS;
    return true;
  }

  /**
   * The answer to a question asked at `askedAt`.
   *
   * @returns whether to open another session: this one is gone, or nobody knows and it is silent
   */
  answered(look: Look, askedAt: number, now: number): boolean {
    this.asking = false;
    if (this.heardAt > askedAt) return false;
    this.askAt = now + (look === "waiting" ? WAITING_MS : AGAIN_MS);
    this.blind = look === "blind";
    return look === "gone" || look === "mute";
  }
}
