import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { type LogBatch, type LogEntry, type LogLevel, readLogs } from "../../api/cluster";
import { EventFeed } from "../../api/events";
import { boxes, press } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { chosen, clockTime, fieldWords, LEVELS, LogLines } from "./log-lines";
import { clusterStyles, colour } from "./parts";

/** Asked for at the start. */
const FIRST = 200;
/** Lines drawn at most; the search finds the others. */
const DRAWN = 300;
/** Between two drawings while lines come. */
const DRAW_MS = 250;

/** What all nodes log, as it happens. */
@customElement("log-panel")
export class LogPanel extends LitElement {
  static override styles = [
    shared,
    boxes,
    press,
    clusterStyles,
    css`
      :host {
        display: flex;
        flex-direction: column;
        min-height: 0;
        overflow: hidden;
        border-radius: var(--radius);
        background: var(--surface);
        box-shadow: var(--shadow);
      }
      .head {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.55rem;
        padding: 0.8rem clamp(0.8rem, 2vw, 1.2rem);
      }
      h2 {
        margin: 0 auto 0 0;
        font-size: 1.05rem;
      }
      h2 small {
        margin-left: 0.4rem;
        font-size: 0.82rem;
        font-weight: 500;
        color: var(--ink-soft);
      }
      .head select,
      .head input[type="search"] {
        width: auto;
        min-height: 2.3rem;
        margin: 0;
        font-size: 0.87rem;
      }
      .head input[type="search"] {
        flex: 0 1 16rem;
        min-width: 8rem;
      }
      .head select {
        max-width: 11rem;
      }
      .press {
        min-height: 2.3rem;
        min-width: 5.6rem;
        padding: 0 0.85rem;
        font-size: 0.87rem;
      }
      ol {
        flex: 1;
        min-height: 0;
        margin: 0;
        padding: 0.5rem 0;
        overflow: auto;
        overscroll-behavior: contain;
        scrollbar-width: thin;
        border-top: 1px solid var(--line);
        background: var(--sunk);
        list-style: none;
        font: 0.79rem / 1.55 var(--mono);
      }
      li {
        display: grid;
        grid-template-columns: 6.4rem 8.5rem 5.2rem minmax(0, 1fr);
        gap: 0 0.8rem;
        padding: 0.05rem clamp(0.8rem, 2vw, 1.2rem);
      }
      li > * {
        min-width: 0;
      }
      time,
      .debug,
      .fields {
        color: var(--ink-soft);
      }
      .node {
        display: flex;
        align-items: center;
        gap: 0.45rem;
      }
      .node i {
        flex: none;
        width: 0.5rem;
        height: 0.5rem;
        border-radius: 50%;
      }
      .warning {
        color: var(--sun-ink);
        font-weight: 600;
      }
      .error,
      .critical {
        color: var(--trouble);
        font-weight: 600;
      }
      .what {
        overflow-wrap: anywhere;
      }
      pre {
        margin: 0.1rem 0 0.3rem;
        white-space: pre-wrap;
        font: inherit;
        color: var(--ink-soft);
      }
      .none {
        display: block;
        padding: 1.4rem;
        text-align: center;
        font-family: var(--font);
        font-size: 0.9rem;
        color: var(--ink-soft);
      }
      @media (max-width: 46rem) {
        h2 {
          width: 100%;
        }
        .head input[type="search"] {
          flex: 1 1 100%;
        }
        .head select {
          flex: 1 1 5rem;
          min-width: 0;
        }
        li {
          grid-template-columns: auto auto 1fr;
          padding-block: 0.25rem;
          border-bottom: 1px solid color-mix(in srgb, var(--line) 60%, transparent);
        }
        .what {
          grid-column: 1 / -1;
        }
      }
    `,
  ];

  @state() private node = "";
  @state() private level: LogLevel = "info";
  @state() private text = "";
  /** Entries at the moment when the person stopped the lines; null: they run. */
  @state() private held: readonly LogEntry[] | null = null;
  @state() private connected = false;
  @state() private away = false;
  @query("ol") private readonly list!: HTMLOListElement | null;
  private readonly lines = new LogLines();
  private atEnd = true;
  private timer = 0;
  /** Lines that come while the panel is not in sight are behind when it is. */
  private readonly observer = new ResizeObserver(() => this.toEnd());
  private readonly feed = new EventFeed("/logs/events", ["log", "missed"], {
    heard: (name, data) => {
      if (name === "log") this.lines.push(data as LogBatch);
      else this.lines.missed += (data as { count: number }).count;
      this.draw();
    },
    connected: (is) => {
      this.connected = is;
      this.requestUpdate();
      if (is) void this.begin();
    },
  });

