/** A menu of what may be done with a message or with the chat, above everything else on the page. */

import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { OutsidePress } from "../ui/outside-press";
import { shared } from "../ui/shared";

export interface Item {
  readonly text: string;
  /** Whether it is the one of several that holds; null: it is no choice. */
  readonly checked?: boolean | null;
  /** Words for a second press, for what cannot be taken back. */
  readonly sure?: string;
  readonly do: () => void;
}

/** Distance from the edges of the window, in pixels. */
const EDGE = 8;

@customElement("chat-menu")
export class ChatMenu extends LitElement {
  static override styles = [
    shared,
    css`
      .menu {
        position: fixed;
        inset: auto;
        margin: 0;
        min-width: 12rem;
        max-width: min(20rem, 100vw - 1rem);
        max-height: min(24rem, 100dvh - 1rem);
        padding: 0.35rem;
        border: 1px solid var(--line);
        border-radius: 12px;
        background: var(--surface);
        color: var(--ink);
        box-shadow: var(--shadow);
        font-size: 0.9rem;
        overflow: auto;
      }
      h3 {
        margin: 0.2rem 0.7rem 0.25rem;
        font-size: 0.78rem;
        font-weight: 600;
        color: var(--ink-soft);
        overflow-wrap: anywhere;
      }
      button {
        display: block;
        width: 100%;
        min-height: 2.3rem;
        padding: 0.35rem 0.7rem;
        border: 0;
        border-radius: 8px;
        background: none;
        text-align: left;
      }
      button:hover,
      button:focus-visible {
        background: var(--sunk);
      }
      button.sure {
        background: var(--trouble);
        color: var(--surface);
      }
      button[aria-checked="true"]::after {
        content: "✓";
        float: right;
        color: var(--sun-ink);
      }
    `,
  ];

  @state() private titleText = "";
  @state() private items: readonly Item[] = [];
  @state() private asked = -1;
  @query(".menu") private readonly box!: HTMLElement;
  private from: HTMLElement | null = null;

  constructor() {
    super();
    new OutsidePress(this, () => {
      // The keyboard goes where the press went.
      this.from = null;
      this.hide();
    });
  }

  get shown(): boolean {
    return this.items.length > 0;
  }

  /** Show beside `from`, which gets the keyboard back. */
  async show(from: HTMLElement, title: string, items: readonly Item[]): Promise<void> {
    this.from = from;
    this.titleText = title;
    this.items = items;
    this.asked = -1;
    await this.updateComplete;
    this.box.showPopover();
    const at = from.getBoundingClientRect();
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const below = at.bottom + 4 + height <= innerHeight - EDGE;
    const top = below ? at.bottom + 4 : Math.max(EDGE, at.top - 4 - height);
    const left = Math.min(Math.max(EDGE, at.right - width), innerWidth - width - EDGE);
    this.box.style.top = `${top}px`;
    this.box.style.left = `${left}px`;
    const first = this.renderRoot.querySelector<HTMLElement>('[aria-checked="true"], button');
    first?.focus();
  }

  hide(): void {
    if (!this.shown) return;
    this.items = [];
    this.from?.focus();
    this.from = null;
  }

  override render(): TemplateResult | typeof nothing {
    if (!this.shown) return nothing;
    return html`<div
      class="menu"
      role="menu"
      popover="manual"
      aria-label=${this.titleText}
      @keydown=${this.key}
    >
      <h3 aria-hidden="true">${this.titleText}</h3>
      ${this.items.map(
        (item, i) => html`<button
          role=${item.checked === undefined ? "menuitem" : "menuitemradio"}
          aria-checked=${item.checked ?? nothing}
          class=${this.asked === i ? "sure" : ""}
          @click=${() => this.choose(item, i)}
        >
          ${this.asked === i ? item.sure : item.text}
        </button>`,
      )}
    </div>`;
  }

  private choose(item: Item, at: number): void {
    if (item.sure && this.asked !== at) {
      this.asked = at;
      return;
    }
    this.hide();
    item.do();
  }

  private readonly key = (event: KeyboardEvent): void => {
    const items = [...this.renderRoot.querySelectorAll<HTMLElement>("button")];
    const at = items.indexOf(event.composedPath()[0] as HTMLElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
    if (event.key === "Escape") this.hide();
    else if (event.key === "Tab") this.hide();
    else if (to !== undefined) items[(to + items.length) % items.length]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
}
