/**
 * When to show what. Pure: times come in as arguments (local µs of a steady clock), nothing is read
 * from the machine.
 *
 * A frame's *transit* is its arrival here minus its presentation time. Neither clock need agree with
 * the other: the smallest transit of the last seconds is the live edge, and the playout clock runs a
 * target buffer behind it. The burst a new reader gets has large transits and falls to the live edge
 * by itself, so its frames are late by definition and are decoded but not shown.
 */

/** Under this, one late packet of a home network stops the picture. */
export const MIN_BUFFER_US = 150_000;
/** Over this, the sum with network and decoder no longer stays under a second. */
export const MAX_BUFFER_US = 500_000;
/** Long enough to hold a keyframe's surge at 2 s distance several times, short enough to forget. */
export const WINDOW_US = 8_000_000;
/** Larger corrections jump; below, the clock slews so that nobody sees or hears it. */
export const JUMP_US = 250_000;
/** Share of elapsed time by which the playout clock may be bent (1 % is 0.17 semitones). */
export const SLEW = 0.01;
/** The live edge counts as found when it has not moved for this long. */
export const SETTLE_US = 300_000;

/**
 * Later than any buffer covers. Where every frame is so for the time of the proof it is no jitter, but another
 * clock at the source or a longer way: a slow one, on which the sound of a viewer who is behind comes.
 */
export const STEP_US = MAX_BUFFER_US;
export const STEP_PROOF_US = 400_000;
/** A single frame so late says nothing about jitter. */
const STALL_US = 1_000_000;
/** A track unheard for so long holds nobody up. */
const SILENT_US = 3_000_000;

const BUCKET_US = 500_000;
/** Deviations kept for the jitter estimate: about 4 s of 30 pictures and 50 sounds a second. */
const MAX_DEVIATIONS = 320;
/** Fewer say nothing about jitter. */
const MIN_DEVIATIONS = 20;

/** Smallest value of a sliding window, kept by buckets. */
export class WindowedMin {
  private buckets: { start: number; min: number }[] = [];

  constructor(private readonly windowUs: number) {}

  add(value: number, nowUs: number): void {
    const last = this.buckets.at(-1);
    if (last && nowUs - last.start < BUCKET_US) last.min = Math.min(last.min, value);
    else this.buckets.push({ start: nowUs, min: value });
    while (this.buckets[0] && nowUs - this.buckets[0].start > this.windowUs) this.buckets.shift();
  }

  get value(): number | null {
    let min: number | null = null;
    for (const b of this.buckets) if (min === null || b.min < min) min = b.min;
    return min;
  }

  clear(): void {
    this.buckets = [];
  }
}

/** The live edge of one track. */
class TrackEdge {
  private readonly transits = new WindowedMin(WINDOW_US);
  private lowest = Number.POSITIVE_INFINITY;
  private movedAt = 0;
  private lateSince: number | null = null;
  private heardAt = 0;

  /** Returns how much later than the edge this frame came. */
  add(transit: number, nowUs: number): number {
    this.heardAt = nowUs;
    this.watchStep(transit, nowUs);
    if (transit < this.lowest - 5_000) {
      this.lowest = transit;
      this.movedAt = nowUs;
    }
    this.transits.add(transit, nowUs);
    return transit - (this.transits.value ?? transit);
  }

  get value(): number | null {
    return this.transits.value;
  }

  settled(nowUs: number): boolean {
    return this.lowest !== Number.POSITIVE_INFINITY && nowUs - this.movedAt >= SETTLE_US;
  }

  silent(nowUs: number): boolean {
    return nowUs - this.heardAt > SILENT_US;
  }

  /** A step to later transits: the window would take seconds to notice. */
  private watchStep(transit: number, nowUs: number): void {
    const edge = this.value;
    if (edge === null || transit - edge < STEP_US) this.lateSince = null;
    else if (this.lateSince === null) this.lateSince = nowUs;
    else if (nowUs - this.lateSince > STEP_PROOF_US) {
      this.transits.clear();
      this.lowest = Number.POSITIVE_INFINITY;
      this.lateSince = null;
    }
  }
}

/**
 * Gives the presentation time due at a local time, a target buffer behind the live edge. Tracks have
 * edges of their own, since encoders hand over sound earlier or later than pictures of the same moment;
 * the later one counts, or it would always come too late.
 */
export class PlayoutClock {
  private readonly edges = new Map<number, TrackEdge>();
  private readonly deviations: number[] = [];
  private offset: number | null = null;
  /** The first burst is over. */
  private begun = false;
  private updatedAt = 0;
  private buffer = MIN_BUFFER_US;
  /** Sound needs so long from here to the ear, so it must be here sooner. */
  outputLatencyUs = 0;

  /** Tell of a frame that arrived. */
  observe(track: number, ptsUs: number, nowUs: number): void {
    let edge = this.edges.get(track);
    if (!edge) {
      edge = new TrackEdge();
      this.edges.set(track, edge);
    }
    const deviation = edge.add(nowUs - ptsUs, nowUs);
    // What comes so late no buffer covers; it is a stall or a step.
    if (deviation >= STALL_US || !edge.settled(nowUs)) return;
    this.deviations.push(deviation);
    if (this.deviations.length > MAX_DEVIATIONS) this.deviations.shift();
  }

  /** Whether the live edge is known: the initial burst is over. */
  settled(nowUs: number): boolean {
    for (const edge of this.edges.values()) if (!edge.settled(nowUs)) return false;
    return this.edges.size > 0;
  }

