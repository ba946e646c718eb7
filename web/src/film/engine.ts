/** Plays a film by HLS: through hls.js, or by the browser itself where that cannot run. */

import type { ErrorData, HlsConfig, default as HlsJs } from "hls.js";
import { backoff } from "../player/backoff";
import { nativeHls } from "../player/hls-player";
import { type FilmState, refusedBy } from "./words";

/** Seconds in hand, and kept behind for short steps back. */
const AHEAD_S = 30;
const BACK_S = 30;
/** A second fault of the decoder so soon is not mended by another decoder. */
const MEND_AGAIN_MS = 5_000;
/** Beyond what is lost. */
const STEP_S = 0.1;

const CONFIG: Partial<HlsConfig> = {
  // Fragments need no repacking, and a worker made of text would want a wider content policy.
  enableWorker: false,
  maxBufferLength: AHEAD_S,
  backBufferLength: BACK_S,
  capLevelToPlayerSize: true,
};

type Module = typeof import("hls.js");

/** A name that no other player has (CTA-5004 section 3.1: `sid`). */
function newSession(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
}

export interface Quality {
  readonly id: number;
  /** Lines of the picture; 0: sound only. */
  readonly height: number;
  /** Bits a second. */
  readonly bitrate: number;
}

export interface Sound {
  readonly id: number;
  readonly language: string;
  readonly name: string;
}

export interface FilmEvents {
  /** Why it does not go on; null: it does. */
  trouble(state: FilmState | null): void;
  /** Qualities or sounds are known, or others. */
  choices(): void;
  /** A part of it is lost, and was passed over. */
  skipped(): void;
}

export class FilmEngine {
  private hls: HlsJs | null = null;
  private url = "";
  private live = false;
  private generation = 0;
  private failures = 0;
  private mendedAt = Number.NEGATIVE_INFINITY;
  private retryTimer = 0;
  private readonly session = newSession();

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly events: FilmEvents,
  ) {
    video.addEventListener("error", this.nativeError);
    video.addEventListener("playing", this.goes);
  }

  /**
   * Begin a film.
   *
   * @param at seconds from which it plays
   * @param live whether it is being recorded
   */
  async load(url: string, at: number, live: boolean): Promise<void> {
    this.halt();
    this.url = url;
    this.live = live;
    const { generation } = this;
    let module: Module;
    try {
      module = await import("hls.js");
    } catch {
      if (generation === this.generation) this.later("reconnecting", at);
      return;
    }
    if (generation !== this.generation) return;
    if (module.default.isSupported()) this.attach(module, at);
    else if (nativeHls(this.video)) {
      this.video.src = url;
      if (at > 0) this.video.currentTime = at;
    } else this.events.trouble("unsupported");
  }

  /** Try again now, where it is. */
  retry(): void {
    if (this.url) void this.load(this.url, this.video.currentTime, this.live);
  }

  destroy(): void {
    this.halt();
    this.video.removeEventListener("error", this.nativeError);
    this.video.removeEventListener("playing", this.goes);
    this.video.removeAttribute("src");
  }

  get qualities(): readonly Quality[] {
    return (this.hls?.levels ?? []).map(({ height, bitrate }, id) => ({
      id,
      height: height ?? 0,
      bitrate,
    }));
  }

  /** Number of the quality that plays; -1 before that is known. */
  get quality(): number {
    return this.hls?.currentLevel ?? -1;
  }

  /** Whether the player chooses it. */
  get automatic(): boolean {
    return this.hls?.autoLevelEnabled ?? true;
  }

  /** @param id -1: as the connection allows */
  chooseQuality(id: number): void {
    if (this.hls) this.hls.nextLevel = id;
  }

  get sounds(): readonly Sound[] {
    return (this.hls?.audioTracks ?? []).map(({ lang, name }, id) => ({
      id,
      language: lang ?? "",
      name,
    }));
  }

  get sound(): number {
    return this.hls?.audioTrack ?? -1;
  }

  chooseSound(id: number): void {
    if (this.hls) this.hls.audioTrack = id;
  }

  /** Tell our server which of the players at this address it is; others would have to be asked. */
  private readonly tell = (request: XMLHttpRequest, url: string): void => {
    request.open("GET", url, true);
    if (new URL(url, location.href).origin === location.origin)
      request.setRequestHeader("CMCD-Session", `sid="${this.session}"`);
  };

  private attach({ default: Hls, Events, ErrorTypes, ErrorDetails }: Module, at: number): void {
    const hls = new Hls({ ...CONFIG, startPosition: at, xhrSetup: this.tell });
    const { generation } = this;
    this.hls = hls;
    const choices = (): void => this.events.choices();
    for (const event of [
      Events.MANIFEST_PARSED,
      Events.LEVEL_SWITCHED,
      Events.AUDIO_TRACKS_UPDATED,
      Events.AUDIO_TRACK_SWITCHED,
    ])
      hls.on(event, choices);
    hls.on(Events.ERROR, (_event, data: ErrorData) => {
      if (!data.fatal || generation !== this.generation) return;
      const unplayable =
        data.details === ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR ||
        data.details === ErrorDetails.BUFFER_ADD_CODEC_ERROR ||
        data.details === ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR;
      const status = data.response?.code ?? 0;
      if (unplayable) this.events.trouble("unsupported");
      else if (data.type === ErrorTypes.MEDIA_ERROR && this.mends()) hls.recoverMediaError();
      else if (data.frag && status === 410) this.skip(hls, data.frag);
      else this.later(refusedBy(status, this.live), this.video.currentTime || at);
    });
    hls.loadSource(this.url);
    hls.attachMedia(this.video);
  }

  /** What is lost is lost: the rest is there. */
  private skip(hls: HlsJs, { start, duration }: { start: number; duration: number }): void {
    this.events.skipped();
    const beyond = start + duration + STEP_S;
    hls.startLoad(beyond);
    if (this.video.currentTime < beyond) this.video.currentTime = beyond;
  }

  private later(why: FilmState, at: number): void {
    this.halt();
    this.events.trouble(why);
    if (why === "refused" || why === "unknown" || why === "unsupported") return;
    const { generation } = this;
    this.retryTimer = window.setTimeout(
      () => {
        if (generation === this.generation) void this.load(this.url, at, this.live);
      },
      Math.max(1_000, backoff(this.failures++, Math.random())),
    );
  }

  private mends(): boolean {
    const now = performance.now();
    const mends = now - this.mendedAt > MEND_AGAIN_MS;
    this.mendedAt = now;
    return mends;
  }

  private readonly goes = (): void => {
    this.failures = 0;
    this.events.trouble(null);
  };

  /** The browser's own player says no more than that it failed. */
  private readonly nativeError = async (): Promise<void> => {
    if (this.hls || !this.video.src) return;
    const { generation } = this;
    const at = this.video.currentTime;
    const status = await fetch(this.url).then(
      (answer) => answer.status,
      () => 0,
    );
    if (generation !== this.generation) return;
    this.later(status === 200 ? "unsupported" : refusedBy(status, this.live), at);
  };

  private halt(): void {
    this.generation++;
    clearTimeout(this.retryTimer);
    this.hls?.destroy();
    this.hls = null;
  }
}
