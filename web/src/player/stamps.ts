/**
 * Presentation times of decoded sound. Some browsers count samples from the first packet and forget the
 * stamps of all that follow, so that gaps and drift are lost. Audio codecs give one output for one
 * packet, in order: the times wait here.
 */

/** A decoder that swallows packets must not shift the times for ever: about a second of packets. */
const MAX_WAITING = 64;
/** An output with the time of a packet, give or take rounding, belongs to it. */
const SAME_US = 500;

export class Stamps {
  private waiting: number[] = [];

  /** A packet went into the decoder. */
  enter(ptsUs: number): void {
    this.waiting.push(ptsUs);
    if (this.waiting.length > MAX_WAITING) this.waiting.shift();
  }

  /** Time of the next output, which the decoder itself says is at `saidUs`. */
  leave(saidUs: number): number {
    const same = this.waiting.findIndex((pts) => Math.abs(pts - saidUs) <= SAME_US);
    if (same > 0) this.waiting.splice(0, same);
    return this.waiting.shift() ?? saidUs;
  }

  clear(): void {
    this.waiting = [];
  }
}