  /** Recompute target and clock; call some ten times a second or at every picture. */
  update(nowUs: number): void {
    const edge = this.latestEdge(nowUs);
    if (edge === null) return;
    this.buffer = this.wantedBuffer();
    const wanted = edge + this.buffer;
    const elapsed = Math.max(0, nowUs - this.updatedAt);
    this.updatedAt = nowUs;
    const settled = this.settled(nowUs);
    if (this.offset === null || wanted - this.offset > JUMP_US) {
      this.offset = wanted;
      return;
    }
    if (wanted < this.offset && !settled) {
      // The first burst falls to the live edge at once. Who was behind and catches up hears on until level,
      // and then jumps once.
      if (!this.begun) this.offset = wanted;
      return;
    }
    this.begun ||= settled;
    if (this.offset - wanted > JUMP_US) {
      this.offset = wanted;
      return;
    }
    const step = SLEW * elapsed;
    this.offset += Math.max(-step, Math.min(step, wanted - this.offset));
  }

  /** Presentation time due now, or null before the first frame. */
  mediaTime(nowUs: number): number | null {
    return this.offset === null ? null : nowUs - this.offset;
  }

  get bufferUs(): number {
    return this.buffer;
  }

  /** Forget everything: a new connection, or a source with a new clock. */
  reset(): void {
    this.edges.clear();
    this.deviations.length = 0;
    this.offset = null;
    this.begun = false;
    this.buffer = MIN_BUFFER_US;
  }

  private latestEdge(nowUs: number): number | null {
    let latest: number | null = null;
    for (const edge of this.edges.values()) {
      const value = edge.silent(nowUs) ? null : edge.value;
      if (value !== null && (latest === null || value > latest)) latest = value;
    }
    return latest;
  }

  private wantedBuffer(): number {
    // 2 in 100 frames may come too late; the fixed part covers decoding and one screen refresh.
    const sorted = this.deviations.toSorted((a, b) => a - b);
    const jitter =
      sorted.length < MIN_DEVIATIONS ? 0 : (sorted[Math.floor(sorted.length * 0.98)] ?? 0);
    const wanted = 90_000 + jitter + this.outputLatencyUs;
    return Math.min(MAX_BUFFER_US, Math.max(MIN_BUFFER_US, wanted));
  }
}

/** Which picture to draw. */
export interface Choice {
  /** How many frames at the head of the queue go without being drawn. */
  readonly drop: number;
  /** Whether the frame after them is drawn now. */
  readonly draw: boolean;
}

/** A picture later than this stays unseen while newer ones are on their way. */
export const LATE_US = 100_000;

/**
 * Choose from decoded frames sorted by presentation time: the newest that is due. Frames that are very
 * late are dropped while `moreComing`, so that the initial burst does not play as a time lapse.
 */
export function choosePicture(
  ptsUs: readonly number[],
  mediaTimeUs: number,
  halfRefreshUs: number,
  moreComing: boolean,
): Choice {
  let due = 0;
  while (due < ptsUs.length && (ptsUs[due] ?? 0) <= mediaTimeUs + halfRefreshUs) due++;
  if (due === 0) return { drop: 0, draw: false };
  const newest = ptsUs[due - 1] ?? 0;
  if (moreComing && newest < mediaTimeUs - LATE_US) return { drop: due, draw: false };
  return { drop: due - 1, draw: true };
}

/** What to do about sound that is not where the playout clock wants it. */
export type AudioCorrection =
  | { readonly kind: "stretch"; readonly rate: number }
  | { readonly kind: "jump"; readonly byUs: number };

/** Ears notice a jump less than half a second of wrong lips, but more than a gentle stretch. */
const AUDIO_JUMP_US = 150_000;
const AUDIO_DEAD_BAND_US = 4_000;
/** 0.8 % is below what listeners notice in speech and music. */
const MAX_STRETCH = 0.008;

/** @param errorUs sound heard now minus sound due now; negative is late. */
export function correctAudio(errorUs: number): AudioCorrection {
  if (Math.abs(errorUs) > AUDIO_JUMP_US) return { kind: "jump", byUs: -errorUs };
  if (Math.abs(errorUs) < AUDIO_DEAD_BAND_US) return { kind: "stretch", rate: 1 };
  // Proportional: gone in about 4 s unless the limit holds it back.
  const bend = Math.max(-MAX_STRETCH, Math.min(MAX_STRETCH, -errorUs / 4_000_000));
  return { kind: "stretch", rate: 1 + bend };
}

/** How long to hold out for a keyframe after a gap before decoding on with a damaged picture. */
export const KEYFRAME_PATIENCE_US = 2_000_000;

/** Says which video frames may enter the decoder: from a keyframe on, and not across gaps. */
export class KeyframeGate {
  /** `hard`: the decoder is new and cannot start elsewhere; `soft`: after a gap, patience applies. */
  private waiting: "no" | "soft" | "hard" = "hard";
  private since = 0;

  /** The decoder was made anew. */
  restart(): void {
    this.waiting = "hard";
  }

  pass(frame: { keyframe: boolean; discontinuity: boolean }, nowUs: number): boolean {
    if (frame.keyframe) {
      this.waiting = "no";
      return true;
    }
    if (frame.discontinuity && this.waiting === "no") {
      this.waiting = "soft";
      this.since = nowUs;
    }
    if (this.waiting === "soft" && nowUs - this.since >= KEYFRAME_PATIENCE_US) this.waiting = "no";
    return this.waiting === "no";
  }
}
