import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { ApiError, type Channel, getChannel } from "../api/client";
import { Poll } from "../api/poll";
import { signInPath, WithSession } from "../api/session";
import { getTitle, listRecordings, type Title } from "../api/titles";
import { permitOf } from "../player/address";
import "../player/helio-player";
import type { PlayerState, PlayerStats } from "../player/stats";
import "../ui/copy-line";
import { bitrate, duration, milliseconds, secondsSince } from "../ui/format";
import { lockIcon } from "../ui/icons";
import { shared, stateChip } from "../ui/shared";
import "../ui/site-header";
import { watchedStyles } from "../ui/watched";

/** Whether a channel is being recorded is asked so often. */
const RECORDINGS_MS = 30_000;

/** The chat is loaded once there is a picture, or is to be none for now; at the latest after so long. */
const PICTURE_FIRST_MS = 1_000;
const BEGINNING: readonly PlayerState[] = ["idle", "connecting", "buffering"];

/** What is found under the page's name. */
type Found = { readonly channel: Channel } | { readonly film: Title };

/** The page `/watch/NAME`: a channel, or a title on demand. */
@customElement("helio-watch")
export class WatchPage extends LitElement {
  static override styles = [
    shared,
    watchedStyles,
    css`
      :host {
        display: block;
        padding-bottom: 3rem;
      }
      /* The chat is as high as the picture beside it. */
      .theatre {
        display: grid;
        grid-template-columns: minmax(0, 1fr) 21rem;
        gap: 1rem;
      }
      .beside {
        position: relative;
        min-height: 20rem;
      }
      .beside helio-chat {
        position: absolute;
        inset: 0;
      }
      @media (max-width: 60rem) {
        .theatre {
          grid-template-columns: minmax(0, 1fr);
        }
        .beside {
          min-height: 0;
        }
        .beside helio-chat {
          position: static;
          --helio-chat-height: clamp(18rem, 55dvh, 32rem);
        }
        .beside helio-chat:not(:defined) {
          display: block;
          height: var(--helio-chat-height);
        }
      }
      .stage {
        aspect-ratio: 16 / 9;
        border-radius: var(--radius);
        background: #05090c;
        max-height: max(12rem, calc(100dvh - 11rem));
      }
      .shift {
        font-size: 0.92rem;
        font-weight: 600;
      }
      .owner {
        flex-basis: 100%;
        margin: 0;
        color: var(--ink-soft);
      }
      .more {
        display: grid;
        grid-template-columns: minmax(0, 1fr) auto;
        gap: 1.2rem 2.5rem;
        align-items: start;
        padding-top: 1.3rem;
        border-top: 1px solid var(--line);
      }
      .keys {
        display: grid;
        grid-template-columns: repeat(2, auto);
        gap: 0.25rem 1.2rem;
      }
      @media (max-width: 46rem) {
        main.frame {
          width: 100%;
        }
        main > :not(.theatre, title-view),
        .beside {
          margin-inline: 1rem;
        }
        dl {
          grid-template-columns: repeat(3, 1fr);
        }
        dd {
          font-size: 1.02rem;
          white-space: nowrap;
        }
        .more {
          grid-template-columns: minmax(0, 1fr);
        }
      }
    `,
  ];

  @state() private channel: Channel | null = null;
  @state() private film: Title | null = null;
  /** The title that the channel is being recorded into. */
  @state() private recording: Title | null = null;
  /** Nothing is known of the name yet. */
  private fresh = true;
  @state() private figures: PlayerStats | null = null;
  @state() private gone = false;
  @state() private unreachable = false;
  private readonly session = new WithSession(this);
  private readonly name = channelName(location.pathname);
  /** The key or token in the page's address, if there is one. */
  private readonly permit = permitOf(location.search);
  /** A link for one use opens the page by the first answer, and only then what plays on it. */
  @state() private asked = !this.permit.includes("token=");
  private readonly poll = new Poll<Found>(
    () => this.find(),
    (found, error) => {
      this.asked = true;
      const status = error instanceof ApiError ? error.status : 0;
      this.gone = status === 404 || status === 401 || status === 403;
      this.unreachable = error !== null && status === 0;
      if (!found) return;
      this.fresh = false;
      if ("film" in found) this.film = found.film;
      else this.channel = found.channel;
      const { title, name } = "film" in found ? found.film : found.channel;
      document.title = `${title || name} · Heliograph`;
    },
  );
  private chatTimer = 0;
  private readonly recordings = new Poll(
    () => (this.channel ? listRecordings(this.name) : Promise.resolve([])),
    (found) => {
      this.recording = found?.find((one) => one.live && one.name !== this.name) ?? null;
    },
    RECORDINGS_MS,
  );

