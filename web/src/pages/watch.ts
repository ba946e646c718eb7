import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { ApiError, type Channel, getChannel } from "../api/client";
import { Poll } from "../api/poll";
import "../chat/helio-chat";
import "../player/helio-player";
import type { PlayerStats } from "../player/stats";
import "../ui/copy-line";
import { bitrate, duration, milliseconds, secondsSince } from "../ui/format";
import { brand, shared, stateChip } from "../ui/shared";

/** The page `/watch/NAME`. */
@customElement("helio-watch")
export class WatchPage extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: block;
        padding-bottom: 3rem;
      }
      helio-player {
        border-radius: var(--radius);
        box-shadow: var(--shadow);
        overflow: hidden;
        /* The picture and what belongs to it fit one screen. */
        --helio-max-height: max(12rem, calc(100dvh - 11rem));
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
      }
      helio-player:fullscreen {
        border-radius: 0;
      }
      .head {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.4rem 0.9rem;
        margin: 1.1rem 0 0.9rem;
      }
      h1 {
        margin: 0;
        font-size: clamp(1.35rem, 4vw, 1.8rem);
        font-weight: 660;
        letter-spacing: -0.02em;
        line-height: 1.2;
        overflow-wrap: anywhere;
      }
      dl {
        display: flex;
        flex-wrap: wrap;
        gap: 0.9rem 2.4rem;
        margin: 0 0 1.6rem;
      }
      dt {
        font-size: 0.82rem;
        color: var(--ink-soft);
      }
      dd {
        margin: 0;
        font-size: 1.12rem;
        font-weight: 600;
        line-height: 1.3;
        font-variant-numeric: tabular-nums;
      }
      .more {
        display: grid;
        grid-template-columns: minmax(0, 1fr) auto;
        gap: 1.2rem 2.5rem;
        align-items: start;
        padding-top: 1.3rem;
        border-top: 1px solid var(--line);
      }
      h2 {
        margin: 0 0 0.5rem;
        font-size: 0.95rem;
        font-weight: 620;
      }
      .keys {
        display: grid;
        grid-template-columns: repeat(2, auto);
        gap: 0.25rem 1.2rem;
        margin: 0;
        padding: 0;
        list-style: none;
        font-size: 0.87rem;
        color: var(--ink-soft);
      }
      kbd {
        display: inline-block;
        min-width: 1.6rem;
        margin-right: 0.3rem;
        padding: 0.05rem 0.35rem;
        border: 1px solid var(--line);
        border-bottom-width: 2px;
        border-radius: 5px;
        background: var(--surface);
        color: var(--ink);
        font: 0.78rem var(--mono);
        text-align: center;
      }
      @media (max-width: 46rem) {
        .masthead + main {
          width: 100%;
        }
        .masthead + main > :not(.theatre),
        .beside {
          margin-inline: 1rem;
        }
        helio-player {
          border-radius: 0;
        }
        dl {
          display: grid;
          grid-template-columns: repeat(3, 1fr);
          gap: 0.8rem;
        }
        dd {
          font-size: 1.02rem;
          white-space: nowrap;
        }
        .more {
          grid-template-columns: minmax(0, 1fr);
        }
      }
      @media (hover: none) {
        .keyboard {
          display: none;
        }
      }
    `,
  ];

  @state() private channel: Channel | null = null;
  @state() private figures: PlayerStats | null = null;
  @state() private gone = false;
  @state() private unreachable = false;
  private readonly name = channelName(location.pathname);
  /** With the key in the page's address, if there is one. */
  private readonly source = withKey(this.name, location.search);
  private readonly poll = new Poll(
    () => getChannel(this.name),
    (channel, error) => {
      this.gone = error instanceof ApiError && error.status === 404;
      this.unreachable = error !== null && !(error instanceof ApiError);
      if (channel) {
        this.channel = channel;
        document.title = `${channel.title || channel.name} · Heliograph`;
      }
    },
  );

  override connectedCallback(): void {
    super.connectedCallback();
    document.title = `${this.name} · Heliograph`;
    this.poll.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.poll.stop();
  }

  override render(): TemplateResult {
    const channel = this.channel;
    return html`
      <header class="frame masthead">${brand()}</header>
      <main class="frame">
        <div class="theatre">
          <helio-player
          src=${this.source}
          way=${new URLSearchParams(location.search).get("way") ?? ""}
          autoplay
          controls
          @helio-stats=${(event: CustomEvent<PlayerStats>) => {
            this.figures = event.detail;
          }}
        ></helio-player>
          <div class="beside">
            <helio-chat
              channel=${this.name}
              query=${chatQuery(location.search)}
              signin=${`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`}
            ></helio-chat>
          </div>
        </div>
        <div class="head">
          <h1>${channel?.title || this.name}</h1>
          ${this.chip()}
        </div>
        ${channel && !this.gone && !this.unreachable ? this.facts(channel) : nothing}
        <div class="more">
          ${
            channel && !this.gone
              ? html`<section>
                  <h2>Open in mpv or VLC</h2>
                  <copy-line text=${channel.urls.rtsp} label="the RTSP address"></copy-line>
                </section>`
              : html`<section><a href="/">See what is on air</a></section>`
          }
          <section class="keyboard">
            <h2>Keys</h2>
            <ul class="keys">
              <li><kbd>space</kbd><kbd>k</kbd>pause, play</li>
              <li><kbd>m</kbd>sound on, off</li>
              <li><kbd>f</kbd>full screen</li>
              <li><kbd>i</kbd>statistics</li>
              <li><kbd>p</kbd>picture in picture</li>
              <li><kbd>↑</kbd><kbd>↓</kbd>volume</li>
            </ul>
          </section>
        </div>
      </main>
    `;
  }

  private chip(): TemplateResult | typeof nothing {
    if (this.unreachable) return html`<span class="chip waiting">No answer from the server</span>`;
    return this.channel && !this.gone ? stateChip(this.channel.state) : nothing;
  }

  private facts(channel: Channel): TemplateResult {
    const f = this.figures;
    const playing = f?.state === "playing";
    const seconds = secondsSince(channel.since, Date.now());
    const onAir = channel.state === "on_air";
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

/** What shows the chat that one may see the channel. */
function chatQuery(query: string): string {
  const shown = new URLSearchParams(query);
  for (const name of [...shown.keys()]) if (name !== "key" && name !== "token") shown.delete(name);
  return shown.size ? `?${shown}` : "";
}

function withKey(name: string, query: string): string {
  const key = new URLSearchParams(query).get("key");
  return key ? `/watch/${name}?key=${encodeURIComponent(key)}` : name;
}

function channelName(path: string): string {
  const last = path.split("/").filter(Boolean).at(-1) ?? "";
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}
