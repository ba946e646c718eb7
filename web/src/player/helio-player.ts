import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { milliseconds } from "../ui/format";
import {
  fullIcon,
  leaveFullIcon,
  mutedIcon,
  pauseIcon,
  pictureIcon,
  playIcon,
  slowIcon,
  soundIcon,
  statsIcon,
} from "../ui/icons";
import { ridge, shared } from "../ui/shared";
import { Player } from "./player";
import { playerStyles } from "./player-styles";
import type { PlotPoint } from "./plots";
import type { PlayerState, PlayerStats } from "./stats";
import { statsPanel } from "./stats-panel";
import { type Choice, remember, remembered, type WayState } from "./way";
import "./way-menu";
import { describe } from "./words";

/** Twice a second: readable figures, and 120 points a minute. */
const STATS_MS = 500;
const HISTORY = 60_000 / STATS_MS;
/** Controls leave a picture that nobody touches. */
const CONTROLS_MS = 2_500;
const VOLUME_STEP = 0.1;

/**
 * Plays a channel.
 *
 * @attr src - channel name, or the URL of its page or WebSocket
 * @attr autoplay - start without being asked
 * @attr muted - start without sound
 * @attr controls - show buttons, and listen to keys while the player has the focus
 * @attr hotkeys - listen to keys wherever the focus is, for pages about this channel alone
 * @attr way - `auto`, `webrtc`, `websocket` or `hls`; without it what the person chose before
 * @fires helio-state - the state changed; `detail.state`, also in `data-state`
 * @fires helio-stats - new figures, twice a second; `detail` is `stats`
 */
@customElement("helio-player")
export class HelioPlayer extends LitElement {
  static override styles = [shared, playerStyles];
  /** Address of the server whose channels have bare names; empty: the page's. */
  static home = "";

  @property() src = "";
  @property({ type: Boolean }) autoplay = false;
  @property({ type: Boolean, reflect: true }) muted = false;
  @property({ type: Boolean }) controls = false;
  @property({ type: Boolean }) hotkeys = false;
  @property({ type: Number }) volume = 1;
  @property() way: Choice | "" = "";

  @state() private playState: PlayerState = "idle";
  @state() private notice = "";
  @state() private soundBlocked = false;
  @state() private showStats = false;
  @state() private figures: PlayerStats | null = null;
  @state() private awake = true;
  @state() private full = false;
  @state() private wayState: WayState | null = null;
  /** The way whose picture is seen: the old one's last picture until the new one plays. */
  @state() private seen: WayState["way"] | "" = "";
  /** The picture stands still because the way is too slow for it. */
  @state() private behind = false;
  @query("canvas") private readonly canvas!: HTMLCanvasElement;
  @query("video.webrtc") private readonly webrtc!: HTMLVideoElement;
  @query("video.hls") private readonly hls!: HTMLVideoElement;
  private player: Player | null = null;
  /** The last minute, kept also while nobody looks at it. */
  private history: readonly PlotPoint[] = [];
  private timer = 0;
  private sleepTimer = 0;

  /** Current figures, also for tests. */
  get stats(): PlayerStats | null {
    return this.player?.stats ?? null;
  }

  play(): void {
    if (!this.player) return;
    if (this.playState === "idle") this.load();
    else this.player.resume();
  }

  pause(): void {
    this.player?.pause();
  }

  toggleStats(): void {
    this.showStats = !this.showStats;
    if (this.showStats) void import("./plots");
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("visibilitychange", this.visibility);
    document.addEventListener("fullscreenchange", this.fullscreen);
    document.addEventListener("keydown", this.key);
    window.addEventListener("online", this.retry);
    this.timer = window.setInterval(() => this.measure(), STATS_MS);
    if (this.hasUpdated) this.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("visibilitychange", this.visibility);
    document.removeEventListener("fullscreenchange", this.fullscreen);
    document.removeEventListener("keydown", this.key);
    window.removeEventListener("online", this.retry);
    clearInterval(this.timer);
    this.player?.destroy();
    this.player = null;
  }

  override firstUpdated(): void {
    this.start();
  }

  override updated(changed: PropertyValues<this>): void {
    if (changed.has("volume") || changed.has("muted")) {
      this.player?.setVolume(this.volume, this.muted);
    }
    if (changed.has("src") && changed.get("src") !== undefined && this.playState !== "idle") {
      this.load();
    }
  }

