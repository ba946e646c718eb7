/** Styles and small parts that every page's shadow root uses. */

import { css, html, nothing, svg, type TemplateResult } from "lit";
import logoUrl from "./logo.svg";

export const shared = css`
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  :focus-visible {
    outline: 3px solid var(--sun, #ffb52e);
    outline-offset: 2px;
    border-radius: 6px;
  }
  a {
    color: inherit;
  }
  button {
    font: inherit;
    color: inherit;
    cursor: pointer;
  }
  .visually-hidden {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  .frame {
    width: min(100% - 2rem, var(--frame, 72rem));
    margin-inline: auto;
  }
  .masthead {
    display: flex;
    align-items: center;
    gap: 1rem;
    padding-block: 0.9rem;
  }
  .brand {
    display: inline-flex;
    align-items: center;
    gap: 0.6rem;
    font-weight: 650;
    font-size: 1.05rem;
    letter-spacing: -0.01em;
    text-decoration: none;
  }
  .brand img {
    width: 2rem;
    height: 2rem;
  }
  .chip {
    display: inline-flex;
    align-items: center;
    gap: 0.45em;
    padding: 0.2em 0.7em 0.2em 0.55em;
    border-radius: 99px;
    font-size: 0.8rem;
    font-weight: 600;
    line-height: 1.5;
    white-space: nowrap;
    background: var(--sunk);
    color: var(--ink-soft);
  }
  .chip::before {
    content: "";
    width: 0.6em;
    height: 0.6em;
    border-radius: 50%;
    border: 2px solid currentcolor;
  }
  .chip.on_air {
    background: var(--sun);
    color: var(--on-sun);
  }
  .chip.on_air::before {
    background: currentcolor;
    animation: signal 4s steps(1) infinite;
  }
  .chip.waiting::before {
    border-style: dotted;
  }
  .chip.private::before {
    display: none;
  }
  .chip.private svg {
    width: 0.95rem;
    height: 0.95rem;
  }
  /* O, A in Morse, as a heliograph would flash it: dash dash dash, dot dash. */
  @keyframes signal {
    0%, 14%, 18%, 32%, 36%, 50% { opacity: 1; }
    12%, 16%, 30%, 34%, 48%, 62%, 67%, 71% { opacity: 0.25; }
    64%, 69% { opacity: 1; }
    82%, 100% { opacity: 1; }
  }
  .copy {
    display: flex;
    align-items: stretch;
    border: 1px solid var(--line);
    border-radius: 10px;
    background: var(--sunk);
    overflow: hidden;
  }
  .copy code {
    flex: 1;
    min-width: 0;
    padding: 0.65rem 0.8rem;
    font: 0.82rem / 1.5 var(--mono);
    overflow-wrap: anywhere;
    user-select: all;
  }
  .copy button {
    flex: none;
    min-width: 4.9rem;
    padding: 0 0.9rem;
    border: 0;
    border-left: 1px solid var(--line);
    background: var(--surface);
    font-size: 0.85rem;
    font-weight: 600;
  }
  .copy button:hover {
    background: var(--sun);
    color: var(--on-sun);
  }
  .copy button:focus-visible {
    outline-offset: -3px;
  }
  .banner {
    display: flex;
    align-items: center;
    gap: 0.75rem;
    margin-bottom: 1.25rem;
    padding: 0.75rem 1rem;
    border: 1px solid color-mix(in srgb, var(--trouble) 45%, transparent);
    border-radius: 12px;
    background: color-mix(in srgb, var(--trouble) 9%, var(--surface));
  }
  .banner strong {
    color: var(--trouble);
  }
  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      animation: none !important;
      transition: none !important;
    }
  }
`;

export const brand = (): TemplateResult => html`
  <a class="brand" href="/" aria-label="Heliograph, all channels">
    <img src=${logoUrl} alt="" width="32" height="32" />Heliograph
  </a>
`;

const STATE_NAMES: Readonly<Record<string, string>> = {
  on_air: "On air",
  waiting: "Waiting for the source",
  idle: "Idle",
};

export const stateChip = (state: string): TemplateResult =>
  html`<span class="chip ${state}">${STATE_NAMES[state] ?? state}</span>`;

/** Two ridges and, when `lit`, the beam from peak to peak. */
export const ridge = (lit: boolean, stretch = false): TemplateResult => html`
  <svg
    class="ridge"
    viewBox="0 0 320 180"
    preserveAspectRatio=${stretch ? "none" : "xMidYMax slice"}
    aria-hidden="true"
  >
    <path fill="var(--ridge-far)" d="M0 180V118l44-34 30 22 52-58 40 44 34-20 62 52 58-30v86z" />
    <path fill="var(--ridge-near)" d="M0 180v-30l58-44 34 30 44-22 60 40 56-78 38 44 30-14v74z" />
    ${
      lit
        ? svg`<path d="M58 106 252 76" stroke="var(--sun, #ffb52e)" stroke-width="2" stroke-linecap="round" stroke-dasharray="14 6 14 6 14 6 4 6 14 200" class="beam"/>
            <circle cx="252" cy="76" r="6" fill="var(--sun, #ffb52e)"/><circle cx="58" cy="106" r="3.500" fill="var(--sun, #ffb52e)"/>`
        : nothing
    }
  </svg>
`;
