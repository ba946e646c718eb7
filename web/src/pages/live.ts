import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { ApiError, type Channel, getChannel } from "../api/client";
import { Poll } from "../api/poll";
import { signInPath, WithSession } from "../api/session";
import "../chat/helio-chat";
import type { AirState } from "../live/air";
import "../live/channel-title";
import { CHANNEL_NAME } from "../live/choice";
import { deviceFields } from "../live/device-fields";
import { canShareScreen } from "../live/devices";
import { forgetKey, rememberKey, takeKey } from "../live/key";
import { Studio } from "../live/studio";
import { serverTrouble, type Trouble } from "../live/words";
import "../ui/copy-line";
import { bitrate, clock, milliseconds, percent } from "../ui/format";
import {
  cameraIcon,
  cameraOffIcon,
  microphoneIcon,
  microphoneOffIcon,
  screenIcon,
} from "../ui/icons";
import { ridge, shared } from "../ui/shared";
import "../ui/site-header";
import { liveStyles } from "./live-styles";

/** Viewers and what else the server says. */
const POLL_MS = 3_000;
const CLOCK_MS = 500;
const CLIMB_S = 10;

const STATES: Readonly<Record<AirState, { readonly chip: string; readonly text: string }>> = {
  off: { chip: "Off air", text: "" },
  starting: { chip: "Connecting", text: "Connecting to the server…" },
  live: { chip: "On air", text: "Everything runs." },
  shaky: { chip: "Weak connection", text: "Nothing gets through at the moment. Stay on the page." },
  reconnecting: {
    chip: "Reconnecting",
    text: "The connection is lost. It is made again by itself; your viewers wait.",
  },
};

/** The page `/live/NAME`: go on air with camera, microphone or screen. */
@customElement("helio-live")
export class LivePage extends LitElement {
  static override styles = [shared, liveStyles];

  private readonly session = new WithSession(this);
  private readonly name = channelName(location.pathname);
  @state() private key = takeKey(this.name);
  /** The key was good once: no field for it. */
  @state() private keyKnown = this.key !== "";
  @state() private channel: Channel | null = null;
  @state() private unknown = false;
  @query("video") private readonly video!: HTMLVideoElement | null;
  @query(".level") private readonly level!: HTMLElement | null;
  private ticker = 0;
  private wakeLock: { release(): Promise<void> } | null = null;
  private lastAir: AirState = "off";

  private readonly studio = new Studio(
    this.name,
    () => this.studioChanged(),
    (level) => this.level?.style.setProperty("--level", level.toFixed(3)),
  );
  private readonly poll = new Poll(
    () => getChannel(this.name),
    (channel, error) => {
      this.unknown = error instanceof ApiError && error.status === 404;
      if (channel) this.channel = channel;
    },
    POLL_MS,
  );

  override connectedCallback(): void {
    super.connectedCallback();
    if (!this.name) return;
    document.title = `Go on air: ${this.name} · Heliograph`;
    this.poll.start();
    void this.studio.open();
    this.ticker = window.setInterval(() => {
      if (this.studio.state !== "off") this.requestUpdate();
    }, CLOCK_MS);
    document.addEventListener("keydown", this.pressed);
    document.addEventListener("pointerdown", this.touched);
    window.addEventListener("online", this.online);
    window.addEventListener("beforeunload", this.leaving);
    window.addEventListener("pagehide", this.left);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.poll.stop();
    this.studio.close();
    clearInterval(this.ticker);
    document.removeEventListener("keydown", this.pressed);
    document.removeEventListener("pointerdown", this.touched);
    window.removeEventListener("online", this.online);
    window.removeEventListener("beforeunload", this.leaving);
    window.removeEventListener("pagehide", this.left);
  }

  override updated(): void {
    // A list forgets its choice when its options change.
    for (const select of this.renderRoot.querySelectorAll<HTMLSelectElement>("select")) {
      select.value = select.dataset.value ?? "";
    }
    const track = this.studio.video;
    const video = this.video;
    if (!video) return;
    const shown = (video.srcObject as MediaStream | null)?.getVideoTracks()[0] ?? null;
    if (shown === track) return;
    video.srcObject = track ? new MediaStream([track]) : null;
    if (track) void video.play().catch(() => undefined);
  }

  override render(): TemplateResult {
    return html`
      <site-header bare></site-header>
      <main class="frame">
        ${
          this.name
            ? this.desk()
            : html`<div class="head"><h1>Go on air</h1></div>
                <live-choice></live-choice>`
        }
      </main>
    `;
  }

