import { html, LitElement, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import {
  fullIcon,
  leaveFullIcon,
  mutedIcon,
  pauseIcon,
  pictureIcon,
  playIcon,
  soundIcon,
} from "./icons";

/** Controls leave a picture that nobody touches. */
const CONTROLS_MS = 2_500;
const VOLUME_STEP = 0.1;

/** A picture with sound: the buttons, keys and ways out of the page that all players have. */
export abstract class Stage extends LitElement {
  @property({ type: Boolean }) autoplay = false;
  @property({ type: Boolean }) hotkeys = false;
  @property({ type: Boolean, reflect: true }) muted = false;
  @property({ type: Number }) volume = 1;

  @state() protected notice = "";
  @state() protected soundBlocked = false;
  @state() private awake = true;
  @state() private full = false;
  private sleepTimer = 0;

  /** The video that can leave the page; null where there is none. */
  protected abstract film(): HTMLVideoElement | null;

  /** Let the video out of the page. */
  protected async leave(film: HTMLVideoElement): Promise<void> {
    await film.requestPictureInPicture();
  }

  /** Play what stands, pause what plays. */
  protected abstract toggle(): void;

  /** Let sound out, which browsers allow within a gesture. */
  protected abstract allow(): Promise<void>;

  /** Try again now. */
  protected abstract retry(): void;

  /** Whether it has buttons and keys. */
  protected get controlled(): boolean {
    return true;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    document.addEventListener("keydown", this.key);
    document.addEventListener("fullscreenchange", this.fullscreen);
    window.addEventListener("online", this.online);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    document.removeEventListener("keydown", this.key);
    document.removeEventListener("fullscreenchange", this.fullscreen);
    window.removeEventListener("online", this.online);
    clearTimeout(this.sleepTimer);
  }

  // --- what is seen ---------------------------------------------------------------------------

  /** The picture with what lies upon it; `still`: controls stay. */
  protected stage(still: boolean, content: TemplateResult): TemplateResult {
    return html`<div
      class="stage ${this.awake || still ? "awake" : ""}"
      tabindex="-1"
      @pointermove=${this.stir}
      @pointerdown=${this.stir}
      @focusin=${this.stir}
    >
      ${content}
    </div>`;
  }

  protected playButton(going: boolean): TemplateResult {
    const name = `${going ? "Pause" : "Play"} (space)`;
    return html`<button @click=${this.toggle} aria-label=${name} title=${name}>
      ${going ? pauseIcon : playIcon}
    </button>`;
  }

  protected soundControls(): TemplateResult {
    const silent = this.muted || this.soundBlocked || this.volume === 0;
    const name = `${silent ? "Sound on" : "Sound off"} (m)`;
    return html`<button @click=${this.toggleSound} aria-label=${name} title=${name}>
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
      />`;
  }

  protected pictureButton(): TemplateResult | typeof nothing {
    if (!this.canLeave()) return nothing;
    const name = "Picture in picture (p)";
    return html`<button @click=${this.togglePicture} aria-label=${name} title=${name}>
      ${pictureIcon}
    </button>`;
  }

  protected fullButton(): TemplateResult {
    const name = `${this.full ? "Leave full screen" : "Full screen"} (f)`;
    return html`<button @click=${this.toggleFull} aria-label=${name} title=${name}>
      ${this.full ? leaveFullIcon : fullIcon}
    </button>`;
  }

  /** Where the browser holds the sound back. */
  protected soundButton(playing: boolean): TemplateResult | typeof nothing {
    if (!this.soundBlocked || !playing) return nothing;
    return html`<button class="tap" @click=${this.allowSound}>${mutedIcon}Tap for sound</button>`;
  }

  // --- what people do -------------------------------------------------------------------------

  /** Do what a key means; false: it means nothing here. */
  protected act(key: string): boolean {
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
      case "ArrowUp":
      case "ArrowDown":
        this.setVolume(this.volume + (key === "ArrowUp" ? VOLUME_STEP : -VOLUME_STEP));
        return true;
      default:
        return false;
    }
  }

  /** A first tap on a phone shows the controls, it does not stop the picture. */
  protected clicked(event: PointerEvent): void {
    if (this.soundBlocked) void this.allowSound();
    else if (this.controlled && event.pointerType === "mouse" && event.detail === 1) this.toggle();
  }

  protected async toggleFull(): Promise<void> {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else if (this.requestFullscreen) await this.requestFullscreen();
      // Phones from Apple give the whole screen to a video only.
      else (this.film() as AppleVideo | null)?.webkitEnterFullscreen?.();
    } catch {
      this.notice = "This browser does not allow full screen here.";
    }
  }

  private async togglePicture(): Promise<void> {
    const film = this.film();
    if (!film || !this.canLeave()) return;
    try {
      if (document.pictureInPictureElement) await document.exitPictureInPicture();
      else await this.leave(film);
    } catch {
      this.notice = "This browser does not allow picture in picture here.";
    }
  }

  private canLeave(): boolean {
    return this.film() !== null && document.pictureInPictureEnabled === true;
  }

  private toggleSound(): void {
    if (this.soundBlocked) void this.allowSound();
    else if (this.volume === 0) this.setVolume(0.5);
    else this.muted = !this.muted;
  }

  private async allowSound(): Promise<void> {
    this.muted = false;
    await this.allow();
  }

  private slide(event: InputEvent): void {
    this.setVolume(Number((event.target as HTMLInputElement).value));
  }

  private setVolume(volume: number): void {
    this.volume = Math.min(1, Math.max(0, Math.round(volume * 100) / 100));
    void this.allowSound();
  }

  private readonly online = (): void => this.retry();

  private readonly fullscreen = (): void => {
    // Of what is within another element the document knows that element only.
    this.full = (this.getRootNode() as Document | ShadowRoot).fullscreenElement === this;
  };

  private readonly key = (event: KeyboardEvent): void => {
    if (!this.controlled || event.ctrlKey || event.metaKey || event.altKey) return;
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

  private stir(): void {
    this.awake = true;
    clearTimeout(this.sleepTimer);
    this.sleepTimer = window.setTimeout(() => {
      this.awake = false;
    }, CONTROLS_MS);
  }
}

interface AppleVideo extends HTMLVideoElement {
  webkitEnterFullscreen?(): void;
}
