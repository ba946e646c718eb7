/** Figures of the player: what is shown, and what tests read. */

export type PlayerState =
  | "idle"
  | "connecting"
  | "buffering"
  | "playing"
  | "paused"
  /** Nothing on air yet, or the source is gone; it starts by itself. */
  | "waiting"
  /** The server is gone; attempts go on. */
  | "reconnecting"
  | "unknown"
  | "full"
  | "refused"
  | "unsupported"
  /** No WebCodecs because the page is not a secure context. */
  | "insecure"
  /** The way that was asked for does not do here. */
  | "unfit"
  | "kicked";

export interface PlayerStats {
  readonly way: "WebRTC" | "WebSocket" | "HLS";
  readonly state: PlayerState;
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  readonly framesDecoded: number;
  readonly framesDropped: number;
  /** From arrival at the server to the picture on the screen; null before the first picture. */
  readonly delayMs: number | null;
  /** Media held ahead of what is shown. */
  readonly bufferMs: number;
  /** What the buffer should be, from the jitter seen. */
  readonly targetMs: number;
  /** Picture shown minus sound heard, mean over the last pictures; null without sound. */
  readonly avSkewMs: number | null;
  /** Largest of the same pictures, by amount. */
  readonly avSkewPeakMs: number | null;
  /** Received over the last second, bit/s. */
  readonly bitrate: number;
  readonly roundTripMs: number | null;
  readonly codec: string;
  readonly audioCodec: string;
  /** Whether the picture stands still because the way is too slow for it. */
  readonly behind: boolean;
  readonly decoderErrors: number;
  readonly reconnects: number;
}

/** Events per second over the last second or two. */
export class Rate {
  private readonly seen: { at: number; amount: number }[] = [];

  constructor(private readonly windowUs = 1_000_000) {}

  add(amount: number, nowUs: number): void {
    this.seen.push({ at: nowUs, amount });
    this.trim(nowUs);
  }

  perSecond(nowUs: number): number {
    this.trim(nowUs);
    let sum = 0;
    for (const s of this.seen) sum += s.amount;
    return (sum / this.windowUs) * 1e6;
  }

  private trim(nowUs: number): void {
    while (this.seen[0] && nowUs - this.seen[0].at > this.windowUs) this.seen.shift();
  }
}

/** The last values of a series. */
export class Recent {
  private readonly values: number[] = [];

  constructor(private readonly size: number) {}

  add(value: number): void {
    this.values.push(value);
    if (this.values.length > this.size) this.values.shift();
  }

  clear(): void {
    this.values.length = 0;
  }

  get mean(): number | null {
    if (this.values.length === 0) return null;
    return this.values.reduce((a, b) => a + b, 0) / this.values.length;
  }

  get peak(): number | null {
    let peak: number | null = null;
    for (const v of this.values) if (peak === null || Math.abs(v) > Math.abs(peak)) peak = v;
    return peak;
  }
}
