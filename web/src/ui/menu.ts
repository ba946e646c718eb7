import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { query, state } from "lit/decorators.js";
import { OutsidePress } from "./outside-press";

/** Of menus upon a picture; a subclass adds what its items are made of. */
export const menuStyles = css`
  :host {
    position: relative;
    flex: none;
  }
  .open {
    height: 2.75rem;
    padding: 0 0.7rem;
    border: 0;
    border-radius: 10px;
    background: none;
    font-size: 0.85rem;
    font-weight: 600;
    white-space: nowrap;
  }
  .open:hover,
  .menu button:hover {
    background: rgb(255 255 255 / 16%);
  }
  .menu {
    position: absolute;
    right: 0;
    bottom: calc(100% + 0.3rem);
    max-width: calc(100cqw - 1rem);
    padding: 0.4rem;
    border-radius: 12px;
    border: 1px solid rgb(255 255 255 / 18%);
    background: rgb(11 18 23 / 96%);
    box-shadow: 0 8px 30px rgb(0 0 0 / 50%);
    font-size: 0.85rem;
  }
  .menu button {
    display: grid;
    grid-template-columns: 1.3rem 1fr;
    align-items: center;
    width: 100%;
    padding: 0.4rem 0.7rem 0.4rem 0.3rem;
    border: 0;
    border-radius: 8px;
    background: none;
    text-align: left;
    line-height: 1.35;
  }
  .menu button::before {
    content: "";
    place-self: center;
    width: 0.5rem;
    height: 0.5rem;
    border-radius: 50%;
  }
  .menu button[aria-checked="true"]::before {
    background: var(--helio-accent);
  }
  @media (max-width: 30rem) {
    .menu {
      position: fixed;
      inset: auto 0.5rem 0.5rem;
      width: auto;
      max-width: none;
    }
  }
`;

/** A button that opens a list to choose one of; arrows, Escape and a press elsewhere do as in any menu. */
export abstract class Menu<T> extends LitElement {
  @state() private shown = false;
  @query(".open") private readonly opener!: HTMLButtonElement;

  constructor() {
    super();
    new OutsidePress(this, () => {
      this.shown = false;
    });
  }

  /** Name of the event whose `detail` is what a person chose. */
  protected abstract readonly chosen: string;

  /** `label`: what it is and stands at, for ears; `title`: for who points at it. */
  protected menu(
    label: string,
    title: string,
    face: TemplateResult | string,
    items: () => TemplateResult,
  ): TemplateResult {
    return html`<button
        class="open"
        aria-haspopup="menu"
        aria-expanded=${this.shown}
        aria-label=${label}
        title=${title}
        @click=${this.toggle}
      >
        ${face}
      </button>
      ${
        this.shown
          ? html`<div class="menu" role="menu" aria-label=${title} @keydown=${this.key}>${items()}</div>`
          : nothing
      }`;
  }

  protected item(choice: T, checked: boolean, name: TemplateResult | string): TemplateResult {
    return html`<button
      role="menuitemradio"
      aria-checked=${checked}
      @click=${() => this.choose(choice)}
    >
      ${name}
    </button>`;
  }

  private async toggle(): Promise<void> {
    this.shown = !this.shown;
    if (!this.shown) return;
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>('[aria-checked="true"]')?.focus();
  }

  private choose(choice: T): void {
    this.close();
    this.dispatchEvent(new CustomEvent(this.chosen, { detail: choice }));
  }

  private close(): void {
    this.shown = false;
    this.opener.focus();
  }

  private key(event: KeyboardEvent): void {
    const items = [...this.renderRoot.querySelectorAll<HTMLElement>(".menu button")];
    const at = items.indexOf(event.composedPath()[0] as HTMLElement);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (event.key === "Escape") this.close();
    else if (event.key === "Tab") this.shown = false;
    else if (step) items[(at + step + items.length) % items.length]?.focus();
    else return;
    if (event.key !== "Tab") event.preventDefault();
    // Arrows are the player's volume elsewhere.
    event.stopPropagation();
  }
}
