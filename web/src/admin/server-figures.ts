import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { readServer, type ServerFigures } from "../api/admin";
import { Poll } from "../api/poll";
import { bitrate, bytes, duration } from "../ui/format";
import { shared } from "../ui/shared";

const POLL_MS = 3_000;

/** The whole server in a few figures. */
@customElement("server-figures")
export class ServerFiguresElement extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: block;
      }
      dl {
        display: grid;
        grid-template-columns: repeat(4, minmax(0, 1fr));
        gap: 1rem 1.5rem;
        margin: 0;
      }
      dt {
        font-size: 0.82rem;
        color: var(--ink-soft);
      }
      dd {
        margin: 0;
        font-size: 1.25rem;
        font-weight: 640;
        line-height: 1.3;
        font-variant-numeric: tabular-nums;
        white-space: nowrap;
      }
      @media (max-width: 46rem) {
        dl {
          grid-template-columns: repeat(2, minmax(0, 1fr));
        }
      }
    `,
  ];

  @state() private figures: ServerFigures | null = null;
  @state() private unreachable = false;
  @state() private rates = { incoming: null as number | null, outgoing: null as number | null };
  private readAt = 0;
  private readonly poll = new Poll(
    readServer,
    (figures) => {
      this.unreachable = figures === null;
      if (figures) this.take(figures);
    },
    POLL_MS,
  );

  override connectedCallback(): void {
    super.connectedCallback();
    this.poll.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.poll.stop();
  }

  override render(): TemplateResult {
    const f = this.figures;
    if (!f) {
      return html`<p role="status">
        ${this.unreachable ? "The server does not answer." : "Asking the server…"}
      </p>`;
    }
    const rate = (value: number | null): string => (value === null ? "–" : bitrate(value));
    const rows: [string, string][] = [
      ["Channels on air", `${f.channels_on_air} of ${f.channels}`],
      ["Viewers", f.readers.toLocaleString("en")],
      ["Comes in", rate(this.rates.incoming)],
      ["Goes out", rate(this.rates.outgoing)],
      ["Sent since the start", bytes(f.bytes_out)],
      ["Connections", f.connections.toLocaleString("en")],
      ["Running for", duration(f.uptime)],
      ["Version", f.version],
    ];
    return html`<dl>
      ${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>`;
  }

  /** Counters become rates from the second answer on; a restarted server begins anew. */
  private take(figures: ServerFigures): void {
    const now = performance.now();
    const before = this.figures;
    const seconds = (now - this.readAt) / 1000;
    const rate = (key: "bytes_in" | "bytes_out"): number | null =>
      before && figures.uptime > before.uptime
        ? (Math.max(0, figures[key] - before[key]) * 8) / seconds
        : null;
    this.rates = { incoming: rate("bytes_in"), outgoing: rate("bytes_out") };
    this.figures = figures;
    this.readAt = now;
  }
}
