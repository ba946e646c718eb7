/** The small menu that says which way is used and lets a person choose. */

import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { OutsidePress } from "../ui/outside-press";
import { shared } from "../ui/shared";
import { type Choice, type WayState, whyNot } from "./way";

const NAMES = { webrtc: "WebRTC", websocket: "WebSocket", hls: "HLS" } as const;

const OPTIONS: readonly {
  readonly choice: Choice;
  readonly name: string;
  readonly text: string;
}[] = [
  { choice: "auto", name: "Automatic", text: "the best way that gets through" },
  { choice: "webrtc", name: "WebRTC", text: "least delay, by UDP" },
  { choice: "websocket", name: "WebSocket", text: "through firewalls, by TCP" },
  { choice: "hls", name: "HLS", text: "through anything, a second or two later" },
];

/** @fires way-choice - a person chose; `detail` is the choice */
@customElement("way-menu")
export class WayMenu extends LitElement {
  static override styles = [
    shared,
    css`
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
      .open:hover {
        background: rgb(255 255 255 / 16%);
      }
      .open::after {
        content: "";
        display: inline-block;
        width: 0.4em;
        height: 0.4em;
        margin: 0 0 0.12em 0.5em;
        border: solid currentcolor;
        border-width: 2px 2px 0 0;
        rotate: -45deg;
        vertical-align: baseline;
      }
      .menu {
        position: absolute;
        right: 0;
        bottom: calc(100% + 0.3rem);
        width: 20.5rem;
        max-width: calc(100cqw - 1rem);
        padding: 0.35rem;
        border-radius: 12px;
        border: 1px solid rgb(255 255 255 / 18%);
        background: rgb(11 18 23 / 96%);
        box-shadow: 0 8px 30px rgb(0 0 0 / 50%);
        font-size: 0.85rem;
      }
      .menu button {
        display: grid;
        grid-template-columns: 1.5rem 1fr;
        width: 100%;
        padding: 0.4rem 0.6rem 0.4rem 0.3rem;
        border: 0;
        border-radius: 8px;
        background: none;
        text-align: left;
        line-height: 1.35;
      }
      .menu button:hover {
        background: rgb(255 255 255 / 14%);
      }
      .menu button::before {
        content: "";
        grid-row: 1 / 3;
        place-self: center;
        width: 0.5rem;
        height: 0.5rem;
        border-radius: 50%;
      }
      .menu button[aria-checked="true"]::before {
        background: var(--helio-accent);
      }
      small {
        font-size: 0.78rem;
        color: rgb(255 255 255 / 72%);
      }
      b {
        font-weight: 620;
      }
      p {
        margin: 0.2rem 0 0;
        padding: 0.5rem 0.6rem 0.35rem;
        border-top: 1px solid rgb(255 255 255 / 16%);
        font-size: 0.8rem;
        line-height: 1.4;
        color: rgb(255 255 255 / 85%);
      }
      @media (max-width: 30rem) {
        .open {
          padding: 0 0.45rem;
        }
        .menu {
          position: fixed;
          inset: auto 0.5rem 0.5rem;
          width: auto;
          max-width: none;
        }
      }
    `,
  ];

  @property({ attribute: false }) way: WayState | null = null;
  @state() private shown = false;
  @query(".open") private readonly opener!: HTMLButtonElement;

  constructor() {
    super();
    new OutsidePress(this, () => {
      this.shown = false;
    });
  }

  override render(): TemplateResult | typeof nothing {
    if (!this.way) return nothing;
    const name = NAMES[this.way.way];
    return html`<button
        class="open"
        aria-haspopup="menu"
        aria-expanded=${this.shown}
        aria-label=${`Way: ${name}. Choose`}
        title="Which way pictures come"
        @click=${this.toggle}
      >
        ${name}
      </button>
      ${this.shown ? this.menu(this.way) : nothing}`;
  }

  private menu(way: WayState): TemplateResult {
    const why = whyNot(way.reason);
    return html`<div class="menu" role="menu" aria-label="Way" @keydown=${this.key}>
      ${OPTIONS.filter((option) => option.choice === "auto" || way.can[option.choice]).map(
        (option) => html`<button
          role="menuitemradio"
          aria-checked=${option.choice === way.choice}
          @click=${() => this.choose(option.choice)}
        >
          <b>${option.name}</b><small>${option.text}</small>
        </button>`,
      )}
      ${why ? html`<p role="status">${why} Choose again to try once more.</p>` : nothing}
    </div>`;
  }

  private async toggle(): Promise<void> {
    this.shown = !this.shown;
    if (!this.shown) return;
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>('[aria-checked="true"]')?.focus();
  }

  private choose(choice: Choice): void {
    this.close();
    this.dispatchEvent(new CustomEvent("way-choice", { detail: choice }));
  }

  private close(): void {
    this.shown = false;
    this.opener.focus();
  }

  private readonly key = (event: KeyboardEvent): void => {
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
  };
}
