import { css, html, LitElement, svg, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { line, type Point } from "./history";

const WIDTH = 200;
const HEIGHT = 36;

/** A value and how it was in the last ten minutes. */
@customElement("spark-line")
export class SparkLine extends LitElement {
  static override styles = css`
    :host {
      display: grid;
      min-width: 0;
    }
    .name {
      font-size: 0.8rem;
      color: var(--ink-soft);
      white-space: nowrap;
      overflow: hidden;
      text-overflow: ellipsis;
    }
    strong {
      font-size: 1.2rem;
      font-weight: 640;
      line-height: 1.35;
      font-variant-numeric: tabular-nums;
      white-space: nowrap;
    }
    svg {
      display: block;
      width: 100%;
      height: ${HEIGHT}px;
      margin-top: 0.25rem;
      border-bottom: 1px solid var(--line);
      overflow: hidden;
    }
    @media (max-width: 34rem) {
      .limit {
        display: none;
      }
      strong {
        font-size: 1.05rem;
      }
    }
    .line {
      fill: none;
      stroke: var(--sun-edge);
      stroke-width: 1.75;
      stroke-linejoin: round;
      vector-effect: non-scaling-stroke;
    }
    .area {
      fill: color-mix(in srgb, var(--sun) 20%, transparent);
    }
  `;

  @property() name = "";
  @property({ attribute: false }) points: readonly Point[] = [];
  /** Changes with the points, which are the same array. */
  @property({ type: Number }) at = 0;
  @property() of: "bandwidth" | "viewers" | "loss" = "viewers";
  /** The value now, in words. */
  @property() value = "";
  /** What it is part of, in words. */
  @property() limit = "";

  override render(): TemplateResult {
    const { path, area } = line(this.points, (point) => point[this.of], WIDTH, HEIGHT);
    return html`<span class="name">${this.name} <span class="limit">${this.limit}</span></span>
      <strong>${this.value}</strong>
      <svg viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
        ${svg`<path class="area" d=${area}></path><path class="line" d=${path}></path>`}
      </svg>`;
  }
}
