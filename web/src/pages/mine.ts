import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { type Channel, listChannels } from "../api/client";
import { Poll } from "../api/poll";
import { broadcasts, signInPath, WithSession } from "../api/session";
import "../mine/channel-card";
import "../mine/channel-form";
import { sayStyles } from "../ui/cards";
import { forms } from "../ui/forms";
import { pageHeading } from "../ui/headings";
import { ridge, shared } from "../ui/shared";
import "../ui/site-header";

/** States and viewers change by themselves; the rest only here. */
const POLL_MS = 4_000;

/** The page `/mine`: one's own channels. */
@customElement("helio-mine")
export class MinePage extends LitElement {
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
      .bar {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        justify-content: space-between;
        gap: 0.6rem 1rem;
        margin: 1.2rem 0 1.2rem;
      }
      h1 {
        margin: 0;
      }
      h2 {
        margin: 0 0 1rem;
        font-size: 1.15rem;
      }
      .list {
        display: grid;
        gap: 1.1rem;
        margin: 0;
        padding: 0;
        list-style: none;
      }
      .new {
        margin-bottom: 1.1rem;
      }
    `,
  ];

  private readonly session = new WithSession(this);
  @state() private channels: readonly Channel[] | null = null;
  @state() private unreachable = false;
  @state() private making = false;
  /** Just made: its first key is shown. */
  @state() private fresh: { readonly name: string; readonly key: string } | null = null;
  private readonly poll = new Poll(
    listChannels,
    (channels) => {
      this.unreachable = channels === null;
      if (channels) this.channels = channels.filter((channel) => channel.mine);
    },
    POLL_MS,
  );

  override connectedCallback(): void {
    super.connectedCallback();
    this.poll.start();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.poll.stop();
  }

  override render(): TemplateResult {
    return html`<site-header></site-header>
      <main class="frame">${this.content()}</main>`;
  }

  private content(): TemplateResult {
    const { current } = this.session;
    if (!current || (!this.channels && !this.unreachable)) {
      return html`${this.head()}
        <p role="status">Looking for your channels…</p>`;
    }
    if (!current.account) return html`${this.head()}${this.stranger(current.setup)}`;
    if (!broadcasts(current)) return html`${this.head()}${this.viewer()}`;
    const channels = this.channels ?? [];
    // Who has none begins with the form.
    const making = this.making || (channels.length === 0 && !this.unreachable);
    return html`${this.head(!making)} ${this.banner()}
      ${making ? this.form(channels.length > 0) : nothing}
      <ul class="list">
        ${repeat(
          channels,
          (channel) => channel.name,
          (channel) =>
            html`<li>
              <channel-card
                .channel=${channel}
                .panel=${this.fresh?.name === channel.name ? "keys" : ""}
                .fresh=${this.fresh?.name === channel.name ? this.fresh.key : ""}
                @channel-saved=${this.changed}
                @channel-gone=${this.changed}
              ></channel-card>
            </li>`,
        )}
      </ul>`;
  }

  private head(button = false): TemplateResult {
    return html`<div class="bar">
      <h1>My channels</h1>
      ${
        button
          ? html`<button
              class="press main"
              @click=${() => {
                this.making = true;
              }}
            >
              New channel
            </button>`
          : nothing
      }
    </div>`;
  }

  private banner(): TemplateResult | typeof nothing {
    if (!this.unreachable) return nothing;
    return html`<div class="banner" role="alert">
      <div><strong>The server does not answer.</strong> This page keeps trying.</div>
    </div>`;
  }

  private stranger(setup: boolean): TemplateResult {
    return html`<section class="card say">
      ${ridge(true)}
      <p class="lead">
        ${
          setup
            ? "This server has no accounts yet. Whoever runs it makes the first one."
            : "Channels belong to people: sign in to see yours and to make new ones."
        }
      </p>
      <a class="press main" href=${setup ? "/setup" : signInPath("/mine")}
        >${setup ? "Set up the server" : "Sign in"}</a
      >
    </section>`;
  }

  private viewer(): TemplateResult {
    return html`<section class="card say">
      ${ridge(false)}
      <p class="lead">
        Your account watches and chats. To have channels of your own, ask whoever runs this server to make
        you a broadcaster.
      </p>
      <a class="press" href="/">See what is on air</a>
    </section>`;
  }

  private form(leavable: boolean): TemplateResult {
    return html`<section class="card new">
      <h2>${leavable ? "A new channel" : "Your first channel"}</h2>
      <channel-form
        .leavable=${leavable}
        @channel-left=${() => {
          this.making = false;
        }}
        @channel-saved=${({ detail }: CustomEvent<{ name: string; key: string }>) => {
          this.making = false;
          this.fresh = { name: detail.name, key: detail.key };
          this.changed();
        }}
      ></channel-form>
    </section>`;
  }

  private readonly changed = (): void => {
    void this.poll.now();
  };
}
