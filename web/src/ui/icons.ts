/** Icons of the player, 24 × 24, drawn with the current colour. */

import { html, svg, type TemplateResult } from "lit";

const icon = (content: TemplateResult): TemplateResult =>
  html`<svg
    viewBox="0 0 24 24"
    width="24"
    height="24"
    fill="none"
    stroke="currentColor"
    stroke-width="2"
    stroke-linecap="round"
    stroke-linejoin="round"
    aria-hidden="true"
  >
    ${content}
  </svg>`;

const SPEAKER = svg`<path d="M4 9.500v5h3.500L12 18.500v-13L7.500 9.500z" fill="currentColor"/>`;

export const playIcon = icon(svg`<path d="M7 5v14l12-7z" fill="currentColor"/>`);
export const pauseIcon = icon(svg`<path d="M8 5v14M16 5v14" stroke-width="3.500"/>`);
export const soundIcon = icon(
  svg`${SPEAKER}<path d="M15.500 9a4 4 0 0 1 0 6M18 6.500a8 8 0 0 1 0 11"/>`,
);
export const mutedIcon = icon(svg`${SPEAKER}<path d="m16 9.500 5 5m0-5-5 5"/>`);
export const statsIcon = icon(svg`<path d="M4 19h16M6 15l4-5 3.500 3L19 6"/>`);
export const fullIcon = icon(svg`<path d="M4 9V4h5m6 0h5v5m0 6v5h-5m-6 0H4v-5"/>`);
export const leaveFullIcon = icon(svg`<path d="M9 4v5H4m16 0h-5V4m0 16v-5h5M4 15h5v5"/>`);