  override connectedCallback(): void {
    super.connectedCallback();
    document.title = `${this.name} · Heliograph`;
    this.poll.start();
    this.recordings.start();
    this.chatTimer = window.setTimeout(() => this.chat(), PICTURE_FIRST_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.poll.stop();
    this.recordings.stop();
    clearTimeout(this.chatTimer);
  }

  /** Load the chat, where there is a channel. */
  private chat(): void {
    clearTimeout(this.chatTimer);
    if (!this.film) void import("../chat/helio-chat");
  }

  /** The channel of the name, or the title where there is none on air. */
  private async find(): Promise<Found> {
    const title = async (): Promise<Found> => {
      const [film] = await Promise.all([
        getTitle(this.name, this.permit),
        import("../film/title-view"),
      ]);
      return { film };
    };
    if (this.film) return this.film.live ? title() : { film: this.film };
    let channel: Channel;
    try {
      channel = await getChannel(this.name, this.permit);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 0) throw error;
      return title().catch(() => Promise.reject(error));
    }
    // Who waits for a channel is not sent to a film.
    const silent = this.fresh && channel.state !== "on_air";
    return silent ? title().catch(() => ({ channel })) : { channel };
  }

  override render(): TemplateResult {
    const channel = this.channel;
    if (this.film) {
      return html`<site-header></site-header>
        <main class="frame"><title-view .film=${this.film} permit=${this.permit}></title-view></main>`;
    }
    return html`
      <site-header></site-header>
      <main class="frame">
        <div class="theatre">
          ${this.asked ? this.player() : html`<div class="stage"></div>`}
          <div class="beside">
            <helio-chat
              channel=${this.asked ? this.name : ""}
              query=${this.permit}
              signin=${signInPath(location.pathname + location.search)}
            ></helio-chat>
          </div>
        </div>
        <div class="head">
          <h1>${channel?.title || this.name}</h1>
          ${this.chip()}
          ${channel?.private ? html`<span class="chip private">${lockIcon}Private</span>` : nothing}
          ${
            this.recording && !this.gone
              ? html`<a class="shift" href=${this.recording.urls.page + this.permit}>
                  Watch from the beginning
                </a>`
              : nothing
          }
          ${channel?.owner ? html`<p class="owner">${channel.owner}</p>` : nothing}
        </div>
        ${channel && !this.gone && !this.unreachable ? this.facts(channel) : nothing}
        <div class="more">
          ${
            channel?.urls.rtsp && !this.gone
              ? html`<section>
                  <h2>Open in mpv or VLC</h2>
                  <copy-line
                    text=${channel.urls.rtsp + this.permit}
                    label="the RTSP address"
                  ></copy-line>
                </section>`
              : html`<section>${this.elsewhere()}</section>`
          }
          <section class="keyboard">
            <h2>Keys</h2>
            <ul class="keys">
              <li><kbd>space</kbd><kbd>k</kbd>pause, play</li>
              <li><kbd>m</kbd>sound on, off</li>
              <li><kbd>f</kbd>full screen</li>
              <li><kbd>s</kbd>statistics</li>
              <li><kbd>p</kbd>picture in picture</li>
              <li><kbd>↑</kbd><kbd>↓</kbd>volume</li>
            </ul>
          </section>
        </div>
      </main>
    `;
  }

  private player(): TemplateResult {
    return html`<helio-player
        src=${`/watch/${this.name}${this.permit}`}
        way=${new URLSearchParams(location.search).get("way") ?? ""}
        autoplay
        controls
        hotkeys
        @helio-state=${({ detail }: CustomEvent<{ state: PlayerState }>) => {
          if (!BEGINNING.includes(detail.state)) this.chat();
        }}
        @helio-stats=${(event: CustomEvent<PlayerStats>) => {
          this.figures = event.detail;
        }}
      ></helio-player>`;
  }

  private chip(): TemplateResult | typeof nothing {
    if (this.unreachable) return html`<span class="chip waiting">No answer from the server</span>`;
    return this.channel && !this.gone ? stateChip(this.channel.state) : nothing;
  }

  /** Where there is nothing to see for this person. */
  private elsewhere(): TemplateResult {
    const stranger = this.gone && this.session.current && !this.session.current.account;
    const here = location.pathname + location.search;
    return html`<a href="/">See what is on air</a>${
      stranger ? html` or <a href=${signInPath(here)}>sign in</a>` : nothing
    }`;
  }

  private facts(channel: Channel): TemplateResult {
    const f = this.figures;
    const playing = f?.state === "playing";
    const onAir = channel.state === "on_air";
    const since = onAir ? channel.on_air_since : channel.since;
    const seconds = secondsSince(since, Date.now());
    const rows: [string, string][] = [
      ["Viewers", channel.readers.toLocaleString("en")],
      ["Bitrate", onAir ? bitrate(channel.bitrate) : "–"],
      ["Delay", playing ? milliseconds(f.delayMs) : "–"],
      ["Picture", playing && f.width ? `${f.width} × ${f.height}` : "–"],
      ["Frame rate", playing && f.width ? `${Math.round(f.fps)} fps` : "–"],
      ["Way", playing ? f.way : "–"],
      [onAir ? "On air for" : "Gone for", seconds === null ? "–" : duration(seconds)],
    ];
    return html`<dl>
      ${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>`;
  }
}

function channelName(path: string): string {
  const last = path.split("/").filter(Boolean).at(-1) ?? "";
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
