/** Two small plots of the last minute: delay and bitrate. Loaded when the statistics are opened. */

import { css, html, LitElement, type TemplateResult, unsafeCSS } from "lit";
import { customElement, property } from "lit/decorators.js";
import uPlot from "uplot";
import plotStyles from "uplot/dist/uPlot.min.css?inline";

const SECONDS = 60;
const HEIGHT = 86;

export interface PlotPoint {
  /** Seconds of a steady clock. */
  readonly at: number;
  readonly delayMs: number | null;
  /** Bits a second. */
  readonly bitrate: number;
}

interface Series {
  readonly label: string;
  readonly unit: string;
  readonly value: (point: PlotPoint) => number | null;
  plot: uPlot | null;
}

@customElement("helio-plots")
export class Plots extends LitElement {
  static override styles = [
    unsafeCSS(plotStyles),
    css`
      :host {
        display: grid;
        gap: 0.5rem;
      }
      figure {
        margin: 0;
        min-width: 0;
      }
      figcaption {
        font-size: 0.75rem;
        color: rgb(255 255 255 / 75%);
      }
      .plot {
        height: ${HEIGHT}px;
      }
    `,
  ];

  @property({ attribute: false }) points: readonly PlotPoint[] = [];
  private readonly series: Series[] = [
    { label: "Delay", unit: "ms", value: (p) => p.delayMs, plot: null },
    { label: "Bitrate", unit: "Mbit/s", value: (p) => p.bitrate / 1e6, plot: null },
  ];
  private observer: ResizeObserver | null = null;

  override updated(): void {
    const newest = this.points.at(-1)?.at ?? 0;
    const times = this.points.map((p) => p.at - newest);
    for (const s of this.series) s.plot?.setData([times, this.points.map(s.value)]);
  }

  override render(): TemplateResult {
    return html`${this.series.map(
      (s) => html`<figure>
        <figcaption>${s.label}, ${s.unit}, last minute</figcaption>
        <div class="plot"></div>
      </figure>`,
    )}`;
  }

  override firstUpdated(): void {
    const sun = getComputedStyle(this).getPropertyValue("--helio-accent").trim() || "#ffb52e";
    const grid = { stroke: "rgb(255 255 255 / 14%)", width: 1 };
    const axis = { stroke: "rgb(255 255 255 / 75%)", grid, ticks: { show: false } };
    const places = this.renderRoot.querySelectorAll<HTMLElement>(".plot");
    this.series.forEach((s, i) => {
      const place = places[i];
      if (!place) return;
      s.plot = new uPlot(
        {
          width: place.clientWidth || 240,
          height: HEIGHT,
          cursor: { show: false },
          legend: { show: false },
          padding: [6, 14, 0, 0],
          scales: {
            x: { time: false, range: [-SECONDS, 0] },
            y: { range: (_u, _min, max) => [0, Math.max(max * 1.15, 0.1)] },
          },
          axes: [
            {
              ...axis,
              size: 18,
              gap: 2,
              font: "10px sans-serif",
              values: (_u, splits) => splits.map((v) => (v === 0 ? "now" : `${v} s`)),
            },
            { ...axis, size: 38, gap: 4, space: 24, font: "10px sans-serif" },
          ],
          series: [{}, { stroke: sun, width: 2, points: { show: false } }],
        },
        [[], []],
        place,
      );
    });
    this.observer = new ResizeObserver(() => {
      this.series.forEach((s, i) => {
        const width = places[i]?.clientWidth ?? 0;
        if (width > 0) s.plot?.setSize({ width, height: HEIGHT });
      });
    });
    this.observer.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.observer?.disconnect();
  }
}
