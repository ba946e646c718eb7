import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Title } from "../api/titles";
import { codecName } from "../player/codecs";
import "../ui/copy-line";
import { bitrate, clock, count, day } from "../ui/format";
import { shared } from "../ui/shared";
import { watchedStyles } from "../ui/watched";
import "./helio-film";
import { languageName } from "./words";

/** A title and what belongs to it: what the page `/watch/NAME` shows of one. */
@customElement("title-view")
export class TitleView extends LitElement {
  static override styles = [
    shared,
    watchedStyles,
    css`
      :host {
        display: block;
      }
      .head {
        justify-content: space-between;
        gap: 0.6rem 1.5rem;
      }
      .said {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.4rem 0.9rem;
      }
      .save {
        display: inline-block;
        padding: 0.5rem 1rem;
        border: 1px solid var(--line);
        border-radius: 10px;
        background: var(--surface);
        font-size: 0.9rem;
        font-weight: 600;
        text-decoration: none;
      }
      .save:hover {
        background: var(--sun);
        color: var(--on-sun);
      }
      .keyboard {
        padding-top: 1.3rem;
        border-top: 1px solid var(--line);
      }
      .keys {
        display: flex;
        flex-wrap: wrap;
        gap: 0.35rem 1.4rem;
      }
      @media (max-width: 46rem) {
        :host > :not(helio-film) {
          margin-inline: 1rem;
        }
      }
    `,
  ];

  @property({ attribute: false }) film: Title | null = null;
  /** The key or token in the page's address. */
  @property() permit = "";

  override render(): TemplateResult | typeof nothing {
    const title = this.film;
    if (!title) return nothing;
    return html`
      <helio-film
        src=${title.urls.hls + this.permit}
        name=${title.name}
        ?live=${title.live}
        autoplay
        hotkeys
      ></helio-film>
      <div class="head">
        <div class="said">
          <h1>${title.title || title.name}</h1>
          ${title.live ? html`<span class="chip on_air">Being recorded</span>` : nothing}
        </div>
        ${
          title.urls.mp4
            ? html`<a class="save" href=${title.urls.mp4 + this.permit} download=${`${title.name}.mp4`}>
                Download
              </a>`
            : nothing
        }
      </div>
      <dl>
        ${facts(title).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
      </dl>
      <section class="keyboard">
        <h2>Keys</h2>
        <ul class="keys">
          <li><kbd>space</kbd><kbd>k</kbd>pause, play</li>
          <li><kbd>←</kbd><kbd>→</kbd>5 s</li>
          <li><kbd>j</kbd><kbd>l</kbd>10 s</li>
          <li><kbd>0</kbd>–<kbd>9</kbd>tenths</li>
          <li><kbd>&lt;</kbd><kbd>&gt;</kbd>speed</li>
          <li><kbd>m</kbd>sound on, off</li>
          <li><kbd>↑</kbd><kbd>↓</kbd>volume</li>
          <li><kbd>f</kbd>full screen</li>
          <li><kbd>p</kbd>picture in picture</li>
        </ul>
      </section>
    `;
  }
}

/** What people may want to know of a title. */
export function facts(title: Title): [string, string][] {
  const sounds = title.tracks.filter((track) => track.kind === "audio");
  const spoken = sounds
    .map((track) => track.language)
    .filter((code) => code && code !== "und")
    .map((code) => languageName(code));
  const codecs = new Set(title.tracks.map((track) => codecName(track.codec)));
  const rows: [string, string][] = [
    [title.live ? "Recorded so far" : "Length", clock(title.duration)],
    [title.live ? "Since" : "Added", day(title.created)],
    ["At most", bitrate(title.bitrate)],
    ["Format", [...codecs].join(", ")],
  ];
  if (spoken.length) rows.push([spoken.length > 1 ? "Languages" : "Language", spoken.join(", ")]);
  if (title.readers) rows.push(["Watching", count(title.readers, "person", "people")]);
  return rows;
}
