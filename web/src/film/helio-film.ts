import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { Loudspeaker } from "../player/loudspeaker";
import { playerStyles } from "../player/player-styles";
import { clock } from "../ui/format";
import { ridge, shared } from "../ui/shared";
import { Stage } from "../ui/stage";
import { storage } from "../ui/storage";
import { FilmEngine } from "./engine";
import "./film-menu";
import type { FilmChoice, FilmChoices } from "./film-menu";
import { overlay } from "./film-overlay";
import { filmStyles } from "./film-styles";
import { keep, resumeAt } from "./resume";
import "./seek-bar";
import { atLive, BEHIND_S, type Extent, extent, faster, leap, within } from "./timeline";
import type { FilmState } from "./words";

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
export class HelioFilm extends Stage {
  static override styles = [shared, playerStyles, filmStyles];

  @property() src = "";
  @property() name = "";
  @property({ type: Boolean }) live = false;

  @state() private playState: FilmState = "idle";
  @state() private trouble: FilmState | null = null;
  @state() private time = 0;
  @state() private of: Extent | null = null;
  @state() private choices: FilmChoices | null = null;
  /** Where it went on; null: from the begin, or that was said long enough. */
  @state() private resumedAt: number | null = null;
  @query("video") readonly video!: HTMLVideoElement;
  private engine: FilmEngine | null = null;
  private loudspeaker: Loudspeaker | null = null;
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
    document.addEventListener("visibilitychange", this.remember);
    window.addEventListener("pagehide", this.remember);
    this.keepTimer = window.setInterval(this.remember, KEEP_MS);
    if (this.hasUpdated) this.begin();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.remember();
    document.removeEventListener("visibilitychange", this.remember);
    window.removeEventListener("pagehide", this.remember);
    for (const timer of [this.resumedTimer, this.waitTimer]) clearTimeout(timer);
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
    const playing = this.state === "playing";
    return this.stage(
      !playing,
      html`${this.video?.videoWidth ? nothing : ridge(playing)}
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
        ${this.overlay()} ${this.resumed()} ${this.soundButton(playing)} ${this.bars()}`,
    );
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

  private bars(): TemplateResult {
    return html`<div class="controls">
      <seek-bar
        .of=${this.of}
        .time=${this.time}
        .buffered=${this.video?.buffered}
        @film-seek=${(event: CustomEvent<number>) => this.seek(event.detail)}
      ></seek-bar>
      <div class="bar">
        ${this.playButton(this.wanted && this.playState !== "ended")} ${this.soundControls()}
        <span class="time">${clock(this.time)} <span>/ ${clock(this.of?.end ?? 0)}</span></span>
        ${this.live && this.of ? this.edge(this.of) : nothing}
        <film-menu
          .choices=${this.choices}
          @film-choice=${(event: CustomEvent<FilmChoice>) => this.choose(event.detail)}
        ></film-menu>
        ${this.pictureButton()} ${this.fullButton()}
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

  protected override toggle(): void {
    if (this.wanted && !this.video.paused) this.pause();
    else this.play();
  }

  protected override retry(): void {
    if (this.trouble === null) return;
    this.trouble = "loading";
    this.engine?.retry();
  }

  protected override film(): HTMLVideoElement {
    return this.video;
  }

  protected override async allow(): Promise<void> {
    await this.loudspeaker?.allow();
  }

  private choose(choice: FilmChoice): void {
    if (choice.kind === "quality") this.engine?.chooseQuality(choice.id);
    else if (choice.kind === "sound") this.engine?.chooseSound(choice.id);
    else this.video.playbackRate = choice.id;
    this.rechoose();
  }

  protected override act(key: string): boolean {
    const to = this.of ? leap(key, this.video.currentTime, this.of) : null;
    if (to !== null) this.seek(to);
    else if (key === "<" || key === ">") {
      this.video.playbackRate = faster(this.video.playbackRate, key === ">" ? 1 : -1);
    } else return super.act(key);
    return true;
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "helio-film": HelioFilm;
  }
}
