/** Styles of volumes, and of lists of titles, imports and recordings. */

import { css } from "lit";

export const barStyles = css`
  .bar {
    position: relative;
    height: 0.5rem;
    border-radius: 99px;
    background: var(--sunk);
    overflow: hidden;
  }
  .bar > i {
    display: block;
    height: 100%;
    border-radius: 99px;
    background: var(--sun);
    transition: width 0.4s;
  }
  .bar.full > i {
    background: var(--trouble);
  }
  .bar.open > i {
    width: 30%;
    animation: to-and-fro 2.4s ease-in-out infinite alternate;
  }
  @keyframes to-and-fro {
    from { margin-left: 0; }
    to { margin-left: 70%; }
  }
`;

export const stateStyles = css`
  .chip.active {
    background: color-mix(in srgb, var(--sun) 22%, var(--surface));
    color: var(--ink);
  }
  .chip.active::before {
    background: currentcolor;
  }
  .chip.leaving::before {
    border-style: dotted;
  }
  .chip.lost,
  .chip.away {
    background: color-mix(in srgb, var(--trouble) 14%, var(--surface));
    color: var(--trouble);
  }
  .chip.lost::before,
  .chip.away::before {
    border-radius: 1px;
    transform: rotate(45deg);
  }
`;

export const listStyles = css`
  :host {
    display: block;
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 0.6rem 1rem;
    margin-bottom: 0.8rem;
  }
  h2 {
    margin: 0;
    font-size: 1.15rem;
  }
  ul {
    margin: 0;
    padding: 0;
    list-style: none;
  }
  li {
    display: grid;
    grid-template-columns: minmax(0, 1fr) auto;
    gap: 0.35rem 1rem;
    align-items: center;
    padding: 0.75rem 0;
    border-top: 1px solid var(--line);
  }
  li:first-child {
    border-top: 0;
  }
  li > .bar,
  li > .line {
    grid-column: 1 / -1;
  }
  li strong,
  li small,
  .line {
    overflow-wrap: anywhere;
  }
  small,
  .line,
  .none {
    font-size: 0.86rem;
    color: var(--ink-soft);
  }
  li small {
    display: block;
  }
  .line,
  .none {
    margin: 0;
  }
  .line.bad {
    color: var(--trouble);
  }
  .does {
    display: flex;
    flex-wrap: wrap;
    gap: 0.4rem;
    justify-content: flex-end;
  }
  @media (max-width: 40rem) {
    li {
      grid-template-columns: minmax(0, 1fr);
    }
    .does {
      justify-content: flex-start;
    }
  }
`;
