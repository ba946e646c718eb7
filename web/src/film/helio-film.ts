import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { Loudspeaker } from "../player/loudspeaker";
import { playerStyles } from "../player/player-styles";
import { clock } from "../ui/format";
import {
  fullIcon,
  leaveFullIcon,
  mutedIcon,
  pauseIcon,
  pictureIcon,
  playIcon,
  soundIcon,
} from "../ui/icons";
import { ridge, shared } from "../ui/shared";
import { FilmEngine } from "./engine";
import "./film-menu";
import type { FilmChoice, FilmChoices } from "./film-menu";
import { overlay } from "./film-overlay";
import { filmStyles } from "./film-styles";
import { keep, resumeAt, storage } from "./resume";
import "./seek-bar";
import { atLive, BEHIND_S, type Extent, extent, faster, leap, within } from "./timeline";
import type { FilmState } from "./words";

/** Controls leave a picture that nobody touches. */
const CONTROLS_MS = 2_500;
const VOLUME_STEP = 0.1;
/** Where one is, is kept so often. */
const KEEP_MS = 5_000;
/** How long it is said that a film was resumed. */
const RESUMED_MS = 8_000;
/** Shorter waits say nothing. */
const BUFFERING_MS = 400;

/**
 * Plays a title on demand.
 *
 * @attr src - address of its multivariant playlist
 * @attr name - by which its position is remembered; empty: it is not
 * @attr live - whether it is being recorded
 * @attr autoplay - start without being asked
 * @attr hotkeys - listen to keys wherever the focus is, for pages about this film alone
 * @fires helio-state - the state changed; `detail.state`, also in `data-state`
 */
@customElement("helio-film")
export class HelioFilm extends LitElement {
  static override styles = [shared, playerStyles, filmStyles];

  @property() src = "";
  @property() name = "";
  @property({ type: Boolean }) live = false;
  @property({ type: Boolean }) autoplay = false;
  @property({ type: Boolean }) hotkeys = false;
  @property({ type: Boolean }) muted = false;
  @property({ type: Number }) volume = 1;

  @state() private playState: FilmState = "idle";
  @state() private trouble: FilmState | null = null;
  @state() private awake = true;
  @state() private full = false;
  @state() private soundBlocked = false;
  @state() private notice = "";
  @state() private time = 0;
  @state() private of: Extent | null = null;
  @state() private choices: FilmChoices | null = null;
  /** Where it went on; null: from the begin, or that was said long enough. */
  @state() private resumedAt: number | null = null;
  @query("video") readonly video!: HTMLVideoElement;
  private engine: FilmEngine | null = null;
  private loudspeaker: Loudspeaker | null = null;
  private sleepTimer = 0;
  private keepTimer = 0;
  private resumedTimer = 0;
  private waitTimer = 0;
  /** The person wants it to play. */
  private wanted = false;

  /** What it does, as `data-state` says. */
  get state(): FilmState {
    return this.trouble ?? this.playState;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("keydown", this.key);
    document.addEventListener("fullscreenchange", this.fullscreen);
    document.addEventListener("visibilitychange", this.remember);
    window.addEventListener("pagehide", this.remember);
    window.addEventListener("online", this.retry);
    this.keepTimer = window.setInterval(this.remember, KEEP_MS);
    if (this.hasUpdated) this.begin();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.remember();
    document.removeEventListener("keydown", this.key);
    document.removeEventListener("fullscreenchange", this.fullscreen);
    document.removeEventListener("visibilitychange", this.remember);
    window.removeEventListener("pagehide", this.remember);
    window.removeEventListener("online", this.retry);
    for (const timer of [this.sleepTimer, this.resumedTimer, this.waitTimer]) clearTimeout(timer);
    clearInterval(this.keepTimer);
    this.engine?.destroy();
    this.engine = null;
  }

  override firstUpdated(): void {
    this.begin();
  }

