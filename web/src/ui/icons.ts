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
export const pictureIcon = icon(
  svg`<path d="M11 18H4V5h16v6"/><path d="M14 14h7v5h-7z" fill="currentColor"/>`,
);
export const cameraIcon = icon(svg`<path d="M3 7h11v10H3zM14 11l6-3.500v9L14 13z"/>`);
export const cameraOffIcon = icon(
  svg`<path d="M9 7h5v5m0 5H3V7h2M14 11l6-3.500v9L17 14.800M3 3l18 18"/>`,
);
export const microphoneIcon = icon(
  svg`<path d="M9 6a3 3 0 0 1 6 0v5a3 3 0 0 1-6 0zM5.500 11a6.500 6.500 0 0 0 13 0M12 17.500V21"/>`,
);
export const microphoneOffIcon = icon(
  svg`<path d="M9 5.500a3 3 0 0 1 6 .500v5M15 13a3 3 0 0 1-6-2V9M5.500 11a6.500 6.500 0 0 0 11 4.700M12 17.500V21M3 3l18 18"/>`,
);
export const screenIcon = icon(
  svg`<path d="M3 5h18v11H3zM9 20h6m-3-4v4M12 8v5m-2.500-2.500L12 8l2.500 2.500"/>`,
);
export const lockIcon = icon(svg`<path d="M6 11h12v9H6zM8.500 11V8a3.500 3.500 0 0 1 7 0v3"/>`);
export const slowIcon = icon(
  svg`<path d="M3 17a9 9 0 0 1 15.800-5.900M12 17l-4-5.500M21 17a9 9 0 0 0-.600-3.200"/>`,
);
export const settingsIcon = icon(
  svg`<path d="M4 7h9m5 0h2M4 17h2m5 0h9"/><circle cx="15.500" cy="7" r="2.500"/><circle cx="8.500" cy="17" r="2.500"/>`,
);
export const againIcon = icon(svg`<path d="M5 12a7 7 0 1 0 2.200-5.100M5 4v4.500h4.500"/>`);
