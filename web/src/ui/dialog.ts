import { css, html, type TemplateResult } from "lit";

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

/** What a dialog's form ends in: do it, or leave it; where it is dangerous the latter is at hand. */
export const choice = (
  press: string,
  busy: boolean,
  danger: boolean | undefined,
  cancel: () => void,
): TemplateResult =>
  html`<div class="row">
    <button class="press main ${danger ? "danger" : ""}" ?disabled=${busy}>${press}</button>
    <button class="press" type="button" ?autofocus=${danger ?? false} @click=${cancel}>
      Cancel
    </button>
  </div>`;
