import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { type Channel, listChannels } from "../api/client";
import { broadcasts, session, signInPath, WithSession } from "../api/session";
import { field, forms } from "../ui/forms";
import { shared, stateChip } from "../ui/shared";

/** What a channel may be called, as the server has it. */
export const CHANNEL_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** The page `/live` without a name: which channel to go on air on. */
@customElement("live-choice")
export class LiveChoice extends LitElement {
  static override styles = [
    shared,
    forms,
    css`
      :host {
        display: grid;
        gap: 1.1rem;
        max-width: 38rem;
      }
      h2 {
        margin: 0 0 0.9rem;
        font-size: 1.1rem;
      }
      ul {
        display: grid;
        gap: 0.5rem;
        margin: 0 0 1rem;
        padding: 0;
        list-style: none;
      }
      li a {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        justify-content: space-between;
        gap: 0.3rem 1rem;
        padding: 0.8rem 1rem;
        border: 1px solid var(--line);
        border-radius: 12px;
        text-decoration: none;
        overflow-wrap: anywhere;
      }
      li a:hover {
        border-color: var(--sun-edge);
      }
      form {
        grid-template-columns: minmax(0, 1fr) auto;
        align-items: end;
      }
      p {
        margin: 0.8rem 0 0;
        color: var(--ink-soft);
        font-size: 0.9rem;
      }
    `,
  ];

  private readonly session = new WithSession(this);
  @state() private mine: readonly Channel[] | null = null;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.load();
  }

  override render(): TemplateResult | typeof nothing {
    const { current } = this.session;
    if (!current) return nothing;
    const own = broadcasts(current) && current.account !== null;
    return html`${own ? this.own() : nothing}
      <section class="card">
        <h2>${own ? "Another channel" : "Which channel?"}</h2>
        <form @submit=${this.named}>
          <label
            >Name of the channel
            <input
              name="channel"
              required
              autocapitalize="none"
              autocomplete="off"
              spellcheck="false"
              maxlength="64"
              pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*"
              title="Letters, digits, dots, hyphens and underscores"
              ?autofocus=${!own}
            />
          </label>
          <button class="press ${own ? "" : "main"}">Go on</button>
        </form>
        <p>
          ${own ? "Its owner gave you the key for it." : "Whoever runs the server makes channels and knows their keys."}
          ${
            !current.account && !current.setup
              ? html`Have you an account? <a href=${signInPath("/live")}>Sign in</a>, and you need no key.`
              : nothing
          }
        </p>
      </section>`;
  }

  private own(): TemplateResult {
    const mine = this.mine ?? [];
    return html`<section class="card">
      <h2>Your channels</h2>
      ${
        mine.length
          ? html`<ul>
              ${mine.map(
                (channel) => html`<li>
                  <a href="/live/${channel.name}"
                    ><strong>${channel.title || channel.name}</strong>${stateChip(channel.state)}</a
                  >
                </li>`,
              )}
            </ul>`
          : nothing
      }
      <a class="press ${this.mine && !mine.length ? "main" : ""}" href="/mine"
        >${mine.length ? "Make or change channels" : "Make your first channel"}</a
      >
    </section>`;
  }

  private async load(): Promise<void> {
    if (!broadcasts(await session.load())) return;
    this.mine = (await listChannels().catch(() => [])).filter((channel) => channel.mine);
  }

  private readonly named = (event: SubmitEvent): void => {
    event.preventDefault();
    const name = field(event.target as HTMLFormElement, "channel");
    if (CHANNEL_NAME.test(name)) location.assign(`/live/${name}`);
  };
}
