/**
 * Samples waiting to be heard, addressed by presentation time. Runs inside the audio worklet; pure, so
 * that it is tested without one.
 */

/** Gaps up to this length become silence; longer ones restart the queue. */
const MAX_GAP_US = 1_000_000;
/** Timestamps made from milliseconds round by so much: no gap. */
const TOLERANCE_US = 2_000;
/** More than this held means nobody is reading: forget the oldest. */
const MAX_HELD_US = 3_000_000;

export interface PcmChunk {
  readonly ptsUs: number;
  readonly rate: number;
  /** One array a channel, of equal length. */
  readonly planes: readonly Float32Array[];
}

export class PcmQueue {
  private chunks: PcmChunk[] = [];
  /** Read position in the first chunk, in samples with a fraction. */
  private position = 0;
  private endUs = 0;
  /** Output samples for which nothing was there. */
  underruns = 0;

  push(chunk: PcmChunk): void {
    const samples = chunk.planes[0]?.length ?? 0;
    if (samples === 0) return;
    const gap = chunk.ptsUs - this.endUs;
    if (this.chunks.length > 0) {
      if (gap < -TOLERANCE_US && gap > -MAX_GAP_US) return; // heard already
      if (Math.abs(gap) > MAX_GAP_US) this.clear();
      else if (gap > TOLERANCE_US) this.pushSilence(gap, chunk);
    }
    // Keep the timeline of the samples, not of the rounded stamps, while they agree.
    const joined = this.chunks.length > 0 && Math.abs(gap) <= TOLERANCE_US;
    const start = joined ? this.endUs : chunk.ptsUs;
    this.chunks.push({ ...chunk, ptsUs: start });
    // Pull softly towards the stamps, or rounding would add up.
    this.endUs = start + (samples / chunk.rate) * 1e6 + (joined ? gap * 0.05 : 0);
    while (this.chunks.length > 1 && this.endUs - (this.time ?? this.endUs) > MAX_HELD_US) {
      this.chunks.shift();
      this.position = 0;
    }
  }

  private pushSilence(gapUs: number, like: PcmChunk): void {
    const samples = Math.round((gapUs / 1e6) * like.rate);
    this.chunks.push({
      ptsUs: this.endUs,
      rate: like.rate,
      planes: like.planes.map(() => new Float32Array(samples)),
    });
    this.endUs += gapUs;
  }

  /** Presentation time of the next sample to be heard. */
  get time(): number | null {
    const head = this.chunks[0];
    return head ? head.ptsUs + (this.position / head.rate) * 1e6 : null;
  }

  /** Time held ahead of the read position. */
  get heldUs(): number {
    const time = this.time;
    return time === null ? 0 : Math.max(0, this.endUs - time);
  }

  /** Throw away what comes before `ptsUs`. */
  dropBefore(ptsUs: number): void {
    while (this.chunks[0]) {
      const head = this.chunks[0];
      const samples = head.planes[0]?.length ?? 0;
      const wanted = ((ptsUs - head.ptsUs) / 1e6) * head.rate;
      if (wanted < samples) {
        this.position = Math.max(this.position, wanted);
        return;
      }
      this.chunks.shift();
      this.position = 0;
    }
  }

  /**
   * Fill `out` (one array a channel) at `outRate`, consuming at `speed` of real time, and interpolating
   * linearly. Returns the samples filled; the rest is silence.
   */
  read(out: readonly Float32Array[], outRate: number, speed: number): number {
    const length = out[0]?.length ?? 0;
    for (let i = 0; i < length; i++) {
      let head = this.chunks[0];
      while (head && this.position >= (head.planes[0]?.length ?? 0)) {
        this.position -= head.planes[0]?.length ?? 0;
        this.chunks.shift();
        head = this.chunks[0];
      }
      if (!head) {
        this.position = 0;
        for (const plane of out) plane.fill(0, i);
        this.underruns += length - i;
        return i;
      }
      const at = Math.floor(this.position);
      const fraction = this.position - at;
      const next = this.chunks[1];
      for (let c = 0; c < out.length; c++) {
        const channel = Math.min(c, head.planes.length - 1);
        const plane = head.planes[channel];
        const a = plane?.[at] ?? 0;
        const b = plane && at + 1 < plane.length ? plane[at + 1] : next?.planes[channel]?.[0];
        const target = out[c];
        if (target) target[i] = a + ((b ?? a) - a) * fraction;
      }
      this.position += (head.rate / outRate) * speed;
    }
    return length;
  }

  clear(): void {
    this.chunks = [];
    this.position = 0;
  }
}
