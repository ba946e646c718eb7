/** Styles of pages that show one of several things at a time, and tell what was done. */

import { css } from "lit";

export const tabStyles = css`
  .tabs {
    display: flex;
    gap: 0.3rem;
    padding: 0.25rem;
    border-radius: 12px;
    background: var(--sunk);
  }
  .tabs button {
    min-height: 2.5rem;
    border: 0;
    border-radius: 9px;
    background: none;
    font-size: 0.92rem;
    font-weight: 600;
    color: var(--ink-soft);
  }
  .tabs button[aria-pressed="true"] {
    background: var(--surface);
    color: var(--ink);
    box-shadow: var(--shadow);
  }
`;

export const toastStyles = css`
  .toast {
    position: fixed;
    z-index: 6;
    left: 50%;
    bottom: 1.5rem;
    max-width: calc(100vw - 2rem);
    margin: 0;
    padding: 0.75rem 1.2rem;
    border-radius: 12px;
    background: var(--ink);
    color: var(--surface);
    font-size: 0.92rem;
    font-weight: 550;
    box-shadow: var(--shadow);
    transform: translateX(-50%);
  }
`;
