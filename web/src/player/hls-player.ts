/** Low-latency HLS, shown by a video element: by hls.js, or by the browser itself where that cannot run. */

import type { ErrorData, HlsConfig, default as HlsJs } from "hls.js";
import type { Address } from "./address";
import { codecName } from "./codecs";
import { ElementPlayer } from "./element-player";
import type { EngineEvents } from "./engine";
import { afterRefusal, ask, lifeOf, type Told } from "./life";
import { type PlayerStats, Rate } from "./stats";
import type { WayEvent } from "./way";

const TICK_MS = 250;
/** Nothing moved for so long: say that we wait, and ask the server whether the channel is on air. */
const STALL_MS = 1_500;
const ASK_EVERY_MS = 2_000;
/** Nothing moved for so long although the channel flows: begin anew. */
const ANEW_MS = 8_000;
/** A second fault of the decoder so soon is not mended by another decoder. */
const MEND_AGAIN_MS = 5_000;
/** The server holds a playlist back until its next part is there, and says 503 after 12 s. */
const PATIENCE_MS = 15_000;
const MIME = "application/vnd.apple.mpegurl";

/** One attempt each: what a failure means is for `refused` to say. */
const ONCE = {
  default: {
    maxTimeToFirstByteMs: PATIENCE_MS,
    maxLoadTimeMs: PATIENCE_MS * 2,
    timeoutRetry: null,
    errorRetry: null,
  },
};

const CONFIG: Partial<HlsConfig> = {
  lowLatencyMode: true,
  // Fragments need no repacking, and a worker made of text would want a wider content policy.
  enableWorker: false,
  backBufferLength: 10,
  maxBufferLength: 10,
  maxLiveSyncPlaybackRate: 1.1,
  manifestLoadPolicy: ONCE,
};

type Module = typeof import("hls.js");

/** Whether the browser plays HLS by itself. */
export const nativeHls = (video: HTMLVideoElement): boolean => video.canPlayType(MIME) !== "";

/** Whether this browser can play HLS at all. */
export const canHls = (video: HTMLVideoElement): boolean =>
  "MediaSource" in globalThis || "ManagedMediaSource" in globalThis || nativeHls(video);

export class HlsPlayer extends ElementPlayer {
  private hls: HlsJs | null = null;
  private timer = 0;
  private position = 0;
  private movedAt = 0;
  private askedAt = 0;
  private mendedAt = Number.NEGATIVE_INFINITY;
  private frames = 0;
  private readonly bitrate = new Rate(2_000_000);
  private readonly shown = new Rate(2_000_000);
  override unsupportedCodec = "";

  constructor(video: HTMLVideoElement, events: EngineEvents, report: (event: WayEvent) => void) {
    super(video, events, report);
    const { signal } = this.ears;
    // The browser's own player says no more than that it failed.
    const failed = (): void => {
      if (!this.hls && video.src) void this.refused(0, this.generation);
    };
    video.addEventListener("error", failed, { signal });
    video.addEventListener("loadedmetadata", () => void this.loudspeaker.play(), { signal });
  }

  override get stats(): PlayerStats {
    const { video, hls } = this;
    const now = performance.now() * 1000;
    const quality = video.getVideoPlaybackQuality?.();
    const end = video.buffered.length ? video.buffered.end(video.buffered.length - 1) : 0;
    const level = hls?.levels[Math.max(0, hls.currentLevel)];
    const playing = this.state === "playing";
    return {
      way: "HLS",
      state: this.state,
      width: video.videoWidth,
      height: video.videoHeight,
      fps: this.shown.perSecond(now),
      framesDecoded: quality?.totalVideoFrames ?? 0,
      framesDropped: quality?.droppedVideoFrames ?? 0,
      delayMs: playing && hls?.latency ? hls.latency * 1000 : null,
      bufferMs: Math.max(0, end - video.currentTime) * 1000,
      targetMs: (hls?.targetLatency ?? 0) * 1000,
      avSkewMs: null,
      avSkewPeakMs: null,
      bitrate: this.bitrate.perSecond(now) * 8,
      roundTripMs: null,
      codec: level?.videoCodec ?? "",
      audioCodec: level?.audioCodec ?? "",
      behind: false,
      decoderErrors: 0,
      reconnects: Math.max(0, this.sessions - 1),
    };
  }

  override load(address: Address | null): void {
    this.unsupportedCodec = "";
    super.load(address);
  }

  override retryNow(): void {
    const waits = this.state === "reconnecting" || this.state === "unknown";
    if (this.address && waits) this.resume();
  }