  override updated(changed: PropertyValues<this>): void {
    if (changed.has("volume") || changed.has("muted")) {
      this.loudspeaker?.setVolume(this.volume, this.muted);
    }
    if (changed.has("src") && changed.get("src") !== undefined) this.load();
    if (this.dataset.state !== this.state) {
      this.dataset.state = this.state;
      const detail = { state: this.state };
      this.dispatchEvent(new CustomEvent("helio-state", { detail, bubbles: true, composed: true }));
    }
  }

  override render(): TemplateResult {
    const still = this.state !== "playing";
    return html`<div
      class="stage ${this.awake || still ? "awake" : ""}"
      tabindex="-1"
      @pointermove=${this.stir}
      @pointerdown=${this.stir}
      @focusin=${this.stir}
    >
      ${this.video?.videoWidth ? nothing : ridge(this.state === "playing")}
      <video
        playsinline
        aria-label="Picture"
        @click=${this.clicked}
        @dblclick=${this.toggleFull}
        @timeupdate=${this.moved}
        @durationchange=${this.moved}
        @progress=${this.moved}
        @seeking=${this.moved}
        @play=${() => this.become("loading")}
        @playing=${() => this.become("playing")}
        @pause=${this.paused}
        @ended=${this.ended}
        @waiting=${this.waits}
        @ratechange=${this.rechoose}
        @loadedmetadata=${this.ready}
      ></video>
      ${this.overlay()} ${this.resumed()}
      ${
        this.soundBlocked && this.state === "playing"
          ? html`<button class="tap" @click=${this.allowSound}>${mutedIcon}Tap for sound</button>`
          : nothing
      }
      ${this.controls()}
    </div>`;
  }

  // --- life -----------------------------------------------------------------------------------

  private begin(): void {
    this.loudspeaker = new Loudspeaker(this.video, (blocked) => {
      this.soundBlocked = blocked;
    });
    this.loudspeaker.setVolume(this.volume, this.muted);
    this.engine = new FilmEngine(this.video, {
      trouble: (state) => {
        this.trouble = state;
      },
      choices: () => this.rechoose(),
      skipped: () => {
        this.notice = "A part of this title is lost. It goes on behind it.";
      },
    });
    this.load();
  }

  private load(): void {
    if (!this.src) return;
    const at = this.name ? resumeAt(this.name, storage()) : 0;
    this.trouble = null;
    this.wanted = this.autoplay;
    this.playState = this.autoplay ? "loading" : "idle";
    this.resumedAt = at || null;
    clearTimeout(this.resumedTimer);
    void this.engine?.load(this.src, at, this.live);
  }

  private readonly ready = (): void => {
    this.moved();
    this.rechoose();
    if (this.resumedAt !== null) {
      this.resumedTimer = window.setTimeout(() => {
        this.resumedAt = null;
      }, RESUMED_MS);
    }
    if (this.wanted) void this.loudspeaker?.play();
  };

  private become(state: FilmState): void {
    clearTimeout(this.waitTimer);
    this.playState = state;
    if (state === "playing") this.notice = "";
  }

  private readonly paused = (): void => {
    if (!this.video.ended && this.trouble === null) this.become("paused");
    this.remember();
  };

  private readonly ended = (): void => {
    this.wanted = false;
    this.become("ended");
    this.remember();
  };

  private readonly waits = (): void => {
    clearTimeout(this.waitTimer);
    this.waitTimer = window.setTimeout(() => {
      if (!this.video.paused && this.video.readyState < 3) this.playState = "buffering";
    }, BUFFERING_MS);
  };

  private readonly moved = (): void => {
    this.time = this.video.currentTime;
    this.of = extent(this.video.seekable, this.video.duration);
  };

  private readonly remember = (): void => {
    if (!this.name || !this.of || this.video.currentTime <= 0) return;
    keep(this.name, this.video.currentTime, this.of, this.live, storage());
  };

