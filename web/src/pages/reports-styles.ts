/** Styles of the page with reports. */

import { css } from "lit";

export const pageStyles = css`
  :host {
    display: block;
    padding-bottom: 4rem;
  }
  h1 {
    margin: 1.2rem 0;
  }
  h2 {
    margin: 0;
    font-size: 1.15rem;
  }
  .choice,
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 0.8rem 1.2rem;
    margin-bottom: 1.1rem;
  }
  .tabs {
    display: flex;
    gap: 0.2rem;
    padding: 0.25rem;
    border-radius: 12px;
    background: var(--sunk);
  }
  .tabs button {
    flex: 1;
    min-height: 2.4rem;
    padding: 0 0.9rem;
    border: 0;
    border-radius: 9px;
    background: none;
    font-size: 0.92rem;
    font-weight: 600;
    color: var(--ink-soft);
    white-space: nowrap;
  }
  .tabs button[aria-pressed="true"] {
    background: var(--surface);
    color: var(--ink);
    box-shadow: var(--shadow);
  }
  .days {
    display: flex;
    flex-wrap: wrap;
    gap: 0.5rem 0.8rem;
  }
  .days label {
    display: flex;
    align-items: center;
    gap: 0.5rem;
    color: var(--ink-soft);
  }
  .days input[type="date"] {
    width: auto;
    margin: 0;
    background: var(--surface);
    color: var(--ink);
  }
  .tiles {
    display: grid;
    grid-template-columns: repeat(auto-fit, minmax(7.5rem, 1fr));
    gap: 1rem 1.4rem;
    margin: 0 0 1.1rem;
  }
  dt {
    font-size: 0.82rem;
    color: var(--ink-soft);
  }
  dd {
    margin: 0;
    font-size: 1.35rem;
    font-weight: 640;
    line-height: 1.35;
    white-space: nowrap;
    font-variant-numeric: tabular-nums;
  }
  section + section {
    margin-top: 1.1rem;
  }
  .wrong {
    margin-bottom: 1.1rem;
  }
  .exports {
    display: inline-flex;
    gap: 0.5rem;
  }
  .missing {
    margin: 0.8rem 0 0;
    font-size: 0.87rem;
    color: var(--trouble);
  }
  @media (max-width: 44rem) {
    .choice .tabs,
    .choice .days {
      width: 100%;
    }
    .tabs button {
      padding: 0 0.4rem;
    }
    .days label {
      flex: 1;
    }
    .days input[type="date"] {
      width: 100%;
      min-width: 0;
    }
  }
`;
