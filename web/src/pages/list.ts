import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { type Channel, listChannels } from "../api/client";
import { Poll } from "../api/poll";
import { broadcasts, signInPath, WithSession } from "../api/session";
import { listTitles, type Title } from "../api/titles";
import { pictureStyles } from "../ui/cards";
import "../ui/copy-line";
import { bitrate, clock, count, day, duration, secondsSince } from "../ui/format";
import { forms } from "../ui/forms";
import { pageHeading } from "../ui/headings";
import { lockIcon } from "../ui/icons";
import { ridge, shared, stateChip } from "../ui/shared";
import "../ui/site-header";

/** Pictures are made anew about this often. */
const PICTURE_MS = 10_000;
/** Titles come and go less often than channels. */
const TITLES_MS = 20_000;
/** With so many cards one looks for a name instead of reading them all. */
const FILTER_FROM = 9;
const ORDER: Readonly<Record<string, number>> = { on_air: 0, waiting: 1, idle: 2 };

/** The page `/`: what is on air. */
@customElement("helio-list")
export class ChannelList extends LitElement {
  static override styles = [
    shared,
    forms,
    pageHeading,
    pictureStyles,
    css`
      :host {
        display: block;
        padding-bottom: 4rem;
      }
      h1 {
        margin: 1.2rem 0 1rem;
      }
      .bar {
        display: flex;
        flex-wrap: wrap;
        align-items: end;
        justify-content: space-between;
        gap: 0 1.5rem;
        margin-bottom: 1.1rem;
      }
      .bar h1 {
        margin-bottom: 0;
      }
      .sum {
        margin: 0.2rem 0 0;
        color: var(--ink-soft);
      }
      .bar input[type="search"] {
        width: min(100%, 18rem);
        margin-top: 0.8rem;
        background: var(--surface);
      }
      ul {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
        gap: 1.25rem;
        margin: 0;
        padding: 0;
        list-style: none;
      }
      .channel {
        display: flex;
        flex-direction: column;
        height: 100%;
        border-radius: var(--radius);
        background: var(--surface);
        box-shadow: var(--shadow);
        overflow: hidden;
        text-decoration: none;
        transition: transform 160ms ease;
      }
      .channel:hover {
        transform: translateY(-3px);
      }
      .channel:focus-visible {
        border-radius: var(--radius);
      }
      .picture {
        aspect-ratio: 16 / 9;
      }
      .chips {
        position: absolute;
        inset: 0.75rem 0.75rem auto;
        display: flex;
        flex-wrap: wrap;
        gap: 0.4rem;
      }
      .owner {
        margin: 0.1rem 0 0;
        font-size: 0.92rem;
        overflow-wrap: anywhere;
      }
      .films > h2 {
        margin: 2.6rem 0 1rem;
        font-size: 1.35rem;
        font-weight: 660;
        letter-spacing: -0.02em;
      }
      .length {
        position: absolute;
        right: 0.75rem;
        bottom: 0.75rem;
        padding: 0.1rem 0.5rem;
        border-radius: 6px;
        background: rgb(5 9 12 / 82%);
        color: #fff;
        font-size: 0.82rem;
        font-variant-numeric: tabular-nums;
      }
      .waiting img {
        filter: grayscale(1) brightness(0.8);
      }
      .text {
        padding: 0.85rem 1rem 1rem;
      }
      h2 {
        margin: 0;
        font-size: 1.08rem;
        font-weight: 620;
        line-height: 1.3;
        overflow-wrap: anywhere;
      }
      .facts {
        display: flex;
        flex-wrap: wrap;
        margin: 0.25rem 0 0;
        color: var(--ink-soft);
        font-size: 0.88rem;
        font-variant-numeric: tabular-nums;
      }
      .facts span + span::before {
        content: "·";
        margin-inline: 0.45em;
      }
      .empty {
        display: grid;
        grid-template-columns: minmax(0, 5fr) minmax(0, 6fr);
        margin-top: 1.5rem;
        border-radius: 18px;
        background: var(--surface);
        box-shadow: var(--shadow);
        overflow: hidden;
      }
      .empty .view {
        position: relative;
        min-height: 15rem;
        background: var(--sunk);
      }
      .empty .ridge {
        position: absolute;
        inset: 0;
        width: 100%;
        height: 100%;
      }
      .beam {
        animation: travel 6s linear infinite;
      }
      @keyframes travel {
        from { stroke-dashoffset: 284; }
        to { stroke-dashoffset: -284; }
      }
      .how {
        padding: clamp(1.25rem, 4vw, 2.5rem);
      }
      .how h1 {
        margin: 0 0 0.5rem;
      }
      .how h2 {
        margin: 1.4rem 0 0.45rem;
        font-size: 0.98rem;
      }
      .how p {
        margin: 0;
        color: var(--ink-soft);
      }
      .how p code {
        font: 0.9em var(--mono);
        color: var(--ink);
      }
      .how .note {
        margin-top: 0.6rem;
        font-size: 0.9rem;
      }
      .how .row {
        margin-top: 1.2rem;
      }
      .set-up {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        justify-content: space-between;
        gap: 0.8rem 1.5rem;
        margin: 0.6rem 0 1.4rem;
      }
      .set-up p {
        flex: 1 1 20rem;
        margin: 0;
      }
      @media (max-width: 46rem) {
        .empty {
          grid-template-columns: minmax(0, 1fr);
        }
        .empty .view {
          min-height: 9rem;
        }
      }
    `,
  ];

