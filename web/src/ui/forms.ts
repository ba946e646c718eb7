/** Styles of forms and of what lies around them; pages that want less take them one by one. */

import { css, html, nothing, type TemplateResult } from "lit";

export const card = css`
  .card {
    padding: clamp(1.1rem, 3vw, 1.5rem);
    border-radius: var(--radius);
    background: var(--surface);
    box-shadow: var(--shadow);
  }
`;

/** Fields to write in and lists to choose from. */
export const boxes = css`
  input:not([type="checkbox"], [type="radio"]),
  select {
    width: 100%;
    min-height: 2.75rem;
    margin-top: 0.3rem;
    padding: 0.45rem 0.75rem;
    border: 1px solid var(--line);
    border-radius: 10px;
    background: var(--field);
    color: inherit;
    font: inherit;
    font-weight: 400;
    text-overflow: ellipsis;
  }
  input[aria-invalid="true"] {
    border-color: var(--trouble);
  }
`;

/** Boxes to tick, and what is said below a field. */
export const ticks = css`
  .tick {
    display: grid;
    grid-template-columns: auto 1fr;
    gap: 0 0.65rem;
    align-items: start;
    padding: 0.3rem 0;
    font-weight: 500;
    font-size: 0.95rem;
    cursor: pointer;
  }
  .tick input {
    width: 1.1rem;
    height: 1.1rem;
    margin: 0.2rem 0 0;
    accent-color: var(--sun);
  }
  .hint {
    display: block;
    margin: 0.4rem 0 0;
    font-size: 0.83rem;
    font-weight: 400;
    line-height: 1.4;
    color: var(--ink-soft);
  }
`;

/** Buttons, and links that look like them. */
export const press = css`
  .press {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 0.45rem;
    min-height: 2.75rem;
    padding: 0 1.1rem;
    border: 1px solid var(--line);
    border-radius: 10px;
    background: var(--surface);
    color: var(--ink);
    font-size: 0.93rem;
    font-weight: 600;
    text-decoration: none;
    white-space: nowrap;
  }
  .press:hover:not(:disabled) {
    border-color: var(--sun-edge);
  }
`;

export const forms = css`
  ${card}
  ${ticks}
  .lead {
    margin: 0 0 1.2rem;
    max-width: 60ch;
    color: var(--ink-soft);
  }
  form {
    display: grid;
    gap: 1rem;
  }
  label,
  legend {
    display: block;
    padding: 0;
    font-size: 0.87rem;
    font-weight: 600;
  }
  fieldset {
    display: grid;
    gap: 0.3rem;
    min-width: 0;
    margin: 0;
    padding: 0;
    border: 0;
  }
  ${boxes}
  .row {
    display: flex;
    flex-wrap: wrap;
    gap: 0.6rem;
    align-items: center;
  }
  ${press}
  .press:disabled {
    opacity: 0.55;
    cursor: default;
  }
  .press.main {
    border-color: transparent;
    background: var(--sun);
    color: var(--on-sun);
    font-weight: 650;
  }
  .press.danger {
    color: var(--trouble);
  }
  .press.small {
    min-height: 2.25rem;
    padding: 0 0.8rem;
    font-size: 0.87rem;
  }
  .wide {
    width: 100%;
  }
  .wrong {
    margin: 0;
    padding: 0.65rem 0.85rem;
    border-radius: 10px;
    border: 1px solid color-mix(in srgb, var(--trouble) 45%, transparent);
    background: color-mix(in srgb, var(--trouble) 9%, var(--surface));
    font-size: 0.92rem;
  }
  .good {
    margin: 0;
    padding: 0.65rem 0.85rem;
    border-radius: 10px;
    background: color-mix(in srgb, var(--sun) 16%, var(--surface));
    font-size: 0.92rem;
  }
  .asks {
    display: grid;
    gap: 0.8rem;
    padding: 0.9rem 1rem;
    border-radius: 12px;
    background: color-mix(in srgb, var(--trouble) 9%, var(--surface));
  }
  .asks p {
    margin: 0;
  }
`;

/** A form's trouble, told to screen readers at once. */
export const wrong = (text: string): TemplateResult | typeof nothing =>
  text ? html`<p class="wrong" role="alert">${text}</p>` : nothing;

/** Text of a form's field, without spaces around it; passwords keep theirs. */
export function field(form: HTMLFormElement, name: string): string {
  const value = String(new FormData(form).get(name) ?? "");
  return name.includes("password") ? value : value.trim();
}

/** A name that is part of addresses. */
export const nameInput = (name: string, label: string, value: string, hint = ""): TemplateResult =>
  html`<label
    >${label}
    <input
      name=${name}
      required
      maxlength="64"
      pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*"
      title="Letters, digits, dots, hyphens or underscores"
      autocapitalize="none"
      autocomplete="off"
      spellcheck="false"
      .value=${value}
    />
    ${hint ? html`<span class="hint">${hint}</span>` : nothing}
  </label>`;
