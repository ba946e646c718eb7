import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import "./account-menu";
import { brand, shared } from "./shared";

/** The head of every page: where one is, the way on air, and the account. */
@customElement("site-header")
export class SiteHeader extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: block;
        position: relative;
        z-index: 4;
      }
      nav {
        display: flex;
        align-items: center;
        gap: 0.9rem;
        margin-left: auto;
      }
      .go {
        padding: 0.5rem 1.05rem;
        border-radius: 10px;
        background: var(--sun);
        color: var(--on-sun);
        font-weight: 620;
        text-decoration: none;
        white-space: nowrap;
      }
      @media (max-width: 24rem) {
        nav {
          gap: 0.5rem;
        }
        .go {
          padding-inline: 0.8rem;
        }
      }
    `,
  ];

  /** Whether the page is the way on air itself. */
  @property({ type: Boolean }) bare = false;

  override render(): TemplateResult {
    return html`<header class="frame masthead">
      ${brand()}
      <nav aria-label="Site">
        ${this.bare ? nothing : html`<a class="go" href="/live">Go on air</a>`}
        <account-menu></account-menu>
      </nav>
    </header>`;
  }
}
