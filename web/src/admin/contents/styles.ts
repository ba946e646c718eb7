/** Styles of lists, and of what is beside them, on the page about titles and servers. */

import { css } from "lit";

export const rowStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    min-height: 0;
  }
  .find {
    display: flex;
    gap: 0.7rem;
    align-items: center;
    margin-bottom: 0.8rem;
  }
  .find input {
    flex: 1;
    min-width: 0;
    margin: 0;
  }
  ul {
    margin: 0;
    padding: 0;
    list-style: none;
  }
  .pick {
    display: grid;
    grid-template-columns: minmax(0, 1fr) auto;
    gap: 0.1rem 1rem;
    align-items: center;
    width: 100%;
    padding: 0.65rem 0.8rem;
    border: 0;
    border-top: 1px solid var(--line);
    background: none;
    text-align: left;
  }
  li:first-child .pick {
    border-top-color: transparent;
  }
  .pick:hover {
    background: var(--sunk);
  }
  .pick[aria-pressed="true"] {
    border-radius: 10px;
    background: color-mix(in srgb, var(--sun) 20%, var(--surface));
  }
  .pick strong,
  .pick small {
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .pick small,
  .soft {
    font-size: 0.84rem;
    color: var(--ink-soft);
  }
  .pick .chip {
    justify-self: end;
  }
  .pick .end {
    text-align: right;
    font-variant-numeric: tabular-nums;
  }
  .more {
    margin: 0.8rem auto 0;
  }
  .none {
    margin: 1rem 0;
    color: var(--ink-soft);
  }
`;

export const chipStyles = css`
  .chip.up::before {
    background: currentcolor;
  }
  .chip.up {
    background: color-mix(in srgb, var(--sun) 22%, var(--surface));
    color: var(--ink);
  }
  .chip.starting::before,
  .chip.unknown::before {
    border-style: dotted;
  }
  .chip.down {
    background: color-mix(in srgb, var(--trouble) 14%, var(--surface));
    color: var(--trouble);
  }
  .chip.down::before {
    border-radius: 1px;
    transform: rotate(45deg);
  }
`;

export const detailStyles = css`
  :host {
    display: grid;
    gap: 1.1rem;
    align-content: start;
  }
  h2 {
    margin: 0;
    font-size: 1.2rem;
    overflow-wrap: anywhere;
  }
  h3 {
    margin: 0 0 0.6rem;
    font-size: 1rem;
  }
  p {
    margin: 0;
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.5rem 0.8rem;
  }
  .soft {
    font-size: 0.87rem;
    color: var(--ink-soft);
    overflow-wrap: anywhere;
  }
  .two {
    display: grid;
    grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr));
    gap: 1rem;
  }
  textarea {
    display: block;
    width: 100%;
    min-height: 4.5rem;
    margin-top: 0.3rem;
    padding: 0.55rem 0.75rem;
    border: 1px solid var(--line);
    border-radius: 10px;
    background: var(--field);
    color: inherit;
    font: inherit;
    font-weight: 400;
    resize: vertical;
  }
  textarea.code {
    font: 0.85rem / 1.5 var(--mono);
  }
  .files {
    display: grid;
    gap: 0;
    margin: 0 0 0.9rem;
    padding: 0;
    list-style: none;
  }
  .files li {
    display: grid;
    grid-template-columns: minmax(0, 1fr) auto;
    gap: 0 0.8rem;
    align-items: center;
    padding: 0.5rem 0;
    border-top: 1px solid var(--line);
  }
  .files code {
    display: block;
    overflow-wrap: anywhere;
    font: 0.8rem / 1.45 var(--mono);
    color: var(--ink-soft);
  }
`;
