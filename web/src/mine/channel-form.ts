import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { ApiError, type Channel, changeChannel, createChannel } from "../api/client";
import { explain } from "../api/session";
import { field, forms, wrong } from "../ui/forms";
import { shared } from "../ui/shared";
import { suggestName, valuesOf, WATCHERS, type Watchers, watchersOf } from "./access";

/**
 * Makes a channel, or changes one that is given.
 *
 * @fires channel-saved - `detail` is the channel
 * @fires channel-left - nothing is to be saved
 */
@customElement("channel-form")
export class ChannelForm extends LitElement {
  static override styles = [
    shared,
    forms,
    css`
      :host {
        display: block;
      }
      .two {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr));
        gap: 1rem;
      }
      legend {
        margin-bottom: 0.2rem;
      }
    `,
  ];

  /** The channel to change; null makes one. */
  @property({ attribute: false }) channel: Channel | null = null;
  /** Whether guests may chat, where it is known. */
  @property({ type: Boolean }) guests = true;
  /** Whether there is something to go back to. */
  @property({ type: Boolean }) leavable = true;
  @state() private trouble = "";
  @state() private wrongField = "";
  @state() private busy = false;
  @state() private name = "";
  /** The person wrote a name: no more suggestions. */
  private named = false;

  override render(): TemplateResult {
    const { channel } = this;
    return html`<form @submit=${this.submit}>
      <div class="two">
        <label
          >Title
          <input
            name="title"
            maxlength="200"
            autocomplete="off"
            ?required=${!channel}
            .value=${channel?.title === channel?.name ? "" : (channel?.title ?? "")}
            placeholder=${channel ? channel.name : "Sunday concert"}
            @input=${this.titled}
          />
          <span class="hint">What people read in the list.</span>
        </label>
        ${channel ? nothing : this.nameField()}
      </div>
      ${this.watchers()}
      <label class="tick"
        ><input type="checkbox" name="guests" .checked=${this.guests} /><span
          >Guests may chat<span class="hint"
            >People without an account write under a name they choose.</span
          ></span
        ></label
      >
      ${wrong(this.trouble)}
      <div class="row">
        <button class="press main" ?disabled=${this.busy}>
          ${channel ? "Save" : "Make the channel"}
        </button>
        ${
          this.leavable
            ? html`<button class="press" type="button" @click=${this.left}>Cancel</button>`
            : nothing
        }
      </div>
    </form>`;
  }

  private nameField(): TemplateResult {
    return html`<label
      >Name in the address
      <input
        name="name"
        required
        maxlength="64"
        pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*"
        title="Letters, digits, dots, hyphens and underscores"
        autocapitalize="none"
        autocomplete="off"
        spellcheck="false"
        aria-invalid=${this.wrongField === "name"}
        .value=${this.name}
        @input=${(event: InputEvent) => {
          this.name = (event.target as HTMLInputElement).value;
          this.named = this.name !== "";
        }}
      />
      <span class="hint">${location.host}/watch/${this.name || "…"}</span>
    </label>`;
  }

  private watchers(): TemplateResult {
    const chosen = this.channel ? watchersOf(this.channel) : "everyone";
    return html`<fieldset>
      <legend>Who may watch</legend>
      ${WATCHERS.map(
        ({ value, name, text }) => html`<label class="tick"
          ><input type="radio" name="watchers" value=${value} .checked=${value === chosen} /><span
            >${name}<span class="hint">${text}</span></span
          ></label
        >`,
      )}
    </fieldset>`;
  }

  private readonly titled = (event: InputEvent): void => {
    if (!this.named) this.name = suggestName((event.target as HTMLInputElement).value);
  };

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const values = {
      title: field(form, "title"),
      guests_chat: new FormData(form).has("guests"),
      ...valuesOf(field(form, "watchers") as Watchers),
    };
    this.busy = true;
    this.trouble = "";
    this.wrongField = "";
    try {
      const saved = this.channel
        ? await changeChannel(this.channel.name, values)
        : await createChannel({ name: field(form, "name"), ...values });
      this.dispatchEvent(new CustomEvent("channel-saved", { detail: saved }));
    } catch (error) {
      const taken = error instanceof ApiError && error.status === 409;
      this.wrongField = taken ? "name" : "";
      this.trouble = taken
        ? "Another channel has this name already. Choose another name."
        : explain(error);
    }
    this.busy = false;
  };

  private readonly left = (): void => {
    this.dispatchEvent(new CustomEvent("channel-left"));
  };
}
