import { css } from "lit";

/** How dialogs look that lie above a page. */
export const dialogs = css`
  dialog {
    width: min(100vw - 2rem, 27rem);
    padding: 1.5rem;
    border: 1px solid var(--line);
    border-radius: var(--radius);
    background: var(--surface);
    color: var(--ink);
    box-shadow: var(--shadow);
  }
  dialog::backdrop {
    background: rgb(5 9 12 / 55%);
  }
  dialog h2 {
    margin: 0 0 0.8rem;
    font-size: 1.2rem;
    overflow-wrap: anywhere;
  }
`;
