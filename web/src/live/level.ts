/** How loud the microphone is. */

/** Below it a room is silent. */
const FLOOR_DB = -60;
/** How fast the bar falls, of its length a second; it rises at once. */
const FALL_PER_S = 1.2;

/** Position of a level meter, 0 to 1, for samples of -1 to 1: dB over a floor. */
export function levelOf(samples: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < samples.length; i++) sum += (samples[i] ?? 0) ** 2;
  if (sum === 0) return 0;
  const db = 10 * Math.log10(sum / samples.length);
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}

/** What the bar shows after `elapsedMs`. */
export const settleLevel = (shown: number, level: number, elapsedMs: number): number =>
  Math.max(level, shown - (FALL_PER_S * elapsedMs) / 1000);

/** Listens to a track and tells its level at each screen refresh. */
export class LevelMeter {
  private context: AudioContext | null = null;
  private source: MediaStreamAudioSourceNode | null = null;
  private refresh = 0;
  private shown = 0;
  private at = 0;

  constructor(private readonly tell: (level: number) => void) {}

  listen(track: MediaStreamTrack | null): void {
    cancelAnimationFrame(this.refresh);
    this.source?.disconnect();
    this.source = null;
    this.shown = 0;
    this.tell(0);
    if (!track) return;
    this.context ??= new AudioContext();
    this.wake();
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const look = (now: number): void => {
      this.refresh = requestAnimationFrame(look);
      analyser.getFloatTimeDomainData(samples);
      this.shown = settleLevel(this.shown, levelOf(samples), now - this.at);
      this.at = now;
      this.tell(this.shown);
    };
    this.refresh = requestAnimationFrame(look);
  }

  /** To be called from a gesture: browsers let no page listen before one. */
  wake(): void {
    if (this.context?.state === "suspended") void this.context.resume();
  }

  close(): void {
    this.listen(null);
    void this.context?.close();
    this.context = null;
  }
}
