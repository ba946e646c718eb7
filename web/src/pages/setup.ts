import { html, LitElement, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { entrance, entranceStyles } from "../account/entrance";
import { ApiError } from "../api/client";
import { explain, session, WithSession } from "../api/session";
import { field, forms, wrong } from "../ui/forms";
import { MIN_PASSWORD } from "../ui/password-dialog";
import { shared } from "../ui/shared";

/** What a name to sign in with may be, as the server has it. */
export const ACCOUNT_NAME = "[A-Za-z0-9][A-Za-z0-9._\\-]{1,31}";

/** The page `/setup`: the first administrator's account. */
@customElement("helio-setup")
export class SetupPage extends LitElement {
  static override styles = [shared, forms, entranceStyles];

  private readonly session = new WithSession(this);
  @state() private trouble = "";
  @state() private keyWrong = false;
  @state() private busy = false;

  override render(): TemplateResult {
    const { current } = this.session;
    if (!current) return entrance(html`<p role="status">Asking the server…</p>`);
    if (!current.setup && !this.busy) {
      return entrance(html`<h1>This server is set up</h1>
        <p class="lead">It has an administrator already, who makes further accounts.</p>
        <a class="press main wide" href=${current.account ? "/" : "/sign-in"}
          >${current.account ? "All channels" : "Sign in"}</a
        >`);
    }
    return entrance(this.form());
  }

  private form(): TemplateResult {
    return html`<h1>Set up this server</h1>
      <p class="lead">
        You make the first account here. It is the administrator's: it makes channels and further accounts.
      </p>
      <form @submit=${this.submit}>
        <label
          >Administrator's key
          <input
            name="key"
            type="password"
            required
            autocomplete="off"
            aria-invalid=${this.keyWrong}
            autofocus
          />
          <span class="hint"
            >The server printed it when it first started; it is in the file
            <code>administrator.key</code> of its state directory.</span
          >
        </label>
        <label
          >Name to sign in with
          <input
            name="name"
            required
            pattern=${ACCOUNT_NAME}
            title="2 to 32 letters a–z, digits, dots, hyphens or underscores"
            maxlength="32"
            autocapitalize="none"
            autocomplete="username"
            spellcheck="false"
          />
        </label>
        <label
          >Name that others see
          <input name="display_name" maxlength="32" autocomplete="name" placeholder="The same" />
        </label>
        <label
          >Password
          <input
            name="password"
            type="password"
            required
            minlength=${MIN_PASSWORD}
            maxlength="256"
            autocomplete="new-password"
          />
          <span class="hint">At least ${MIN_PASSWORD} characters. Three or four words do well.</span>
        </label>
        ${wrong(this.trouble)}
        <button class="press main wide" ?disabled=${this.busy}>Make the account</button>
      </form>`;
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const shown = field(form, "display_name");
    this.busy = true;
    this.trouble = "";
    this.keyWrong = false;
    try {
      await session.setUp({
        key: field(form, "key"),
        name: field(form, "name"),
        password: field(form, "password"),
        ...(shown ? { display_name: shown } : {}),
      });
      location.assign("/mine");
    } catch (error) {
      this.busy = false;
      this.keyWrong = error instanceof ApiError && error.status === 401;
      this.trouble = this.keyWrong ? "This is not the administrator's key." : explain(error);
      if (!this.keyWrong) return;
      await this.updateComplete;
      this.renderRoot.querySelector<HTMLInputElement>("[name=key]")?.focus();
    }
  };
}
