/** Runs in the audio thread: plays a `PcmQueue` against the context's clock. */

import { type PcmChunk, PcmQueue } from "./pcm";

/** Main thread → audio thread. */
export type ToWorklet =
  | { readonly type: "pcm"; readonly chunk: PcmChunk }
  /** From now on `ptsUs` is what sounds at context time `at` (seconds). */
  | { readonly type: "align"; readonly ptsUs: number; readonly at: number }
  | { readonly type: "speed"; readonly speed: number }
  | { readonly type: "clear" };

/** Audio thread → main thread, some 20 times a second. */
export interface FromWorklet {
  /** Presentation time read at context time `at`; null when nothing plays. */
  readonly ptsUs: number | null;
  readonly at: number;
  readonly heldUs: number;
  readonly underruns: number;
}

// The audio worklet's global scope, which the DOM library does not declare.
declare const currentTime: number;
declare const sampleRate: number;
declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: unknown): void;

/** 128 samples a block at 48 kHz: 16 blocks are 43 ms. */
const REPORT_BLOCKS = 16;

class HelioSink extends AudioWorkletProcessor {
  private readonly queue = new PcmQueue();
  private speed = 1;
  private anchor: { ptsUs: number; at: number } | null = null;
  private playing = false;
  private blocks = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }: MessageEvent<ToWorklet>) => this.receive(data);
  }

  private receive(message: ToWorklet): void {
    switch (message.type) {
      case "pcm":
        this.queue.push(message.chunk);
        break;
      case "align":
        this.anchor = { ptsUs: message.ptsUs, at: message.at };
        this.playing = false;
        break;
      case "speed":
        this.speed = message.speed;
        break;
      case "clear":
        this.queue.clear();
        this.anchor = null;
        this.playing = false;
    }
  }

  process(_inputs: Float32Array[][], outputs: Float32Array[][]): boolean {
    const out = outputs[0];
    const block = out?.[0]?.length ?? 0;
    if (!out || block === 0) return true;
    if (!this.playing) this.playing = this.start(block);
    const ptsUs = this.playing ? this.queue.time : null;
    // An empty queue starts again at the place due, not where it stopped.
    if (this.playing && this.queue.read(out, sampleRate, this.speed) < block) this.playing = false;
    if (this.blocks++ % REPORT_BLOCKS === 0) {
      const report: FromWorklet = {
        ptsUs,
        at: currentTime,
        heldUs: this.queue.heldUs,
        underruns: this.queue.underruns,
      };
      this.port.postMessage(report);
    }
    return true;
  }

  /** Whether the sample due in this block is here; older ones go. */
  private start(block: number): boolean {
    if (!this.anchor) return false;
    const due = this.anchor.ptsUs + (currentTime - this.anchor.at) * 1e6;
    this.queue.dropBefore(due);
    const next = this.queue.time;
    return next !== null && next <= due + (block / sampleRate) * 1e6;
  }
}

registerProcessor("helio-sink", HelioSink);
