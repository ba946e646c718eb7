/** Redirects and plays over time. */

import { css, html, LitElement, type TemplateResult, unsafeCSS } from "lit";
import { customElement, property } from "lit/decorators.js";
import uPlot from "uplot";
import plotStyles from "uplot/dist/uPlot.min.css?inline";
import type { PeriodLine, Step } from "../../api/reports";
import { number, periodName, summary } from "./model";

const HEIGHT = 220;
const HOUR = 3600;
const LENGTHS: Readonly<Record<Step, number>> = { hour: HOUR, day: 24 * HOUR, week: 168 * HOUR };
/** Between two labels: periods of each length, so that there is room. */
const INCREMENTS = [1, 2, 3, 6, 12, 24, 48, 96, 168, 336, 672, 1344, 2688, 4032, 8736].map(
  (hours) => hours * HOUR,
);

/** How a period is called below the plot; days and weeks are those of UTC. */
function label(seconds: number, step: Step): string {
  const at = new Date(seconds * 1000);
  return step === "hour"
    ? at.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" })
    : at.toLocaleDateString(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
}

@customElement("report-plot")
export class ReportPlot extends LitElement {
  static override styles = [
    unsafeCSS(plotStyles),
    css`
      :host {
        display: block;
        min-width: 0;
      }
      figure {
        margin: 0;
      }
      figcaption {
        display: flex;
        flex-wrap: wrap;
        gap: 0.2rem 1.2rem;
        margin-bottom: 0.5rem;
        min-height: 1.5rem;
        font-size: 0.87rem;
        color: var(--ink-soft);
        font-variant-numeric: tabular-nums;
      }
      .key::before {
        content: "";
        display: inline-block;
        width: 0.8em;
        height: 0.8em;
        margin-right: 0.45em;
        border-radius: 3px;
        background: var(--sun);
      }
      .key.plays::before {
        background: var(--ink-soft);
      }
      .when {
        margin-left: auto;
      }
      .plot {
        height: ${HEIGHT}px;
        overflow: hidden;
      }
    `,
  ];

  @property({ attribute: false }) lines: readonly PeriodLine[] = [];
  @property() step: Step = "day";
  /** Which period is pointed at. */
  @property({ attribute: false }) at: number | null = null;
  private plot: uPlot | null = null;
  private observer: ResizeObserver | null = null;
  private readonly dark = matchMedia("(prefers-color-scheme: dark)");
  private readonly repaint = (): void => this.draw();

  override connectedCallback(): void {
    super.connectedCallback();
    this.dark.addEventListener("change", this.repaint);
    if (this.hasUpdated) this.watch();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.dark.removeEventListener("change", this.repaint);
    this.observer?.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  override firstUpdated(): void {
    this.watch();
  }

  override updated(changed: Map<string, unknown>): void {
    if (changed.has("lines") || changed.has("step")) this.draw();
  }

  override render(): TemplateResult {
    const pointed = this.at === null ? undefined : this.lines[this.at];
    const of = (name: "redirects" | "plays"): string => (pointed ? number(pointed[name]) : "");
    return html`<figure>
      <figcaption>
        <span class="key">Redirects ${of("redirects")}</span>
        <span class="key plays">Plays ${of("plays")}</span>
        <span class="when">${pointed ? periodName(pointed, this.step) : ""}</span>
      </figcaption>
      <div class="plot" role="img" aria-label=${summary(this.lines, this.step)}></div>
    </figure>`;
  }

  /** When the periods begin, in seconds since 1970. */
  private times(): number[] {
    return this.lines.map((line) => Date.parse(line.start) / 1000);
  }

  private get place(): HTMLElement | null {
    return this.renderRoot.querySelector(".plot");
  }

  private watch(): void {
    this.observer = new ResizeObserver(() => {
      const width = this.place?.clientWidth ?? 0;
      if (width > 0) this.plot?.setSize({ width, height: HEIGHT });
    });
    this.observer.observe(this);
  }

  /** Anew: bars are as wide as there are few, and colours are those of the page now. */
  private draw(): void {
    const place = this.place;
    if (!place) return;
    this.plot?.destroy();
    this.at = null;
    const style = getComputedStyle(this);
    const colour = (name: string): string => style.getPropertyValue(name).trim();
    const axis = {
      stroke: colour("--ink-soft"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: "12px system-ui, sans-serif",
    };
    const bars = uPlot.paths.bars;
    const length = LENGTHS[this.step];
    this.plot = new uPlot(
      {
        width: place.clientWidth || 300,
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
        padding: [8, 24, 0, 0],
        scales: {
          // So that the first and the last bar are whole.
          x: { range: (_u, min, max) => [min - length / 2, max + length / 2] },
          y: { range: (_u, _min, max) => [0, Math.max(max * 1.1, 4)] },
        },
        axes: [
          {
            ...axis,
            size: 30,
            grid: { show: false },
            space: 84,
            incrs: INCREMENTS.filter((one) => one >= length),
            values: (_u, splits) => splits.map((at) => label(at, this.step)),
            splits: (_u, _axis, min, max, increment) =>
              this.times().filter(
                (at, index) =>
                  at >= min &&
                  at <= max &&
                  index % Math.max(1, Math.round(increment / length)) === 0,
              ),
          },
          {
            ...axis,
            size: 56,
            values: (_u, splits) => splits.map((n) => (Number.isInteger(n) ? short.format(n) : "")),
          },
        ],
        series: [
          {},
          {
            fill: colour("--sun"),
            width: 0,
            points: { show: false },
            ...(bars ? { paths: bars({ size: [0.7, 48] }) } : {}),
          },
          { stroke: colour("--ink-soft"), width: 2, points: { show: this.lines.length < 40 } },
        ],
        hooks: {
          setCursor: [
            (u) => {
              this.at = u.cursor.idx ?? null;
            },
          ],
        },
      },
      [
        this.times(),
        this.lines.map((line) => line.redirects),
        this.lines.map((line) => line.plays),
      ],
      place,
    );
  }
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
