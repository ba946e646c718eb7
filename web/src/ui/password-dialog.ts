import { html, LitElement, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { ApiError } from "../api/client";
import { explain, session } from "../api/session";
import { dialogs } from "./dialog";
import { field, forms, wrong } from "./forms";
import { shared } from "./shared";

/** As the server has it. */
export const MIN_PASSWORD = 10;

/**
 * Lets a person change the own password.
 *
 * @fires password-closed - it is done, or the person left
 */
@customElement("password-dialog")
export class PasswordDialog extends LitElement {
  static override styles = [shared, forms, dialogs];

  @property() name = "";
  @state() private trouble = "";
  @state() private busy = false;
  @state() private done = false;
  @query("dialog") private readonly dialog!: HTMLDialogElement;

  override firstUpdated(): void {
    this.dialog.showModal();
  }

  override render(): TemplateResult {
    return html`<dialog aria-labelledby="title" @close=${this.closed} @keydown=${this.key}>
      <h2 id="title">Change password</h2>
      ${this.done ? this.thanks() : this.form()}
    </dialog>`;
  }

  private form(): TemplateResult {
    return html`<form @submit=${this.submit}>
      <input name="username" value=${this.name} autocomplete="username" hidden />
      <label
        >Password until now
        <input name="old-password" type="password" autocomplete="current-password" required />
      </label>
      <label
        >New password
        <input
          name="password"
          type="password"
          autocomplete="new-password"
          minlength=${MIN_PASSWORD}
          maxlength="256"
          required
        />
        <span class="hint">At least ${MIN_PASSWORD} characters.</span>
      </label>
      ${wrong(this.trouble)}
      <div class="row">
        <button class="press main" ?disabled=${this.busy}>Change</button>
        <button class="press" type="button" @click=${() => this.dialog.close()}>Cancel</button>
      </div>
    </form>`;
  }

  private thanks(): TemplateResult {
    return html`<p class="good" role="status">
        Your password is changed. Other browsers that were signed in with the old one are signed out.
      </p>
      <p><button class="press" autofocus @click=${() => this.dialog.close()}>Close</button></p>`;
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    this.busy = true;
    this.trouble = "";
    try {
      await session.changePassword(field(form, "old-password"), field(form, "password"));
      this.done = true;
    } catch (error) {
      const refused = error instanceof ApiError && error.status === 401;
      this.trouble = refused ? "The password until now is not right." : explain(error);
    }
    this.busy = false;
  };

  /** Letters typed here are nobody's shortcuts. */
  private readonly key = (event: KeyboardEvent): void => event.stopPropagation();

  private readonly closed = (): void => {
    this.dispatchEvent(new CustomEvent("password-closed"));
  };
}
