import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { milliseconds } from "../ui/format";
import { playIcon, slowIcon, statsIcon } from "../ui/icons";
import { ridge, shared } from "../ui/shared";
import { Stage } from "../ui/stage";
import { storage } from "../ui/storage";
import { Apart } from "./apart";
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
export class HelioPlayer extends Stage {
  static override styles = [shared, playerStyles];
  /** Address of the server whose channels have bare names; empty: the page's. */
  static home = "";

  @property() src = "";
  @property({ type: Boolean }) controls = false;
  @property() way: Choice | "" = "";

  @state() private playState: PlayerState = "idle";
  @state() private showStats = false;
  @state() private figures: PlayerStats | null = null;
  @state() private wayState: WayState | null = null;
  /** The way whose picture is seen: the old one's last picture until the new one plays. */
  @state() private seen: WayState["way"] | "" = "";
  /** The picture stands still because the way is too slow for it. */
  @state() private behind = false;
  @query("canvas") private readonly canvas!: HTMLCanvasElement;
  @query("video.webrtc") private readonly webrtc!: HTMLVideoElement;
  @query("video.hls") private readonly hls!: HTMLVideoElement;
  @query("video.copy") private readonly copy!: HTMLVideoElement;
  private player: Player | null = null;
  /** The last minute, kept also while nobody looks at it. */
  private history: readonly PlotPoint[] = [];
  private timer = 0;

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
    this.timer = window.setInterval(() => this.measure(), STATS_MS);
    if (this.hasUpdated) this.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("visibilitychange", this.visibility);
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
    const playing = this.playState === "playing";
    return html`${this.stage(
      !playing,
      html`${this.seen || this.figures?.width ? nothing : ridge(playing)} ${this.screen("webrtc")}
        ${this.screen("hls")}
        <canvas
          role="img"
          class=${this.look("websocket")}
          aria-label="Live picture"
          @click=${this.clicked}
          @dblclick=${this.toggleFull}
        ></canvas>
        <video playsinline class="copy unseen" aria-hidden="true"></video>
        ${this.overlay()} ${this.slow()} ${this.soundButton(playing)}
        ${this.controls ? this.bar() : nothing}`,
    )}
    ${this.showStats ? statsPanel(this.figures, this.history) : nothing}`;
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
      { webrtc: this.webrtc, websocket: this.canvas, copy: this.copy, hls: this.hls },
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

  private bar(): TemplateResult {
    const live = this.playState === "playing";
    const delay = this.figures?.delayMs ?? null;
    return html`<div class="bar">
      ${this.playButton(this.playState !== "idle" && this.playState !== "paused")}
      ${this.soundControls()}
      <span class="live ${live ? "on" : ""}">
        ${live ? html`<b>Live</b> <span>${delay === null ? nothing : milliseconds(delay)}</span>` : nothing}
      </span>
      <way-menu
        .way=${this.wayState}
        @way-choice=${(event: CustomEvent<Choice>) => this.choose(event.detail)}
      ></way-menu>
      ${this.pictureButton()}
      <button
        @click=${this.toggleStats}
        aria-label="Statistics (s)"
        title="Statistics (s)"
        aria-pressed=${this.showStats}
      >
        ${statsIcon}
      </button>
      ${this.fullButton()}
    </div>`;
  }

  private readonly visibility = (): void => this.player?.setHidden(document.hidden);

  protected override get controlled(): boolean {
    return this.controls;
  }

  protected override retry(): void {
    this.player?.retryNow();
  }

  protected override act(key: string): boolean {
    if (key !== "s") return super.act(key);
    this.toggleStats();
    return true;
  }

  protected override toggle(): void {
    if (this.playState === "idle" || this.playState === "paused") this.play();
    else this.pause();
  }

  protected override async allow(): Promise<void> {
    await this.player?.allowSound();
  }

  protected override film(): HTMLVideoElement | null {
    if (this.seen === "websocket") return Apart.able ? this.copy : null;
    return this.seen === "webrtc" ? this.webrtc : this.seen === "hls" ? this.hls : null;
  }

  protected override async leave(film: HTMLVideoElement): Promise<void> {
    const copied = film === this.copy;
    try {
      if (copied) await this.player?.copy(true);
      await super.leave(film);
    } catch (error) {
      if (copied) await this.player?.copy(false);
      throw error;
    }
  }

  private choose(choice: Choice): void {
    remember(choice, storage());
    this.player?.choose(choice);
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "helio-player": HelioPlayer;
  }
}
