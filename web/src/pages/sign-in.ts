import { html, LitElement, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { entrance, entranceStyles } from "../account/entrance";
import { ApiError } from "../api/client";
import { explain, nextPath, session, WithSession } from "../api/session";
import { field, forms, wrong } from "../ui/forms";
import { shared } from "../ui/shared";

/** The page `/sign-in`. */
@customElement("helio-sign-in")
export class SignInPage extends LitElement {
  static override styles = [shared, forms, entranceStyles];

  private readonly session = new WithSession(this);
  @state() private trouble = "";
  @state() private busy = false;
  private readonly next = nextPath(location.search);

  override updated(): void {
    // Without an account there is nothing to sign in to.
    if (this.session.current?.setup) location.replace("/setup");
  }

  override render(): TemplateResult {
    const person = this.session.current?.account;
    return entrance(person && !this.busy ? this.already(person.display_name) : this.form());
  }

  private already(name: string): TemplateResult {
    return html`<h1>You are signed in</h1>
      <p class="lead">As ${name}.</p>
      <a class="press main wide" href=${this.next}>Go on</a>`;
  }

  private form(): TemplateResult {
    return html`<h1>Sign in</h1>
      <p class="lead">To go on air, and to watch what is not for everybody.</p>
      <form @submit=${this.submit}>
        <label
          >Name
          <input
            name="name"
            required
            maxlength="64"
            autocapitalize="none"
            autocomplete="username"
            spellcheck="false"
            autofocus
          />
        </label>
        <label
          >Password
          <input
            name="password"
            type="password"
            required
            maxlength="256"
            autocomplete="current-password"
            aria-invalid=${this.trouble !== ""}
          />
        </label>
        ${wrong(this.trouble)}
        <button class="press main wide" ?disabled=${this.busy}>
          ${this.busy ? "Signing in…" : "Sign in"}
        </button>
      </form>
      <p class="foot">No account, or the password forgotten? Whoever runs this server can help.</p>`;
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    this.busy = true;
    this.trouble = "";
    try {
      await session.signIn(field(form, "name"), field(form, "password"));
      location.assign(this.next);
    } catch (error) {
      this.busy = false;
      const refused = error instanceof ApiError && error.status === 401;
      this.trouble = refused ? "The name or the password is not right." : explain(error);
      await this.updateComplete;
      const password = this.renderRoot.querySelector<HTMLInputElement>("[name=password]");
      password?.select();
      password?.focus();
    }
  };
}