  override render(): TemplateResult {
    return html`
      <div
        class="stage ${this.awake || this.playState !== "playing" ? "awake" : ""}"
        tabindex="-1"
        @pointermove=${this.stir}
        @pointerdown=${this.stir}
        @focusin=${this.stir}
      >
        ${this.seen || this.figures?.width ? nothing : ridge(this.playState === "playing")}
        ${this.screen("webrtc")} ${this.screen("hls")}
        <canvas
          role="img"
          class=${this.look("websocket")}
          aria-label="Live picture"
          @click=${this.clicked}
          @dblclick=${this.toggleFull}
        ></canvas>
        ${this.overlay()} ${this.slow()} ${this.soundButton()} ${this.controls ? this.bar() : nothing}
      </div>
      ${this.showStats ? statsPanel(this.figures, this.history) : nothing}
    `;
  }

  private screen(way: "webrtc" | "hls"): TemplateResult {
    return html`<video
      playsinline
      class=${`${way} ${this.look(way)}`}
      aria-label="Live picture"
      @click=${this.clicked}
      @dblclick=${this.toggleFull}
    ></video>`;
  }

  private look(way: WayState["way"]): string {
    return this.seen === way ? (this.behind ? "still" : "") : "unseen";
  }

  private start(): void {
    this.player = new Player(
      { webrtc: this.webrtc, websocket: this.canvas, hls: this.hls },
      {
        state: (state) => this.changed(state),
        notice: (text) => {
          this.notice = text;
        },
        behind: (behind) => {
          this.behind = behind;
          this.toggleAttribute("data-behind", behind);
        },
        soundBlocked: (blocked) => {
          this.soundBlocked = blocked;
        },
        way: (way) => {
          this.wayState = way;
          this.dataset.way = way.way;
        },
      },
      remembered(this.way || null, storage()),
    );
    this.wayState = this.player.way;
    this.player.setVolume(this.volume, this.muted);
    this.player.setHidden(document.hidden);
    this.changed("idle");
    if (this.autoplay) this.load();
  }

  private load(): void {
    this.player?.load(this.src, HelioPlayer.home || location.href);
  }

  private changed(state: PlayerState): void {
    this.playState = state;
    this.dataset.state = state;
    if (state === "playing") this.seen = this.player?.way.way ?? "";
    this.dispatchEvent(
      new CustomEvent("helio-state", { detail: { state }, bubbles: true, composed: true }),
    );
  }

  private measure(): void {
    const figures = this.stats;
    if (!figures) return;
    this.figures = figures;
    this.history = [
      ...this.history.slice(1 - HISTORY),
      { at: performance.now() / 1000, delayMs: figures.delayMs, bitrate: figures.bitrate },
    ];
    this.dispatchEvent(
      new CustomEvent("helio-stats", { detail: figures, bubbles: true, composed: true }),
    );
  }

  private overlay(): TemplateResult | typeof nothing {
    if (this.playState === "idle" || this.playState === "paused") {
      return html`<button class="big" @click=${this.toggle} aria-label="Play">${playIcon}</button>`;
    }
    const words = describe(this.playState, this.player?.unsupportedCodec ?? "");
    if (!words) {
      const soundOnly = this.player && !this.player.hasVideo;
      const text = this.notice || (soundOnly && !this.soundBlocked ? "Sound only" : "");
      return text ? html`<p class="notice" role="status">${text}</p>` : nothing;
    }
    return html`<div class="says ${this.seen || this.figures?.width ? "over" : ""}" role="status">
      ${words.busy ? html`<div class="morse" aria-hidden="true"><i></i><i></i><i></i></div>` : nothing}
      <strong>${words.title}</strong>
      ${words.text ? html`<p>${words.text}</p>` : nothing}
      ${
        words.action
          ? html`<button class="action" @click=${this.retry}>${words.action}</button>`
          : nothing
      }
    </div>`;
  }

  private slow(): TemplateResult | typeof nothing {
    if (!this.behind || this.playState !== "playing") return nothing;
    return html`<p class="slow" role="status">
      ${slowIcon}<span>Slow connection: sound first. The picture comes back by itself.</span>
    </p>`;
  }

  private soundButton(): TemplateResult | typeof nothing {
    if (!this.soundBlocked || this.playState !== "playing") return nothing;
    return html`<button class="tap" @click=${this.allowSound}>${mutedIcon}Tap for sound</button>`;
  }

