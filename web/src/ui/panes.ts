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

/** Of wide pages whose head is a name and tabs. */
export const tabbedPageStyles = css`
  :host {
    --frame: 84rem;
    display: block;
    padding-bottom: 4rem;
  }
  h1 {
    margin: 0.3rem 0 0;
    font-size: clamp(1.5rem, 3vw, 1.9rem);
    font-weight: 680;
    letter-spacing: -0.025em;
    line-height: 1.15;
  }
  .top {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 0.8rem 2rem;
    margin: 0.2rem 0 1.1rem;
  }
  .tabs button {
    padding: 0 1rem;
  }
  @media (max-width: 34rem) {
    .tabs {
      flex: 1 1 100%;
    }
    .tabs button {
      flex: 1 1 auto;
      padding: 0 0.5rem;
    }
  }
`;
