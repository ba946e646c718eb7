/** Encoded sound in, sound out at its time; tells which presentation time is heard. */

import { audioConfig, audioSupported } from "./codecs";
import { decodeSamples, SAMPLE_CODECS } from "./g711";
import { Stamps } from "./stamps";
import { correctAudio } from "./sync";
import type { MediaFrame, Track } from "./wire";
import type { FromWorklet, ToWorklet } from "./worklet";
import workletUrl from "./worklet?worker&url";

/** Sound so late is not decoded: it would be thrown away. */
const TOO_LATE_US = 300_000;
/** After an alignment its effect must come back in reports first. */
const ALIGN_HOLD_US = 250_000;
const CORRECT_EVERY_US = 100_000;
/** Reports older than this say nothing about now: the device stalled. */
const STALE_US = 400_000;

/**
 * The output device, made once a page and kept over reconnections: browsers tie the permission to
 * sound to the context that a gesture started.
 */
export class AudioOutput {
  readonly context = new AudioContext({ latencyHint: "interactive" });
  private readonly gain = this.context.createGain();
  private node: AudioWorkletNode | null = null;
  private report: FromWorklet | null = null;
  private reportedAt = 0;
  private speed = 1;

  constructor() {
    this.gain.connect(this.context.destination);
  }

  async start(): Promise<void> {
    await this.context.audioWorklet.addModule(workletUrl);
    this.node = new AudioWorkletNode(this.context, "helio-sink", {
      numberOfInputs: 0,
      outputChannelCount: [2],
    });
    this.node.port.onmessage = ({ data }: MessageEvent<FromWorklet>) => {
      this.report = data;
      this.reportedAt = performance.now() * 1000;
    };
    this.node.connect(this.gain);
  }

  get running(): boolean {
    return this.node !== null && this.context.state === "running";
  }

  /** Whether the browser waits for a gesture. */
  get blocked(): boolean {
    return this.context.state === "suspended";
  }

  setVolume(volume: number): void {
    // Ears are logarithmic; a short ramp avoids a click.
    this.gain.gain.setTargetAtTime(volume ** 2, this.context.currentTime, 0.015);
  }

  send(message: ToWorklet, transfer: Transferable[] = []): void {
    if (message.type === "speed") {
      if (message.speed === this.speed) return;
      this.speed = message.speed;
    }
    if (message.type === "align" || message.type === "clear") this.report = null;
    this.node?.port.postMessage(message, transfer);
  }

  /** Context time (s) that leaves the loudspeaker at local time `nowUs`. */
  heardContextTime(nowUs: number): number {
    const stamp = this.context.getOutputTimestamp();
    if (stamp.contextTime && stamp.performanceTime) {
      return stamp.contextTime + (nowUs / 1000 - stamp.performanceTime) / 1000;
    }
    return this.context.currentTime - (this.context.outputLatency || this.context.baseLatency);
  }

  /** Presentation time heard at local time `nowUs`, or null when nothing sounds. */
  heard(nowUs: number): number | null {
    const report = this.report;
    if (!this.running || !report || report.ptsUs === null) return null;
    if (nowUs - this.reportedAt > STALE_US) return null;
    return report.ptsUs + (this.heardContextTime(nowUs) - report.at) * 1e6 * this.speed;
  }

  get latencyUs(): number {
    return (this.context.baseLatency + (this.context.outputLatency || 0)) * 1e6;
  }

  get heldUs(): number {
    return this.report?.heldUs ?? 0;
  }

  get underruns(): number {
    return this.report?.underruns ?? 0;
  }

  close(): void {
    this.node?.disconnect();
    void this.context.close();
  }
}

export class AudioPipe {
  private decoder: AudioDecoder | null = null;
  private supported: boolean | null = null;
  private readonly stamps = new Stamps();
  private alignedAt = Number.NEGATIVE_INFINITY;
  private correctedAt = 0;
  private errors = 0;
  private closed = false;
  decoded = 0;
  /** Heard minus due, smoothed, µs; null while nothing is heard. */
  errorUs: number | null = null;

  constructor(
    private readonly output: AudioOutput,
    private readonly track: Track,
    unsupported: () => void,
  ) {
    output.send({ type: "clear" });
    void audioSupported(track).then((yes) => {
      this.supported = yes;
      if (!yes && !this.closed) unsupported();
    });
  }

  /** @param dueUs presentation time that the playout clock wants heard now */
  push(frame: MediaFrame, dueUs: number | null): void {
    if (!this.supported || this.closed || !this.output.running) return;
    if (dueUs !== null && frame.ptsUs < dueUs - TOO_LATE_US) return;
    if (SAMPLE_CODECS.has(this.track.codec)) {
      this.decoded++;
      const channels = Math.max(1, this.track.channels);
      const planes = decodeSamples(this.track.codec, frame.data, channels);
      this.play(frame.ptsUs, this.track.clockRate, planes);
      return;
    }
    try {
      const decoder = this.ready();
      this.stamps.enter(frame.ptsUs);
      decoder.decode(
        new EncodedAudioChunk({ type: "key", timestamp: frame.ptsUs, data: frame.data }),
      );
    } catch (error) {
      this.failed(error);
    }
  }

  /** Hold the sound to the playout clock; called at every screen refresh or timer. */
  tick(dueUs: number | null, nowUs: number): void {
    if (dueUs === null || !this.output.running || this.closed) return;
    const heard = this.output.heard(nowUs);
    if (heard !== null) {
      const error = heard - dueUs;
      this.errorUs = this.errorUs === null ? error : this.errorUs + (error - this.errorUs) * 0.1;
    } else this.errorUs = null;
    if (nowUs - this.correctedAt < CORRECT_EVERY_US) return;
    this.correctedAt = nowUs;
    const correction = this.errorUs === null ? null : correctAudio(this.errorUs);
    if (correction?.kind === "stretch") this.output.send({ type: "speed", speed: correction.rate });
    else if (nowUs - this.alignedAt > ALIGN_HOLD_US) {
      this.alignedAt = nowUs;
      this.errorUs = null;
      this.output.send({ type: "speed", speed: 1 });
      this.output.send({ type: "align", ptsUs: dueUs, at: this.output.heardContextTime(nowUs) });
    }
  }

  close(): void {
    this.closed = true;
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
    this.output.send({ type: "clear" });
  }

  private ready(): AudioDecoder {
    if (this.decoder && this.decoder.state === "configured") return this.decoder;
    const decoder = new AudioDecoder({
      output: (data) => this.decodedData(data),
      error: (error) => this.failed(error),
    });
    decoder.configure(audioConfig(this.track));
    this.stamps.clear();
    this.decoder = decoder;
    return decoder;
  }

  private decodedData(data: AudioData): void {
    this.decoded++;
    if (this.closed) {
      data.close();
      return;
    }
    const planes: Float32Array<ArrayBuffer>[] = [];
    for (let c = 0; c < data.numberOfChannels; c++) {
      const plane = new Float32Array(data.numberOfFrames);
      data.copyTo(plane, { planeIndex: c, format: "f32-planar" });
      planes.push(plane);
    }
    const { timestamp, sampleRate } = data;
    data.close();
    this.play(this.stamps.leave(timestamp), sampleRate, planes);
  }

  private play(ptsUs: number, rate: number, planes: Float32Array<ArrayBuffer>[]): void {
    this.output.send(
      { type: "pcm", chunk: { ptsUs, rate, planes } },
      planes.map((plane) => plane.buffer),
    );
  }

  private failed(error: unknown): void {
    if (this.closed) return;
    if (this.errors++ < 3) console.warn("audio decoder:", error);
    this.decoder = null;
  }
}