  private desk(): TemplateResult {
    const { state: air } = this.studio;
    return html`
      <div class="head">
        <channel-title
          name=${this.name}
          text=${this.channel?.title ?? ""}
          ?editable=${this.owns() && this.channel !== null}
          @channel-saved=${() => void this.poll.now()}
        ></channel-title>
        <span class="chip ${air} ${air === "live" ? "on_air" : ""}" role="status"
          >${STATES[air].chip}</span
        >
      </div>
      <div class="grid">
        <div class="view">${this.stage()} ${this.strip()}</div>
        <div class="side">
          <section class="card">
            ${this.alarm()} ${air === "off" ? this.beforeAir() : this.onAir()}
          </section>
          <section class="card">
            <h2>For your viewers</h2>
            <copy-line text=${this.watchUrl()} label="the address for viewers"></copy-line>
          </section>
          <helio-chat
            channel=${this.unknown ? "" : this.name}
            signin=${signInPath(location.pathname)}
          ></helio-chat>
        </div>
        ${deviceFields(this.studio)}
      </div>
    `;
  }

  private stage(): TemplateResult {
    const { studio } = this;
    const air = studio.state;
    return html`<div class="stage ${air === "live" ? "live" : ""}">
      ${studio.video ? nothing : ridge(studio.preview === "ready")}
      <video muted playsinline aria-label="Preview" ?hidden=${!studio.video}></video>
      ${this.overlay()}
    </div>`;
  }

  private overlay(): TemplateResult | typeof nothing {
    const { studio } = this;
    if (studio.preview === "asking") {
      return html`<div class="over" role="status">
        <strong>The browser asks for camera and microphone</strong>
        <p>Answer “Allow” in its question. Nothing is sent before you press Start.</p>
      </div>`;
    }
    if (studio.preview === "unasked") {
      const why = this.deviceTrouble();
      return html`<div class="over" role=${why ? "alert" : nothing}>
        ${why ? html`<strong>${why.title}</strong>` : nothing}
        <p>${why?.text ?? "Nothing is sent before you press Start."}</p>
        ${
          why?.at === "page"
            ? nothing
            : html`<button class="main" @click=${() => void studio.ask()}>
                ${why ? "Try again" : "Turn on camera and microphone"}
              </button>`
        }
      </div>`;
    }
    if (!studio.video) return html`<div class="over"><strong>Sound only</strong></div>`;
    const signs = [
      studio.covered ? "Viewers see black" : "",
      studio.chosen.source === "screen" ? "Your screen" : "",
      studio.muted ? "Microphone is off" : "",
    ].filter(Boolean);
    return signs.length ? html`<div class="sign">${signs.join(" · ")}</div>` : nothing;
  }

  private strip(): TemplateResult {
    const { studio } = this;
    const screen = studio.chosen.source === "screen";
    return html`<div class="strip">
      <button
        class="press"
        aria-pressed=${studio.muted}
        title="Microphone on, off (m)"
        ?disabled=${!studio.audio}
        @click=${() => studio.mute()}
      >
        ${studio.muted ? microphoneOffIcon : microphoneIcon}${studio.muted ? "Unmute" : "Mute"}
      </button>
      <button
        class="press"
        aria-pressed=${studio.covered}
        ?disabled=${!studio.video}
        @click=${() => studio.cover()}
      >
        ${studio.covered ? cameraOffIcon : cameraIcon}${studio.covered ? "Show picture" : "Hide picture"}
      </button>
      ${
        canShareScreen()
          ? html`<button
              class="press"
              @click=${() => void (screen ? studio.leaveScreen() : studio.shareScreen())}
            >
              ${screenIcon}${screen ? "Back to camera" : "Share screen"}
            </button>`
          : nothing
      }
      <div class="level" role="img" aria-label="Level of the microphone"><i></i></div>
    </div>`;
  }

  private alarm(): TemplateResult | typeof nothing {
    const trouble = this.trouble();
    if (!trouble) return nothing;
    return html`<div class="banner" role="alert">
      <strong>${trouble.title}</strong>
      <p>${trouble.text}</p>
    </div>`;
  }

  /** What keeps the stage empty is told on it. */
  private deviceTrouble(): Trouble | null {
    const { trouble, preview } = this.studio;
    const here = trouble?.at === "device" || trouble?.at === "page";
    return here && preview === "unasked" ? trouble : null;
  }

  private trouble(): Trouble | null {
    if (this.deviceTrouble()) return null;
    if (this.studio.trouble) return this.studio.trouble;
    if (this.studio.state !== "off") return null;
    if (this.nowhere()) return serverTrouble(404, this.name, false);
    return this.channel?.state === "on_air" ? serverTrouble(409, this.name, false) : null;
  }

  /** Whether who is signed in goes on air here without a key. */
  private owns(): boolean {
    return this.channel?.mine === true || this.session.current?.administrator === true;
  }

  /** Beside the preview, off air. */
  private beforeAir(): TemplateResult {
    const wrong = this.studio.trouble?.at === "key";
    return html`<form @submit=${this.start}>
      ${
        this.owns()
          ? html`<p>Signed in as ${this.session.current?.account?.display_name}: no key is needed.</p>`
          : this.keyKnown && !wrong
            ? html`<p>
              The channel's key is remembered in this tab.
              <button type="button" class="link" @click=${this.otherKey}>Use another key</button>
            </p>`
            : html`<label
              >Key of the channel
              <input
                name="key"
                type="password"
                autocomplete="off"
                aria-invalid=${wrong}
                .value=${this.key}
                @input=${(event: InputEvent) => {
                  this.key = (event.target as HTMLInputElement).value;
                }}
              />
            </label>
            ${this.session.current?.account ? nothing : this.signIn()}`
      }
      <button class="main" ?disabled=${this.cannotStart()}>
        Start
      </button>
      ${
        this.nowhere()
          ? html`<p><a href="/live">Choose another channel</a></p>`
          : html`<p>Viewers see and hear you from then on.</p>`
      }
    </form>`;
  }