  override connectedCallback(): void {
    super.connectedCallback();
    this.feed.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.feed.stop();
    this.observer.disconnect();
    clearTimeout(this.timer);
    this.timer = 0;
  }

  override willUpdate(): void {
    const { list } = this;
    if (list) this.atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  }

  override firstUpdated(): void {
    if (this.list) this.observer.observe(this.list);
  }

  override updated(): void {
    this.toEnd();
  }

  override render(): TemplateResult {
    const { node, level, text, held, lines } = this;
    const found = chosen(held ?? lines.entries, { node, level, text }, DRAWN);
    return html`<div class="head">
        <h2>Log <small role="status">${this.status()}</small></h2>
        <input
          type="search"
          aria-label="Search the log"
          placeholder="Search"
          .value=${text}
          @input=${(event: Event) => {
            this.text = (event.target as HTMLInputElement).value;
          }}
        />
        <select
          aria-label="Node"
          @change=${(event: Event) => {
            this.node = (event.target as HTMLSelectElement).value;
          }}
        >
          <option value="">All nodes</option>
          ${[...lines.nodes].map(([id, name]) => html`<option value=${id} ?selected=${id === node}>${name}</option>`)}
        </select>
        <select
          aria-label="Level"
          @change=${(event: Event) => {
            this.level = (event.target as HTMLSelectElement).value as LogLevel;
          }}
        >
          ${LEVELS.map(
            (one) => html`<option value=${one} ?selected=${one === level}>
              ${one === "debug" ? "All levels" : `From ${one}`}
            </option>`,
          )}
        </select>
        <button class="press" aria-pressed=${held !== null} @click=${this.hold}>
          ${held ? "Go on" : "Pause"}
        </button>
      </div>
      <ol tabindex="0" aria-label="Log events">
        ${
          found.length
            ? repeat(found, (entry) => `${entry.node} ${entry.number}`, line)
            : html`<li class="none">
                ${lines.entries.length ? "Nothing of this kind was logged." : "Nothing was logged yet."}
              </li>`
        }
      </ol>`;
  }

  private status(): string {
    const { held, lines } = this;
    if (this.away) return "not available here";
    if (!this.connected) return "not connected";
    if (held) {
      const last = held.at(-1);
      const since = lines.entries.length - 1 - (last ? lines.entries.lastIndexOf(last) : -1);
      return `paused, ${since} more since`;
    }
    return lines.missed ? `live, ${lines.missed} left out` : "live";
  }

  private toEnd(): void {
    if (this.atEnd && !this.held && this.list) this.list.scrollTop = this.list.scrollHeight;
  }

  private async begin(): Promise<void> {
    this.lines.wait();
    try {
      this.lines.begin(await readLogs(FIRST));
      this.away = false;
    } catch {
      this.lines.begin([]);
      this.away = true;
    }
    this.draw();
  }

  /** Lines may come by hundreds. */
  private draw(): void {
    if (this.timer) return;
    this.timer = window.setTimeout(() => {
      this.timer = 0;
      this.requestUpdate();
    }, DRAW_MS);
  }

  private readonly hold = (): void => {
    this.held = this.held ? null : this.lines.entries;
    if (!this.held && this.list) this.list.scrollTop = this.list.scrollHeight;
  };
}

const line = (entry: LogEntry): TemplateResult => html`<li>
  <time datetime=${entry.at} title=${entry.at}>${clockTime(entry.at)}</time>
  <span class="node" title=${entry.node}
    ><i style="background: ${colour(entry.node)}"></i><span class="cut">${entry.name}</span></span
  >
  <span class=${entry.level}>${entry.level}</span>
  <span class="what"
    ><span class=${entry.level}>${entry.event}</span>
    <span class="fields">${fieldWords(entry)}</span>${
      entry.fields.exception ? html`<pre>${entry.fields.exception}</pre>` : nothing
    }</span
  >
</li>`;
