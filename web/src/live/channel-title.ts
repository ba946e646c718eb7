import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { type Channel, changeChannel } from "../api/client";
import { explain } from "../api/session";
import { field, forms, wrong } from "../ui/forms";
import { shared } from "../ui/shared";

/** The heading of the page that goes on air. */
export const titleStyles = css`
  h1 {
    margin: 0;
    font-size: clamp(1.5rem, 4.5vw, 2rem);
    font-weight: 670;
    letter-spacing: -0.022em;
    line-height: 1.2;
    overflow-wrap: anywhere;
  }
`;

/**
 * A channel's title, which its owner may change.
 *
 * @fires channel-saved - `detail` is the channel
 */
@customElement("channel-title")
export class ChannelTitle extends LitElement {
  static override styles = [
    shared,
    forms,
    titleStyles,
    css`
      :host {
        display: block;
        min-width: 0;
      }
      .shown {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.2rem 0.8rem;
      }
      form {
        display: flex;
        flex-wrap: wrap;
        gap: 0.6rem;
      }
      form input:not([type="checkbox"]) {
        width: 24rem;
        max-width: 100%;
        margin: 0;
      }
      .edit {
        padding: 0.2rem 0.3rem;
        border: 0;
        background: none;
        font-size: 0.9rem;
        font-weight: 600;
        text-decoration: underline;
        text-underline-offset: 0.2em;
        color: var(--ink-soft);
      }
    `,
  ];

  @property() name = "";
  @property() text = "";
  /** Whether whoever looks may change it. */
  @property({ type: Boolean }) editable = false;
  @state() private editing = false;
  @state() private busy = false;
  @state() private trouble = "";

  override render(): TemplateResult {
    if (!this.editing || !this.editable) {
      return html`<div class="shown">
        <h1>${this.text || this.name}</h1>
        ${
          this.editable
            ? html`<button class="edit" @click=${this.edit}>Change title</button>`
            : nothing
        }
      </div>`;
    }
    return html`<form @submit=${this.save} @keydown=${this.key}>
      <input
        name="title"
        maxlength="200"
        autocomplete="off"
        aria-label="Title"
        placeholder=${this.name}
        .value=${this.text === this.name ? "" : this.text}
      />
      <button class="press main" ?disabled=${this.busy}>Save</button>
      <button class="press" type="button" @click=${this.leave}>Cancel</button>
      ${wrong(this.trouble)}
    </form>`;
  }

  private readonly edit = async (): Promise<void> => {
    this.editing = true;
    await this.updateComplete;
    this.renderRoot.querySelector("input")?.select();
  };

  private readonly leave = (): void => {
    this.editing = false;
    this.trouble = "";
  };

  private readonly key = (event: KeyboardEvent): void => {
    if (event.key === "Escape") this.leave();
  };

  private readonly save = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    this.busy = true;
    this.trouble = "";
    try {
      const title = field(event.target as HTMLFormElement, "title");
      const channel: Channel = await changeChannel(this.name, { title });
      this.leave();
      this.dispatchEvent(new CustomEvent("channel-saved", { detail: channel }));
    } catch (error) {
      this.trouble = explain(error);
    }
    this.busy = false;
  };
}