  private readonly session = new WithSession(this);
  @state() private channels: readonly Channel[] | null = null;
  @state() private unreachable = false;
  @state() private filter = "";
  /** Names whose picture failed to load this round. */
  @state() private broken: ReadonlySet<string> = new Set();
  /** Counts rounds of pictures. */
  @state() private round = 0;
  private rounds = 0;
  private readonly poll = new Poll(listChannels, (channels) => {
    this.unreachable = channels === null;
    if (channels) this.channels = channels;
  });

  @state() private titles: readonly Title[] = [];
  private readonly titlesPoll = new Poll(
    listTitles,
    (titles) => {
      if (titles) this.titles = titles;
    },
    TITLES_MS,
  );

  override connectedCallback(): void {
    super.connectedCallback();
    this.poll.start();
    this.titlesPoll.start();
    this.rounds = window.setInterval(() => {
      if (document.hidden) return;
      this.broken = new Set();
      this.round++;
    }, PICTURE_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.poll.stop();
    this.titlesPoll.stop();
    clearInterval(this.rounds);
  }

  override render(): TemplateResult {
    return html`
      <site-header></site-header>
      <main class="frame">${this.banner()}${this.setUp()}${this.content()}</main>
    `;
  }

  /** While there is no account. */
  private setUp(): TemplateResult | typeof nothing {
    if (!this.session.current?.setup) return nothing;
    return html`<section class="card set-up">
      <p>
        <strong>This server has no accounts yet.</strong> Make the administrator's, and people can have
        channels of their own.
      </p>
      <a class="press main" href="/setup">Set up</a>
    </section>`;
  }

  private banner(): TemplateResult | typeof nothing {
    if (!this.unreachable) return nothing;
    return html`<div class="banner" role="alert">
      <div>
        <strong>The server does not answer.</strong>
        ${this.channels ? "What you see is the last it said." : ""} This page keeps trying and goes on
        by itself.
      </div>
    </div>`;
  }

  private content(): TemplateResult {
    if (!this.channels) {
      return this.unreachable
        ? html`<h1>No signal from the server</h1>`
        : html`<p role="status" class="sum">Looking for channels…</p>`;
    }
    const nothingHere = this.channels.length === 0 && this.titles.length === 0;
    return nothingHere ? this.empty() : this.cards(this.channels);
  }

  private cards(channels: readonly Channel[]): TemplateResult {
    const wanted = this.filter.trim().toLowerCase();
    const found = channels
      .filter((c) => !wanted || `${c.title} ${c.name}`.toLowerCase().includes(wanted))
      .toSorted((a, b) => (ORDER[a.state] ?? 9) - (ORDER[b.state] ?? 9));
    const onAir = channels.filter((c) => c.state === "on_air").length;
    const viewers = channels.reduce((sum, c) => sum + c.readers, 0);
    return html`
      <div class="bar">
        <div>
          <h1>${onAir ? "On air" : "Nothing on air right now"}</h1>
          <p class="sum">
            ${count(onAir, "channel", "channels")} on air, ${count(viewers, "viewer", "viewers")}
          </p>
        </div>
        ${
          channels.length + this.titles.length >= FILTER_FROM
            ? html`<input
                type="search"
                placeholder="Find a channel or title"
                aria-label="Find a channel or title"
                .value=${this.filter}
                @input=${(e: InputEvent) => {
                  this.filter = (e.target as HTMLInputElement).value;
                }}
              />`
            : nothing
        }
      </div>
      ${
        found.length === 0
          ? wanted
            ? html`<p role="status">No channel is called “${this.filter}”.</p>`
            : nothing
          : html`<ul>
              ${repeat(
                found,
                (c) => c.name,
                (c) => html`<li>${this.card(c)}</li>`,
              )}
            </ul>`
      }
      ${this.onDemand(wanted)}
    `;
  }

  private onDemand(wanted: string): TemplateResult | typeof nothing {
    const found = this.titles.filter(
      (one) => !wanted || `${one.title} ${one.name}`.toLowerCase().includes(wanted),
    );
    if (found.length === 0) return nothing;
    return html`<section class="films" aria-labelledby="films">
      <h2 id="films">On demand</h2>
      <ul>
        ${repeat(
          found,
          (one) => one.name,
          (one) => html`<li>${this.film(one)}</li>`,
        )}
      </ul>
    </section>`;
  }

  private film(title: Title): TemplateResult {
    const pictures = title.tracks.some((track) => track.kind === "video");
    const facts = [
      day(title.created),
      pictures ? "" : "Sound only",
      title.readers ? count(title.readers, "viewer", "viewers") : "",
    ];
    return html`<a class="channel" href=${title.urls.page}>
      <div class="picture">
        ${ridge(title.live)}${this.picture(`title ${title.name}`, title.picture)}
        <div class="chips">
          ${title.live ? html`<span class="chip on_air">Being recorded</span>` : nothing}
        </div>
        <span class="length">${clock(title.duration)}</span>
      </div>
      <div class="text">
        <h2>${title.title || title.name}</h2>
        <p class="facts">${facts.filter(Boolean).map((fact) => html`<span>${fact}</span>`)}</p>
      </div>
    </a>`;
  }

  private card(channel: Channel): TemplateResult {
    const now = Date.now();
    const onAir = secondsSince(channel.on_air_since, now);
    const gone = secondsSince(channel.since, now);
    const facts =
      channel.state === "on_air"
        ? [
            count(channel.readers, "viewer", "viewers"),
            onAir === null ? "" : `for ${duration(onAir)}`,
            channel.bitrate ? bitrate(channel.bitrate) : "",
          ]
        : channel.state === "waiting"
          ? [
              channel.readers ? count(channel.readers, "viewer waits", "viewers wait") : "",
              gone === null ? "" : `source gone ${duration(gone)} ago`,
            ]
          : ["Never on air so far"];
    return html`<a class="channel ${channel.state}" href="/watch/${channel.name}">
      <div class="picture">
        ${ridge(channel.state === "on_air")}${this.picture(channel.name, channel.picture && `${channel.picture}?${this.round}`)}
        <div class="chips">${stateChip(channel.state)}${accessChip(channel)}</div>
      </div>
      <div class="text">
        <h2>${channel.title || channel.name}</h2>
        ${channel.owner ? html`<p class="owner">${channel.mine ? "You" : channel.owner}</p>` : nothing}
        <p class="facts">${facts.filter(Boolean).map((fact) => html`<span>${fact}</span>`)}</p>
      </div>
    </a>`;
  }

  private picture(id: string, address: string | null): TemplateResult | typeof nothing {
    if (!address || this.broken.has(id)) return nothing;
    return html`<img
      src=${address}
      alt=""
      @error=${() => {
        this.broken = new Set([...this.broken, id]);
      }}
    />`;
  }

  private empty(): TemplateResult {
    return html`<section class="empty">
      <div class="view">${ridge(true)}</div>
      <div class="how">
        <h1>Nobody is on air yet</h1>
        ${broadcasts(this.session.current) ? this.howAsOwner() : this.howWithKey()}
      </div>
    </section>`;
  }

  private howAsOwner(): TemplateResult {
    return html`<p>
        Make a channel and press one button: your camera, a microphone or the screen are on air from this
        browser.
      </p>
      <div class="row">
        <a class="press main" href="/live">Go on air</a>
        <a class="press" href="/mine">My channels</a>
      </div>
      <h2>With OBS, ffmpeg or another encoder</h2>
      <p>Make a stream key under <a href="/mine">My channels</a>; it comes with lines to copy.</p>
      <h2>On the server itself</h2>
      <copy-line text="helio publish FILE NAME" label="the helio command"></copy-line>`;
  }

  private howWithKey(): TemplateResult {
    const host = location.hostname || "localhost";
    const { current } = this.session;
    return html`<p>
        ${
          current && !current.account && !current.setup
            ? html`<a href=${signInPath("/live")}>Sign in</a> to go on air from this browser. `
            : nothing
        }
        Whoever knows a channel and its key <a href="/live">goes on air without an account</a>, or sends a
        film, a camera or a test pattern: it appears on this page by itself.
      </p>
      <h2>On the server, without a key</h2>
      <copy-line text="helio publish FILE NAME" label="the helio command"></copy-line>
      <h2>From anywhere, with ffmpeg</h2>
      <copy-line
        text=${`ffmpeg -re -i FILE -c copy -f rtsp rtsp://any:KEY@${host}:8554/NAME`}
        label="the ffmpeg command"
      ></copy-line>
      <p class="note">
        Put your video in place of <code>FILE</code>, the channel's name for <code>NAME</code> and its
        stream key for <code>KEY</code>.
      </p>`;
  }
}

/** What keeps people out, where anything does. */
function accessChip(channel: Channel): TemplateResult | typeof nothing {
  const words = channel.private
    ? "Private"
    : { everyone: "", accounts: "For members", invited: "By invitation" }[channel.view_access];
  return words ? html`<span class="chip private">${lockIcon}${words}</span>` : nothing;
}