  private readonly rechoose = (): void => {
    const { engine } = this;
    if (!engine) return;
    const { qualities, quality, automatic, sounds, sound } = engine;
    const speed = this.video.playbackRate;
    this.choices = { qualities, quality, automatic, sounds, sound, speed };
  };

  // --- what is seen ---------------------------------------------------------------------------

  private overlay(): TemplateResult | typeof nothing {
    const seen = Boolean(this.video?.videoWidth);
    const soundOnly = this.video && this.video.readyState > 1 && !seen;
    return overlay(this.state, {
      seen,
      text: this.notice || (soundOnly ? "Sound only" : ""),
      toggle: this.toggle,
      retry: this.retry,
    });
  }

  private resumed(): TemplateResult | typeof nothing {
    if (this.resumedAt === null || !this.of || this.trouble) return nothing;
    return html`<p class="resumed" role="status">
      Resumed at ${clock(this.resumedAt)}
      <button
        @click=${() => {
          this.resumedAt = null;
          this.seek(this.of?.start ?? 0);
        }}
      >
        Start over
      </button>
    </p>`;
  }

  private controls(): TemplateResult {
    const going = this.wanted && this.playState !== "ended";
    const silent = this.muted || this.soundBlocked || this.volume === 0;
    const play = `${going ? "Pause" : "Play"} (space)`;
    const sound = `${silent ? "Sound on" : "Sound off"} (m)`;
    const full = `${this.full ? "Leave full screen" : "Full screen"} (f)`;
    return html`<div class="controls">
      <seek-bar
        .of=${this.of}
        .time=${this.time}
        .buffered=${this.video?.buffered}
        @film-seek=${(event: CustomEvent<number>) => this.seek(event.detail)}
      ></seek-bar>
      <div class="bar">
        <button @click=${this.toggle} aria-label=${play} title=${play}>
          ${going ? pauseIcon : playIcon}
        </button>
        <button @click=${this.toggleSound} aria-label=${sound} title=${sound}>
          ${silent ? mutedIcon : soundIcon}
        </button>
        <input
          type="range"
          min="0"
          max="1"
          step="0.05"
          aria-label="Volume"
          .value=${String(silent ? 0 : this.volume)}
          @input=${this.slide}
        />
        <span class="time">${clock(this.time)} <span>/ ${clock(this.of?.end ?? 0)}</span></span>
        ${this.live && this.of ? this.edge(this.of) : nothing}
        <film-menu
          .choices=${this.choices}
          @film-choice=${(event: CustomEvent<FilmChoice>) => this.choose(event.detail)}
        ></film-menu>
        ${
          document.pictureInPictureEnabled
            ? html`<button
                @click=${this.togglePicture}
                aria-label="Picture in picture (p)"
                title="Picture in picture (p)"
              >
                ${pictureIcon}
              </button>`
            : nothing
        }
        <button @click=${this.toggleFull} aria-label=${full} title=${full}>
          ${this.full ? leaveFullIcon : fullIcon}
        </button>
      </div>
    </div>`;
  }

  private edge(of: Extent): TemplateResult {
    const on = atLive(this.time, of);
    return html`<button
      class="edge ${on ? "on" : ""}"
      aria-pressed=${on}
      title="To what is recorded now"
      @click=${this.toLive}
    >
      ${on ? "Live" : "To live"}
    </button>`;
  }

  // --- what people do -------------------------------------------------------------------------

  private seek(time: number): void {
    if (!this.of) return;
    this.video.currentTime = within(time, this.of);
    this.time = this.video.currentTime;
    if (this.playState === "ended") this.become("paused");
  }

  private readonly toLive = (): void => {
    if (!this.of) return;
    this.seek(this.of.end - BEHIND_S);
    this.play();
  };

  play(): void {
    this.wanted = true;
    if (this.playState === "idle") this.playState = "loading";
    if (this.video.ended) this.seek(this.of?.start ?? 0);
    void this.loudspeaker?.play();
  }