  private signIn(): TemplateResult {
    return html`<p><a href=${signInPath(location.pathname)}>Sign in</a> if the channel is yours.</p>`;
  }

  /** Beside the preview, on air. */
  private onAir(): TemplateResult {
    const { studio } = this;
    const { state: air, figures: f, liveSeconds } = studio;
    // Browsers begin low and climb: that is no limit yet.
    const settled = (liveSeconds ?? 0) > CLIMB_S;
    const limited = settled && air === "live" && f?.limit;
    const limit = limited ? `Reduced: the ${f.limit} is the limit.` : STATES[air].text;
    const live = air === "live" && f;
    const rows: [string, string][] = [
      ["Viewers", this.channel ? this.channel.readers.toLocaleString("en") : "–"],
      ["Sending", live ? bitrate(f.bitrate) : "–"],
      ["Picture", live && f.width ? `${f.width} × ${f.height}` : "–"],
      ["Frame rate", live && f.width ? `${Math.round(f.fps)} fps` : "–"],
      ["Round trip", live ? milliseconds(f.roundTripMs) : "–"],
      ["Lost", live ? percent(f.loss) : "–"],
      ["Codecs", live ? [f.codec, f.audioCodec].filter(Boolean).join(", ") || "–" : "–"],
      ["Reconnected", String(studio.reconnects)],
    ];
    return html`<p class="clock" role="timer" aria-label="On air for">
        ${liveSeconds === null ? "––:––" : clock(liveSeconds)}
      </p>
      <p class="state" role="status">${limit}</p>
      <dl>
        ${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
      </dl>
      <button class="main stop" @click=${() => studio.stop()}>
        ${air === "starting" ? "Cancel" : "Stop"}
      </button>`;
  }

  private cannotStart(): boolean {
    const { preview, trouble } = this.studio;
    return preview === "asking" || trouble?.at === "page" || this.nowhere();
  }

  /** Nothing is known of the channel; a private one takes who has its key all the same. */
  private nowhere(): boolean {
    return this.unknown && this.key === "";
  }

  private watchUrl(): string {
    return this.channel?.urls.page ?? `${location.origin}/watch/${this.name}`;
  }

  private readonly start = (event: SubmitEvent): void => {
    event.preventDefault();
    this.key = this.key.trim();
    void this.studio.start(this.owns() ? "" : this.key);
  };

  private readonly otherKey = async (): Promise<void> => {
    forgetKey(this.name);
    this.key = "";
    this.keyKnown = false;
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLInputElement>("input[name=key]")?.focus();
  };

  private studioChanged(): void {
    this.requestUpdate();
    const air = this.studio.state;
    if (air === this.lastAir) return;
    if (air === "live") {
      // Good keys only are worth remembering.
      if (!this.owns()) rememberKey(this.name, this.key);
      this.keyKnown = this.key !== "";
      void this.poll.now();
    }
    if ((air === "off") !== (this.lastAir === "off")) void this.keepAwake(air !== "off");
    this.lastAir = air;
    void this.pointAt(air);
  }

  /** The keyboard follows: from Start to Stop, and back to Start or to what was wrong. */
  private async pointAt(air: AirState): Promise<void> {
    if (air !== "off" && air !== "starting") return;
    await this.updateComplete;
    const wrong = this.studio.trouble?.at === "key";
    this.renderRoot.querySelector<HTMLElement>(wrong ? "input[name=key]" : ".card .main")?.focus();
  }

  /** A phone that goes dark would go off air. */
  private async keepAwake(wanted: boolean): Promise<void> {
    await this.wakeLock?.release().catch(() => undefined);
    this.wakeLock = null;
    if (!wanted) return;
    // Missing in some browsers, refused when the battery is low.
    this.wakeLock = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  }

  private readonly pressed = (event: KeyboardEvent): void => {
    if (event.key.toLowerCase() !== "m" || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.composedPath()[0];
    // Letters choose in lists, and are written in fields.
    if (target instanceof HTMLElement && target.matches("input, select, textarea")) return;
    event.preventDefault();
    this.studio.mute();
  };

  private readonly touched = (): void => this.studio.wake();
  private readonly online = (): void => this.studio.retryNow();
  private readonly left = (): void => this.studio.stop();
  private readonly leaving = (event: BeforeUnloadEvent): void => {
    if (this.studio.state !== "off") event.preventDefault();
  };
}

/** The last part of `/live/NAME`, empty where there is none or it can be no name. */
function channelName(path: string): string {
  const name = /^\/live\/([^/]+)\/?$/.exec(path)?.[1] ?? "";
  return CHANNEL_NAME.test(name) ? name : "";
}
