import { html, type TemplateResult } from "lit";

/** From where on a bar of space says that it is nearly full. */
const NEARLY = 0.97;

/** How far something is; null: that cannot be told, but it goes on. */
export const progressBar = (share: number | null, label: string): TemplateResult =>
  share === null
    ? html`<div class="bar open" role="progressbar" aria-label=${label}><i></i></div>`
    : html`<div
        class="bar"
        role="progressbar"
        aria-label=${label}
        aria-valuemin="0"
        aria-valuemax="100"
        aria-valuenow=${Math.round(share * 100)}
      >
        <i style=${`width: ${(share * 100).toFixed(2)}%`}></i>
      </div>`;

/** How full something is. */
export const fillBar = (share: number, label: string): TemplateResult =>
  html`<div
    class="bar ${share >= NEARLY ? "full" : ""}"
    role="meter"
    aria-label=${label}
    aria-valuemin="0"
    aria-valuemax="100"
    aria-valuenow=${Math.round(share * 100)}
  >
    <i style=${`width: ${(share * 100).toFixed(2)}%`}></i>
  </div>`;
