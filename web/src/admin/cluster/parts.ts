/** Styles and small parts that several pieces of the page about the cluster use. */

import { css, html, type TemplateResult } from "lit";
import { styleMap } from "lit/directives/style-map.js";
import { hue, type Seat, share } from "./model";

/** A channel's colour, readable on light and dark: the lightness is the theme's. */
export const colour = (channel: string): string =>
  `oklch(var(--group-light) var(--group-chroma) ${hue(channel)})`;

export const clusterStyles = css`
  :host {
    --group-light: 0.6;
    --group-chroma: 0.15;
  }
  @media (prefers-color-scheme: dark) {
    :host {
      --group-light: 0.74;
      --group-chroma: 0.13;
    }
  }
  .soft {
    color: var(--ink-soft);
  }
  .cut {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .figures {
    font-variant-numeric: tabular-nums;
  }
  .square {
    display: inline-block;
    flex: none;
    width: 0.7rem;
    height: 0.7rem;
    border-radius: 3px;
  }
  .state {
    display: inline-flex;
    align-items: center;
    gap: 0.4em;
    font-size: 0.78rem;
    font-weight: 620;
    white-space: nowrap;
  }
  .state::before {
    content: "";
    width: 0.65em;
    height: 0.65em;
    border-radius: 50%;
    border: 2px solid currentcolor;
  }
  .state.up {
    color: var(--ink-soft);
  }
  .state.up::before {
    border-color: var(--good);
    background: var(--good);
  }
  .state.pressed,
  .state.draining {
    color: var(--sun-ink);
  }
  .state.pressed::before {
    background: currentcolor;
  }
  .state.gone {
    color: var(--trouble);
  }
  :host {
    --good: #2f8a5b;
  }
  @media (prefers-color-scheme: dark) {
    :host {
      --good: #63c793;
    }
  }
`;

export const barStyles = css`
  .bar {
    display: grid;
    gap: 0.2rem;
    min-width: 0;
    font-size: 0.74rem;
    line-height: 1.2;
    color: var(--ink-soft);
  }
  .bar span {
    display: flex;
    justify-content: space-between;
    gap: 0.5rem;
    white-space: nowrap;
  }
  .bar b {
    color: var(--ink);
    font-weight: 600;
    font-variant-numeric: tabular-nums;
  }
  .bar i {
    display: block;
    height: 5px;
    border-radius: 99px;
    background: linear-gradient(var(--fill), var(--fill)) no-repeat 0 / var(--share) 100%,
      var(--sunk);
    --fill: var(--sun);
  }
  .bar.full i {
    --fill: var(--trouble);
  }
`;

/** From where a bar says that it gets tight. */
const TIGHT = 0.85;

/** A bar with its name and its value in words. */
export const bar = (name: string, part: number, words: string): TemplateResult =>
  html`<div class="bar ${part >= TIGHT ? "full" : ""}">
    <span>${name} <b>${words}</b></span
    ><i style=${styleMap({ "--share": `${(part * 100).toFixed(1)}%` })}></i>
  </div>`;

/** Fill of a group: solid as far as viewers sit in it. */
export function fill(seat: Seat): string {
  const taken = `${Math.round(share(seat.viewers + seat.reserved, seat.places) * 100)}%`;
  const full = colour(seat.channel);
  const faint = `color-mix(in oklab, ${full} 36%, var(--sunk))`;
  return `linear-gradient(to top, ${full} ${taken}, ${faint} ${taken})`;
}

export const listStyles = css`
  .scroller {
    flex: 1;
    min-height: 0;
    overflow: hidden auto;
    overscroll-behavior: contain;
    scrollbar-width: thin;
    border-top: 1px solid var(--line);
  }
  .scroller:focus-visible {
    outline-offset: -3px;
  }
  .rows {
    position: relative;
  }
  .one {
    position: absolute;
    inset-inline: 0;
    padding: 0 clamp(0.8rem, 2vw, 1.2rem);
    border-bottom: 1px solid var(--line);
    cursor: pointer;
    contain: strict;
  }
  .one:hover {
    background: var(--field);
  }
  .one[aria-selected="true"] {
    background: color-mix(in srgb, var(--sun) 13%, var(--surface));
    box-shadow: inset 3px 0 var(--sun-edge);
  }
  .head {
    display: flex;
    align-items: center;
    gap: 0.8rem;
    padding: 0.9rem clamp(0.8rem, 2vw, 1.2rem) 0.8rem;
  }
  h2 {
    margin: 0;
    font-size: 1.05rem;
    white-space: nowrap;
  }
  h2 small {
    margin-left: 0.35rem;
    font-size: 0.85rem;
    font-weight: 500;
    color: var(--ink-soft);
    font-variant-numeric: tabular-nums;
  }
  .head input[type="search"] {
    flex: 1;
    min-width: 0;
    min-height: 2.3rem;
    margin: 0 0 0 auto;
    max-width: 17rem;
    font-size: 0.9rem;
  }
  .none {
    margin: 0;
    padding: 2.2rem 1.2rem;
    text-align: center;
    color: var(--ink-soft);
  }
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
    overflow: hidden;
    border-radius: var(--radius);
    background: var(--surface);
    box-shadow: var(--shadow);
  }
`;
