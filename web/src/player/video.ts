/** Encoded frames in, pictures on a canvas out, each at its time. */

import { videoConfig, videoSupported } from "./codecs";
import { choosePicture, KeyframeGate } from "./sync";
import type { MediaFrame, Track } from "./wire";

/** Decode so far ahead of display: covers decoding and reordering, holds few pictures in memory. */
const DECODE_AHEAD_US = 120_000;
/** Decoders with a fixed set of surfaces stall when more are out. */
const MAX_PICTURES = 12;
/** Chunks inside the decoder; more only delays a change of mind. */
const MAX_DECODING = 16;
/** What a hidden tab keeps since the last keyframe so as to come back at once. */
const MAX_QUEUED_BYTES = 24_000_000;

export interface VideoEvents {
  /** The browser cannot decode this (named by codec string). */
  unsupported(codecString: string): void;
  /** A picture is being drawn, and is closed afterwards. */
  picture(picture: VideoFrame): void;
  /** A picture was drawn. */
  drawn(ptsUs: number, arrivalUs: number, nowUs: number): void;
}

export class VideoPipe {
  private readonly context: CanvasRenderingContext2D | null;
  private readonly gate = new KeyframeGate();
  private decoder: VideoDecoder | null = null;
  private config: VideoDecoderConfig | null = null;
  private configuring = false;
  private encoded: MediaFrame[] = [];
  private encodedBytes = 0;
  private pictures: VideoFrame[] = [];
  /** Arrival at the server by presentation time, for frames inside decoder and picture queue. */
  private readonly arrivals = new Map<number, number>();
  private hidden = false;
  private lastRefresh = 0;
  private refreshUs = 16_667;
  private software = false;
  private closed = false;
  private epoch = -1;
  private expected = -1;