  override unfit(chosen: boolean): void {
    this.halt();
    this.become(chosen ? "unfit" : "unsupported");
  }

  protected override async connect(): Promise<void> {
    const { address } = this;
    if (!address) return;
    const generation = ++this.generation;
    const current = (): boolean => generation === this.generation;
    if (this.state !== "reconnecting" && this.state !== "waiting") this.become("connecting");
    let module: Module;
    try {
      module = await import("hls.js");
    } catch {
      // The server is away, or was replaced by a newer one.
      if (current()) await this.refused(0, generation);
      return;
    }
    if (!current()) return;
    this.release();
    this.sessions++;
    this.movedAt = performance.now();
    this.position = 0;
    if (module.default.isSupported()) this.attach(module, address, generation);
    else if (nativeHls(this.video)) this.video.src = address.hls;
    else {
      this.report({ type: "refused", reason: "decoder" });
      return;
    }
    this.timer = window.setInterval(() => this.tick(generation), TICK_MS);
  }

  private attach(
    { default: Hls, Events, ErrorTypes, ErrorDetails }: Module,
    { hls: url }: Address,
    generation: number,
  ): void {
    const hls = new Hls(CONFIG);
    this.hls = hls;
    hls.on(Events.FRAG_BUFFERED, (_event, { frag, part }) => {
      this.bitrate.add((part ?? frag).stats.loaded, performance.now() * 1000);
    });
    hls.on(Events.ERROR, (_event, data: ErrorData) => {
      if (!data.fatal || generation !== this.generation) return;
      const unplayable =
        data.details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR ||
        data.details === ErrorDetails.BUFFER_ADD_CODEC_ERROR ||
        data.details === ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR;
      if (unplayable) void this.refused(406, generation);
      else if (data.type === ErrorTypes.MEDIA_ERROR && this.mends()) hls.recoverMediaError();
      else void this.refused(data.response?.code ?? 0, generation);
    });
    hls.loadSource(url);
    hls.attachMedia(this.video);
  }

  /** Whether a fault of the decoder is worth a new decoder. */
  private mends(): boolean {
    const now = performance.now();
    const mends = now - this.mendedAt > MEND_AGAIN_MS;
    this.mendedAt = now;
    return mends;
  }

  private async refused(status: number, generation: number): Promise<void> {
    if (generation !== this.generation || this.state === "idle" || this.state === "paused") return;
    this.generation++;
    const mine = this.generation;
    clearInterval(this.timer);
    this.hls?.stopLoad();
    const told = await ask(this.address);
    if (mine !== this.generation) return;
    const why = afterRefusal(status, told);
    if (why === "codec") {
      this.unsupportedCodec = videoCodec(told);
      this.report({ type: "refused", reason: "codec" });
      return;
    }
    this.tryLater(why, ASK_EVERY_MS);
  }

  private tick(generation: number): void {
    const { video } = this;
    const now = performance.now();
    const frames = video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0;
    this.shown.add(Math.max(0, frames - this.frames), now * 1000);
    this.frames = frames;
    const moved = video.currentTime !== this.position && video.currentTime > 0;
    this.position = video.currentTime;
    if (moved) {
      this.movedAt = now;
      this.failures = 0;
      this.become("playing");
      return;
    }
    const still = now - this.movedAt;
    if (still < STALL_MS) return;
    if (this.state === "playing") this.become("buffering");
    if (now - this.askedAt > ASK_EVERY_MS) void this.look(generation);
  }

  /** Say what the standstill means. */
  private async look(generation: number): Promise<void> {
    this.askedAt = performance.now();
    const life = lifeOf(await ask(this.address));
    if (generation !== this.generation) return;
    const still = performance.now() - this.movedAt;
    if (life === "waiting") this.become("waiting");
    else if (life === "gone") this.become("reconnecting");
    if (life === "flowing" && still > ANEW_MS) this.resume();
  }

  protected override halt(): void {
    super.halt();
    clearInterval(this.timer);
    this.hls?.stopLoad();
    this.video.pause();
  }

  protected override release(): void {
    this.hls?.destroy();
    this.hls = null;
    this.video.removeAttribute("src");
  }
}

/** What people call the codec of the channel's picture, empty where it is not known. */
function videoCodec({ body }: Told): string {
  const { tracks } = (body ?? {}) as { tracks?: { kind: string; codec: string }[] };
  const video = Array.isArray(tracks) ? tracks.find((track) => track.kind === "video") : undefined;
  return video ? codecName(video.codec) : "";
}