  pause(): void {
    this.wanted = false;
    this.video.pause();
    this.requestUpdate();
  }

  private readonly toggle = (): void => {
    if (this.wanted && !this.video.paused) this.pause();
    else this.play();
  };

  private readonly retry = (): void => {
    if (this.trouble === null) return;
    this.trouble = "loading";
    this.engine?.retry();
  };

  private choose(choice: FilmChoice): void {
    if (choice.kind === "quality") this.engine?.chooseQuality(choice.id);
    else if (choice.kind === "sound") this.engine?.chooseSound(choice.id);
    else this.video.playbackRate = choice.id;
    this.rechoose();
  }

  private readonly key = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const path = event.composedPath();
    if (!this.hotkeys && !path.includes(this)) return;
    const target = path[0];
    if (target instanceof HTMLElement) {
      if (target.matches("input:not([type=range]), textarea, select, [contenteditable]")) return;
      // Space and arrows already mean something on these.
      if (event.key === " " && target.matches("button, a, summary")) return;
      if (event.key.startsWith("Arrow") && target.matches("input")) return;
    }
    if (!this.act(event.key)) return;
    event.preventDefault();
    this.stir();
  };

  private act(key: string): boolean {
    const to = this.of ? leap(key, this.video.currentTime, this.of) : null;
    if (to !== null) {
      this.seek(to);
      return true;
    }
    switch (key) {
      case " ":
      case "k":
        this.toggle();
        return true;
      case "m":
        this.toggleSound();
        return true;
      case "f":
        void this.toggleFull();
        return true;
      case "p":
        void this.togglePicture();
        return true;
      case "<":
      case ">":
        this.video.playbackRate = faster(this.video.playbackRate, key === ">" ? 1 : -1);
        return true;
      case "ArrowUp":
      case "ArrowDown":
        this.setVolume(this.volume + (key === "ArrowUp" ? VOLUME_STEP : -VOLUME_STEP));
        return true;
      default:
        return false;
    }
  }

  /** A first tap on a phone shows the controls, it does not stop the picture. */
  private readonly clicked = (event: PointerEvent): void => {
    if (this.soundBlocked) void this.allowSound();
    else if (event.pointerType === "mouse" && event.detail === 1) this.toggle();
  };

  private readonly toggleSound = (): void => {
    if (this.soundBlocked) void this.allowSound();
    else if (this.volume === 0) this.setVolume(0.5);
    else this.muted = !this.muted;
  };

  private readonly allowSound = async (): Promise<void> => {
    this.muted = false;
    await this.loudspeaker?.allow();
  };

  private readonly slide = (event: InputEvent): void =>
    this.setVolume(Number((event.target as HTMLInputElement).value));

  private setVolume(volume: number): void {
    this.volume = Math.min(1, Math.max(0, Math.round(volume * 100) / 100));
    this.muted = false;
    void this.loudspeaker?.allow();
  }

  private readonly fullscreen = (): void => {
    this.full = document.fullscreenElement === this;
  };

  private readonly toggleFull = async (): Promise<void> => {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (this.requestFullscreen) await this.requestFullscreen();
      // Phones from Apple give the whole screen to a video only.
      else (this.video as AppleVideo).webkitEnterFullscreen?.();
    } catch {
      this.notice = "This browser does not allow full screen here.";
    }
  };

  private readonly togglePicture = async (): Promise<void> => {
    if (!document.pictureInPictureEnabled) return;
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await this.video.requestPictureInPicture();
    } catch {
      this.notice = "This browser does not allow picture in picture here.";
    }
  };

  private readonly stir = (): void => {
    this.awake = true;
    clearTimeout(this.sleepTimer);
    this.sleepTimer = window.setTimeout(() => {
      this.awake = false;
    }, CONTROLS_MS);
  };
}

interface AppleVideo extends HTMLVideoElement {
  webkitEnterFullscreen?(): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "helio-film": HelioFilm;
  }
}
