import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { type Channel, listChannels } from "../api/client";
import { Poll } from "../api/poll";
import "../ui/copy-line";
import { bitrate, count, duration, secondsSince } from "../ui/format";
import { brand, ridge, shared, stateChip } from "../ui/shared";

/** Pictures are made anew about this often. */
const PICTURE_MS = 10_000;
/** With so many cards one looks for a name instead of reading them all. */
const FILTER_FROM = 9;
const ORDER: Readonly<Record<string, number>> = { on_air: 0, waiting: 1, idle: 2 };

/** The page `/`: what is on air. */
@customElement("helio-list")
export class ChannelList extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: block;
        padding-bottom: 4rem;
      }
      .go {
        margin-left: auto;
        padding: 0.5rem 1.05rem;
        border-radius: 10px;
        background: var(--sun);
        color: var(--on-sun);
        font-weight: 620;
        text-decoration: none;
      }
      h1 {
        margin: 1.2rem 0 1rem;
        font-size: clamp(1.7rem, 4.5vw, 2.4rem);
        font-weight: 680;
        letter-spacing: -0.025em;
        line-height: 1.15;
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
      input {
        width: min(100%, 18rem);
        margin-top: 0.8rem;
        padding: 0.55rem 0.9rem;
        border: 1px solid var(--line);
        border-radius: 10px;
        background: var(--surface);
        color: inherit;
        font: inherit;
      }
      ul {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr));
        gap: 1.25rem;
        margin: 0;
        padding: 0;
        list-style: none;
      }
      .card {
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
      .card:hover {
        transform: translateY(-3px);
      }
      .card:focus-visible {
        border-radius: var(--radius);
      }
      .picture {
        position: relative;
        aspect-ratio: 16 / 9;
        background: var(--sunk);
        overflow: hidden;
      }
      .picture img,
      .picture .ridge {
        position: absolute;
        inset: 0;
        width: 100%;
        height: 100%;
      }
      .picture img {
        object-fit: cover;
      }
      .picture .chip {
        position: absolute;
        left: 0.75rem;
        top: 0.75rem;
      }
      .picture .chip:not(.on_air) {
        background: color-mix(in srgb, var(--surface) 92%, transparent);
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

  override connectedCallback(): void {
    super.connectedCallback();
    this.poll.start();
    this.rounds = window.setInterval(() => {
      if (document.hidden) return;
      this.broken = new Set();
      this.round++;
    }, PICTURE_MS);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.poll.stop();
    clearInterval(this.rounds);
  }

  override render(): TemplateResult {
    return html`
      <header class="frame masthead">
        ${brand()}
        <a class="go" href="/live">Go on air</a>
      </header>
      <main class="frame">${this.banner()}${this.content()}</main>
    `;
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
    return this.channels.length === 0 ? this.empty() : this.cards(this.channels);
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
          channels.length >= FILTER_FROM
            ? html`<input
                type="search"
                placeholder="Find a channel"
                aria-label="Find a channel"
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
          ? html`<p role="status">No channel is called “${this.filter}”.</p>`
          : html`<ul>
              ${repeat(
                found,
                (c) => c.name,
                (c) => html`<li>${this.card(c)}</li>`,
              )}
            </ul>`
      }
    `;
  }

  private card(channel: Channel): TemplateResult {
    const seconds = secondsSince(channel.since, Date.now());
    const facts =
      channel.state === "on_air"
        ? [
            count(channel.readers, "viewer", "viewers"),
            bitrate(channel.bitrate),
            seconds === null ? "" : `for ${duration(seconds)}`,
          ]
        : channel.state === "waiting"
          ? [
              channel.readers ? count(channel.readers, "viewer waits", "viewers wait") : "",
              seconds === null ? "" : `source gone ${duration(seconds)} ago`,
            ]
          : ["Never on air so far"];
    return html`<a class="card ${channel.state}" href="/watch/${channel.name}">
      <div class="picture">
        ${ridge(channel.state === "on_air")}${this.picture(channel)} ${stateChip(channel.state)}
      </div>
      <div class="text">
        <h2>${channel.title || channel.name}</h2>
        <p class="facts">${facts.filter(Boolean).map((fact) => html`<span>${fact}</span>`)}</p>
      </div>
    </a>`;
  }

  private picture({ name, picture }: Channel): TemplateResult | typeof nothing {
    if (!picture || this.broken.has(name)) return nothing;
    return html`<img
      src=${`${picture}?${this.round}`}
      alt=""
      @error=${() => {
        this.broken = new Set([...this.broken, name]);
      }}
    />`;
  }

  private empty(): TemplateResult {
    const host = location.hostname || "localhost";
    return html`<section class="empty">
      <div class="view">${ridge(true)}</div>
      <div class="how">
        <h1>Nobody is on air yet</h1>
        <p>
          <a href="/live">Go on air from this browser</a>, or send a film, a camera or a test pattern:
          it appears on this page by itself.
        </p>
        <h2>On the server, without a key</h2>
        <copy-line text="helio publish FILE NAME" label="the helio command"></copy-line>
        <h2>From anywhere, with ffmpeg</h2>
        <copy-line
          text=${`ffmpeg -re -i FILE -c copy -f rtsp rtsp://any:KEY@${host}:8554/NAME`}
          label="the ffmpeg command"
        ></copy-line>
        <p class="note">
          Put your video in place of <code>FILE</code>, a name of your choice for
          <code>NAME</code>, and the stream key the server printed when it started for
          <code>KEY</code>.
        </p>
      </div>
    </section>`;
  }
}
