/** Pages that show one of several things at a time. */

import { type CSSResultGroup, css, html, type TemplateResult } from "lit";
import { wideHeading } from "./headings";

export const tabStyles = css`
  .tabs {
    display: flex;
    flex-wrap: wrap;
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
    white-space: nowrap;
  }
  .tabs button[aria-pressed="true"] {
    background: var(--surface);
    color: var(--ink);
    box-shadow: var(--shadow);
  }
`;

/** Of wide pages whose head is a name and tabs. */
export const tabbedPageStyles: CSSResultGroup = [
  wideHeading,
  css`
  :host {
    --frame: 84rem;
    display: block;
    padding-bottom: 4rem;
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
`,
];

/** The things a page can show, each with its name; one of them is shown. */
export const tabs = <T extends string>(
  all: readonly (readonly [T, string])[],
  shown: T,
  show: (tab: T) => void,
): TemplateResult =>
  html`<div class="tabs" role="group" aria-label="What is shown">
    ${all.map(
      ([tab, name]) =>
        html`<button aria-pressed=${shown === tab} @click=${() => show(tab)}>${name}</button>`,
    )}
  </div>`;