  private bar(): TemplateResult {
    const going = this.playState !== "idle" && this.playState !== "paused";
    const silent = this.muted || this.soundBlocked || this.volume === 0;
    const live = this.playState === "playing";
    const delay = this.figures?.delayMs ?? null;
    return html`<div class="bar">
      <button
        @click=${this.toggle}
        aria-label=${going ? "Pause (space)" : "Play (space)"}
        title=${going ? "Pause (space)" : "Play (space)"}
      >
        ${going ? pauseIcon : playIcon}
      </button>
      <button
        @click=${this.toggleSound}
        aria-label=${silent ? "Sound on (m)" : "Sound off (m)"}
        title=${silent ? "Sound on (m)" : "Sound off (m)"}
      >
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
      <span class="live ${live ? "on" : ""}">
        ${live ? html`<b>Live</b> <span>${delay === null ? nothing : milliseconds(delay)}</span>` : nothing}
      </span>
      <way-menu
        .way=${this.wayState}
        @way-choice=${(event: CustomEvent<Choice>) => this.choose(event.detail)}
      ></way-menu>
      ${this.canLeave() ? this.pictureButton() : nothing}
      <button
        @click=${this.toggleStats}
        aria-label="Statistics (s)"
        title="Statistics (s)"
        aria-pressed=${this.showStats}
      >
        ${statsIcon}
      </button>
      <button
        @click=${this.toggleFull}
        aria-label=${this.full ? "Leave full screen (f)" : "Full screen (f)"}
        title=${this.full ? "Leave full screen (f)" : "Full screen (f)"}
      >
        ${this.full ? leaveFullIcon : fullIcon}
      </button>
    </div>`;
  }

  private pictureButton(): TemplateResult {
    return html`<button
      @click=${this.togglePicture}
      aria-label="Picture in picture (p)"
      title="Picture in picture (p)"
    >
      ${pictureIcon}
    </button>`;
  }

  private readonly visibility = (): void => this.player?.setHidden(document.hidden);
  private readonly fullscreen = (): void => {
    this.full = document.fullscreenElement === this;
  };
  private readonly retry = (): void => this.player?.retryNow();

  private readonly key = (event: KeyboardEvent): void => {
    if (!this.controls || event.ctrlKey || event.metaKey || event.altKey) return;
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
      case "s":
        this.toggleStats();
        return true;
      case "ArrowUp":
      case "ArrowDown":
        this.setVolume(this.volume + (key === "ArrowUp" ? VOLUME_STEP : -VOLUME_STEP));
        return true;
      default:
        return false;
    }
  }

  private readonly toggle = (): void => {
    if (this.playState === "idle" || this.playState === "paused") this.play();
    else this.pause();
  };

  /** A first tap on a phone shows the controls, it does not stop the picture. */
  private readonly clicked = (event: PointerEvent): void => {
    if (this.soundBlocked) void this.allowSound();
    else if (this.controls && event.pointerType === "mouse" && event.detail === 1) this.toggle();
  };

  private readonly toggleSound = (): void => {
    if (this.soundBlocked) void this.allowSound();
    else if (this.volume === 0) this.setVolume(0.5);
    else this.muted = !this.muted;
  };

  private readonly allowSound = async (): Promise<void> => {
    this.muted = false;
    await this.player?.allowSound();
  };

  private readonly slide = (event: InputEvent): void =>
    this.setVolume(Number((event.target as HTMLInputElement).value));

  private setVolume(volume: number): void {
    this.volume = Math.min(1, Math.max(0, Math.round(volume * 100) / 100));
    this.muted = false;
    void this.player?.allowSound();
  }

  private readonly toggleFull = async (): Promise<void> => {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (this.requestFullscreen) await this.requestFullscreen();
      // Phones from Apple give the whole screen to a video only.
      else (this.film() as AppleVideo | null)?.webkitEnterFullscreen?.();
    } catch {
      this.notice = "This browser does not allow full screen here.";
    }
  };

  /** A canvas is not drawn while its page is hidden, so only the video can leave it. */
  private canLeave(): boolean {
    return this.film() !== null && document.pictureInPictureEnabled === true;
  }

  /** The video element that is seen; null where it is the canvas. */
  private film(): HTMLVideoElement | null {
    return this.seen === "webrtc" ? this.webrtc : this.seen === "hls" ? this.hls : null;
  }

  private readonly togglePicture = async (): Promise<void> => {
    if (!this.canLeave()) return;
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await this.film()?.requestPictureInPicture();
    } catch {
      this.notice = "This browser does not allow picture in picture here.";
    }
  };

  private choose(choice: Choice): void {
    remember(choice, storage());
    this.player?.choose(choice);
  }

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

/** Null where the browser keeps nothing for this page. */
function storage(): Storage | null {
  try {
    return localStorage;
  } catch {
    return null;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "helio-player": HelioPlayer;
  }
}