  decoded = 0;
  dropped = 0;
  errors = 0;
  codecString = "";

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly track: Track,
    private readonly events: VideoEvents,
  ) {
    this.context = canvas.getContext("2d", { alpha: false, desynchronized: true });
  }

  push(frame: MediaFrame, nowUs: number): void {
    if (this.closed) return;
    const gap = frame.epoch !== this.epoch || frame.number !== this.expected;
    const first = this.epoch < 0;
    this.epoch = frame.epoch;
    this.expected = frame.number + 1;
    const checked = gap && !first ? { ...frame, discontinuity: true } : frame;
    if (!this.gate.pass(checked, nowUs)) {
      this.dropped++;
      return;
    }
    if (this.hidden && frame.keyframe) this.clearEncoded();
    this.encoded.push(frame);
    this.encodedBytes += frame.data.byteLength;
    if (this.encodedBytes > MAX_QUEUED_BYTES) {
      this.clearEncoded();
      this.gate.restart();
    }
  }

  /** No decoding while nobody looks. */
  setHidden(hidden: boolean): void {
    if (this.hidden === hidden) return;
    this.hidden = hidden;
    if (hidden) this.clearPictures();
  }

  /** Feed the decoder and draw what is due; called at every screen refresh. */
  tick(mediaTimeUs: number | null, nowUs: number): void {
    if (this.hidden || this.closed || mediaTimeUs === null) return;
    const elapsed = nowUs - this.lastRefresh;
    this.lastRefresh = nowUs;
    if (elapsed > 3_000 && elapsed < 50_000) this.refreshUs += (elapsed - this.refreshUs) * 0.05;
    this.skipToKeyframe(mediaTimeUs);
    this.feed(mediaTimeUs);
    this.draw(mediaTimeUs, nowUs);
  }

  /** Encoded time held ahead of what is shown. */
  heldUs(mediaTimeUs: number): number {
    let newest = mediaTimeUs;
    for (const f of this.encoded) newest = Math.max(newest, f.ptsUs);
    for (const p of this.pictures) newest = Math.max(newest, p.timestamp);
    return newest - mediaTimeUs;
  }

  close(): void {
    this.closed = true;
    this.clearEncoded(false);
    this.clearPictures();
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
  }

  /** What lies before a keyframe that is due already need not be decoded. */
  private skipToKeyframe(mediaTimeUs: number): void {
    for (let i = this.encoded.length - 1; i > 0; i--) {
      const frame = this.encoded[i];
      if (!frame?.keyframe || frame.ptsUs > mediaTimeUs) continue;
      this.dropped += i;
      for (const gone of this.encoded.splice(0, i)) this.encodedBytes -= gone.data.byteLength;
      return;
    }
  }

  private feed(mediaTimeUs: number): void {
    const head = this.encoded[0];
    if (!head || this.configuring) return;
    if (!this.decoder || this.decoder.state === "closed") {
      this.configure(head);
      return;
    }
    if (head.keyframe) {
      const config = videoConfig(this.track, head.data);
      if (config && config.codec !== this.config?.codec) {
        this.configure(head);
        return;
      }
    }
    const until = mediaTimeUs + DECODE_AHEAD_US;
    // With reordering a later frame in the queue may be due sooner than its head.
    let wanted = 0;
    this.encoded.forEach((frame, i) => {
      if (frame.ptsUs <= until) wanted = i + 1;
    });
    while (
      wanted-- > 0 &&
      this.pictures.length < MAX_PICTURES &&
      this.decoder.decodeQueueSize < MAX_DECODING
    ) {
      const frame = this.encoded.shift();
      if (!frame) return;
      this.encodedBytes -= frame.data.byteLength;
      this.arrivals.set(frame.ptsUs, frame.arrivalUs);
      try {
        this.decoder.decode(
          new EncodedVideoChunk({
            type: frame.keyframe ? "key" : "delta",
            timestamp: frame.ptsUs,
            data: frame.data,
          }),
        );
      } catch (error) {
        this.failed(error);
        return;
      }
    }
  }

  private configure(keyframe: MediaFrame): void {
    if (!keyframe.keyframe) {
      this.afterFailure();
      return;
    }
    const wanted = videoConfig(this.track, keyframe.data);
    if (!wanted) {
      // No parameter sets here: the next keyframe may bring them.
      this.encoded.shift();
      this.afterFailure();
      return;
    }
    const config: VideoDecoderConfig = this.software
      ? { ...wanted, hardwareAcceleration: "prefer-software" }
      : wanted;
    this.configuring = true;
    void videoSupported(config).then((supported) => {
      this.configuring = false;
      if (this.closed) return;
      this.codecString = config.codec;
      if (!supported) {
        this.events.unsupported(config.codec);
        this.close();
        return;
      }
      this.config = config;
      if (!this.decoder || this.decoder.state === "closed") {
        this.decoder = new VideoDecoder({
          output: (picture) => this.output(picture),
          error: (error) => this.failed(error),
        });
      }
      this.decoder.configure(config);
    });
  }

  private output(picture: VideoFrame): void {
    this.decoded++;
    if (this.closed || this.hidden) {
      picture.close();
      return;
    }
    let at = this.pictures.length;
    while (at > 0 && (this.pictures[at - 1]?.timestamp ?? 0) > picture.timestamp) at--;
    this.pictures.splice(at, 0, picture);
  }

  private failed(error: unknown): void {
    if (this.closed) return;
    this.errors++;
    if (this.errors <= 3) console.warn("decoder:", error);
    // Hardware decoders are choosier than the software one.
    if (this.errors >= 2) this.software = true;
    if (this.decoder && this.decoder.state !== "closed") this.decoder.close();
    this.decoder = null;
    this.afterFailure();
  }

  /** Go on at the next keyframe, held or to come. */
  private afterFailure(): void {
    const next = this.encoded.findIndex((frame) => frame.keyframe);
    if (next < 0) {
      this.clearEncoded();
      this.gate.restart();
      return;
    }
    this.dropped += next;
    for (const gone of this.encoded.splice(0, next)) this.encodedBytes -= gone.data.byteLength;
  }

  private draw(mediaTimeUs: number, nowUs: number): void {
    const moreComing = (this.decoder?.decodeQueueSize ?? 0) > 0 || this.overdue(mediaTimeUs);
    const choice = choosePicture(
      this.pictures.map((p) => p.timestamp),
      mediaTimeUs,
      this.refreshUs / 2,
      moreComing,
    );
    for (const picture of this.pictures.splice(0, choice.drop)) {
      this.dropped++;
      this.arrivals.delete(picture.timestamp);
      picture.close();
    }
    if (!choice.draw) return;
    const picture = this.pictures.shift();
    if (!picture) return;
    const { displayWidth: width, displayHeight: height, timestamp } = picture;
    if (this.canvas.width !== width) this.canvas.width = width;
    if (this.canvas.height !== height) this.canvas.height = height;
    this.context?.drawImage(picture, 0, 0, width, height);
    this.events.picture(picture);
    picture.close();
    const arrivalUs = this.arrivals.get(timestamp) ?? timestamp;
    // Pictures come out in order: what is older never will.
    for (const pts of this.arrivals.keys()) if (pts <= timestamp) this.arrivals.delete(pts);
    this.events.drawn(timestamp, arrivalUs, nowUs);
  }

  private overdue(mediaTimeUs: number): boolean {
    const head = this.encoded[0];
    return head !== undefined && head.ptsUs < mediaTimeUs;
  }

  private clearEncoded(count = true): void {
    if (count && !this.hidden) this.dropped += this.encoded.length;
    this.encoded = [];
    this.encodedBytes = 0;
  }

  private clearPictures(): void {
    for (const picture of this.pictures) picture.close();
    this.pictures = [];
    this.arrivals.clear();
  }
}
