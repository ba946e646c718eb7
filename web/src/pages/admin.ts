import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import "../admin/account-list";
import "../admin/audit-log";
import "../admin/server-figures";
import { signInPath, WithSession } from "../api/session";
import { sayStyles } from "../ui/cards";
import { forms } from "../ui/forms";
import { pageHeading } from "../ui/headings";
import { ridge, shared } from "../ui/shared";
import "../ui/site-header";

/** The page `/admin`. */
@customElement("helio-admin")
export class AdminPage extends LitElement {
  static override styles = [
    shared,
    forms,
    pageHeading,
    sayStyles,
    css`
      :host {
        display: block;
        padding-bottom: 4rem;
      }
      h1 {
        margin: 1.2rem 0;
      }
      h2 {
        margin: 0 0 1rem;
        font-size: 1.15rem;
      }
      .more {
        margin: 1.2rem 0 0;
      }
      section + section {
        margin-top: 1.1rem;
      }
    `,
  ];

  private readonly session = new WithSession(this);

  override render(): TemplateResult {
    return html`<site-header></site-header>
      <main class="frame">
        <h1>Administration</h1>
        ${this.content()}
      </main>`;
  }

  private content(): TemplateResult {
    const { current } = this.session;
    if (!current) return html`<p role="status">Asking the server…</p>`;
    if (!current.administrator) return this.stranger(current.account !== null, current.setup);
    return html`
      <section class="card">
        <h2>The server now</h2>
        <server-figures></server-figures>
        <p class="more"><a href="/cluster">The cluster: units, channels, logs</a></p>
        <p class="more"><a href="/admin/contents">Titles on demand, and the servers that hold them</a></p>
        <p class="more"><a href="/admin/storage">Storage: volumes, disks, and titles on them</a></p>
        <p class="more"><a href="/admin/reports">Reports: what was asked for and played</a></p>
      </section>
      <section class="card">
        <h2>Accounts</h2>
        <account-list></account-list>
      </section>
      <section class="card">
        <h2>What was done</h2>
        <audit-log></audit-log>
      </section>
    `;
  }

  private stranger(signedIn: boolean, setup: boolean): TemplateResult {
    const words = setup
      ? "This server has no accounts yet. With the administrator's key you make the first one."
      : signedIn
        ? "This page is for administrators. Your account is not one."
        : "This page is for administrators. Sign in as one to go on.";
    const [href, name] = setup
      ? ["/setup", "Set up the server"]
      : signedIn
        ? ["/", "See what is on air"]
        : [signInPath("/admin"), "Sign in"];
    return html`<section class="card say">
      ${ridge(false)}
      <p class="lead">${words}</p>
      <a class="press main" href=${href}>${name}</a>
    </section>`;
  }
}
