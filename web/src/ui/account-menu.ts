/** Who is signed in, and what that person may do; on every page. */

import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import {
  broadcasts,
  oversees,
  type Person,
  session,
  signInPath,
  WithSession,
} from "../api/session";
import { OutsidePress } from "./outside-press";
import "./password-dialog";
import { shared } from "./shared";

const ROLES = {
  viewer: "Viewer",
  broadcaster: "Broadcaster",
  administrator: "Administrator",
} as const;

@customElement("account-menu")
export class AccountMenu extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        position: relative;
        flex: none;
      }
      .in {
        display: inline-flex;
        align-items: center;
        min-height: 2.6rem;
        padding: 0 0.4rem;
        font-weight: 600;
        text-decoration: none;
        white-space: nowrap;
      }
      .in:hover {
        text-decoration: underline;
        text-underline-offset: 0.25em;
      }
      .who {
        display: inline-flex;
        align-items: center;
        gap: 0.55rem;
        max-width: 14rem;
        min-height: 2.6rem;
        padding: 0.2rem 0.75rem 0.2rem 0.3rem;
        border: 1px solid var(--line);
        border-radius: 99px;
        background: var(--surface);
        font-weight: 600;
      }
      .who:hover {
        border-color: var(--sun-edge);
      }
      .who:focus-visible {
        border-radius: 99px;
      }
      .who span {
        overflow: hidden;
        text-overflow: ellipsis;
        white-space: nowrap;
      }
      .face {
        flex: none;
        display: grid;
        place-items: center;
        width: 2rem;
        height: 2rem;
        border-radius: 50%;
        background: var(--sun);
        color: var(--on-sun);
        font-size: 0.9rem;
        font-weight: 680;
      }
      .menu {
        position: absolute;
        z-index: 5;
        right: 0;
        top: calc(100% + 0.4rem);
        width: 15rem;
        max-width: calc(100vw - 2rem);
        padding: 0.4rem;
        border: 1px solid var(--line);
        border-radius: 12px;
        background: var(--surface);
        box-shadow: var(--shadow);
      }
      .menu p {
        margin: 0;
        padding: 0.45rem 0.7rem 0.6rem;
        border-bottom: 1px solid var(--line);
        margin-bottom: 0.35rem;
        line-height: 1.35;
        overflow-wrap: anywhere;
      }
      .menu small {
        display: block;
        color: var(--ink-soft);
      }
      .menu a,
      .menu button {
        display: block;
        width: 100%;
        padding: 0.55rem 0.7rem;
        border: 0;
        border-radius: 8px;
        background: none;
        font: inherit;
        text-align: left;
        text-decoration: none;
      }
      .menu a:hover,
      .menu button:hover {
        background: var(--sunk);
      }
      @media (max-width: 34rem) {
        .who {
          padding: 0.2rem;
        }
        .who span:not(.face) {
          display: none;
        }
      }
    `,
  ];

  private readonly session = new WithSession(this);
  @state() private shown = false;
  @state() private asksPassword = false;

  constructor() {
    super();
    new OutsidePress(this, () => {
      this.shown = false;
    });
  }

  override render(): TemplateResult | typeof nothing {
    const { current } = this.session;
    if (!current) return nothing;
    if (!current.account) {
      const here = location.pathname;
      if (here === "/sign-in" || here === "/setup") return nothing;
      return current.setup
        ? html`<a class="in" href="/setup">Set up</a>`
        : html`<a class="in" href=${signInPath(here + location.search)}>Sign in</a>`;
    }
    return this.signedIn(current.account);
  }

  private signedIn(person: Person): TemplateResult {
    const name = person.display_name || person.name;
    return html`<button
        class="who"
        aria-expanded=${this.shown}
        aria-label=${`Account: ${name}`}
        @click=${this.toggle}
      >
        <span class="face" aria-hidden="true">${[...name][0]?.toUpperCase() ?? "?"}</span>
        <span>${name}</span>
      </button>
      ${this.shown ? this.menu(person, name) : nothing}
      ${
        this.asksPassword
          ? html`<password-dialog
              name=${person.name}
              @password-closed=${() => {
                this.asksPassword = false;
              }}
            ></password-dialog>`
          : nothing
      }`;
  }

  private menu(person: Person, name: string): TemplateResult {
    const { current } = this.session;
    return html`<div class="menu" @keydown=${this.key}>
      <p>
        <strong>${name}</strong>
        <small>${name === person.name ? "" : `${person.name}, `}${ROLES[person.role]}</small>
      </p>
      ${broadcasts(current) ? html`<a href="/mine">My channels</a>` : nothing}
      ${current?.administrator ? html`<a href="/admin">Administration</a><a href="/admin/contents">Titles and servers</a><a href="/admin/storage">Storage</a>` : nothing}
      ${oversees(current) ? html`<a href="/cluster">Cluster</a>` : nothing}
      <button @click=${this.askPassword}>Change password</button>
      <button @click=${this.signOut}>Sign out</button>
    </div>`;
  }

  private async toggle(): Promise<void> {
    this.shown = !this.shown;
    if (!this.shown) return;
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>(".menu a, .menu button")?.focus();
  }

  private askPassword(): void {
    this.shown = false;
    this.asksPassword = true;
  }

  private async signOut(): Promise<void> {
    this.shown = false;
    try {
      await session.signOut();
    } catch {
      // The server is away: the page says so elsewhere, and the session is still there.
      return;
    }
    // What was seen as an owner is nobody's business any more.
    location.assign("/");
  }

  private readonly key = (event: KeyboardEvent): void => {
    if (event.key !== "Escape") return;
    this.shown = false;
    this.renderRoot.querySelector<HTMLElement>(".who")?.focus();
    event.stopPropagation();
  };
}
