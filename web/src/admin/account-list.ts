import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import {
  type Account,
  changeAccount,
  createAccount,
  deleteAccount,
  listAccounts,
} from "../api/admin";
import { ApiError } from "../api/client";
import { explain, type Role, session } from "../api/session";
import { day } from "../ui/format";
import { field, forms, wrong } from "../ui/forms";
import { MIN_PASSWORD } from "../ui/password-dialog";
import { shared } from "../ui/shared";

const ROLES: readonly { readonly value: Role; readonly name: string; readonly may: string }[] = [
  { value: "viewer", name: "Viewer", may: "watches and chats" },
  { value: "broadcaster", name: "Broadcaster", may: "has channels" },
  { value: "administrator", name: "Administrator", may: "may do everything" },
];

/** What is open below an account. */
type Opened = "password" | "domains" | "delete";

/** Accounts: who may sign in, and as what. */
@customElement("account-list")
export class AccountList extends LitElement {
  static override styles = [
    shared,
    forms,
    css`
      :host {
        display: grid;
        gap: 1rem;
      }
      ul {
        margin: 0;
        padding: 0;
        list-style: none;
      }
      li {
        padding: 0.8rem 0;
        border-top: 1px solid var(--line);
      }
      li:first-child {
        border-top: 0;
        padding-top: 0;
      }
      .one {
        display: grid;
        grid-template-columns: minmax(0, 1fr) 11.5rem 26.5rem;
        gap: 0.6rem 1rem;
        align-items: center;
      }
      .one strong {
        overflow-wrap: anywhere;
      }
      .one select {
        margin: 0;
      }
      small {
        display: block;
        color: var(--ink-soft);
      }
      .off strong {
        text-decoration: line-through;
      }
      .asks,
      .one + form {
        margin-top: 0.8rem;
      }
      .two {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 14rem), 1fr));
        gap: 1rem;
      }
      .add {
        padding: 1.1rem;
        border: 1px solid var(--line);
        border-radius: 12px;
      }
      h3 {
        margin: 0;
        font-size: 1rem;
      }
      @media (max-width: 56rem) {
        .one {
          grid-template-columns: minmax(0, 1fr);
        }
      }
    `,
  ];

  @state() private accounts: readonly Account[] | null = null;
  @state() private trouble = "";
  @state() private said = "";
  /** Which account has something open below it, and what. */
  @state() private open: { readonly name: string; readonly what: Opened } | null = null;
  @state() private adding = false;
  @state() private busy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.load();
  }

  override updated(): void {
    // A list shows what is, also after a change that was refused.
    for (const select of this.renderRoot.querySelectorAll<HTMLSelectElement>(
      "select[data-value]",
    )) {
      select.value = select.dataset.value ?? "";
    }
  }

  override render(): TemplateResult {
    if (!this.accounts) {
      return this.trouble ? html`${wrong(this.trouble)}` : html`<p role="status">Reading…</p>`;
    }
    return html`
      ${wrong(this.trouble)}
      ${this.said ? html`<p class="good" role="status">${this.said}</p>` : nothing}
      <ul>
        ${this.accounts.map((account) => html`<li>${this.row(account)}</li>`)}
      </ul>
      ${
        this.adding
          ? this.form()
          : html`<div>
              <button
                class="press"
                @click=${() => {
                  this.adding = true;
                  this.said = "";
                }}
              >
                Add an account
              </button>
            </div>`
      }
    `;
  }

  private row(account: Account): TemplateResult {
    const { name, display_name: shown, role, disabled } = account;
    const self = session.current?.account?.name === name;
    const open = this.open?.name === name ? this.open.what : null;
    return html`<div class="one ${disabled ? "off" : ""}">
        <span
          ><strong>${shown || name}</strong
          ><small>${name}, since ${day(account.created)}${
            disabled ? `, disabled ${day(disabled)}` : ""
          }${account.domains.length ? `, administers ${account.domains.join(", ")}` : ""}${self ? ", you" : ""}</small></span
        >
        <select
          aria-label=${`Role of ${name}`}
          data-value=${role}
          ?disabled=${self || this.busy}
          @change=${(event: Event) =>
            void this.change(name, { role: (event.target as HTMLSelectElement).value as Role })}
        >
          ${ROLES.map(({ value, name: role }) => html`<option value=${value}>${role}</option>`)}
        </select>
        <span class="row">
          <button
            class="press small"
            aria-expanded=${open === "password"}
            @click=${() => this.toggle(name, "password")}
          >
            New password
          </button>
          <button
            class="press small"
            aria-expanded=${open === "domains"}
            @click=${() => this.toggle(name, "domains")}
          >
            Domains
          </button>
          ${self ? nothing : this.others(account, open === "delete")}
        </span>
      </div>
      ${open === "password" ? this.passwordForm(name) : nothing}
      ${open === "domains" ? this.domainsForm(account) : nothing}
      ${open === "delete" ? this.question(name) : nothing}`;
  }

  /** What nobody does to the own account. */
  private others({ name, disabled }: Account, asked: boolean): TemplateResult {
    return html`<button
        class="press small"
        ?disabled=${this.busy}
        @click=${() => void this.change(name, { disabled: !disabled })}
      >
        ${disabled ? "Enable" : "Disable"}
      </button>
      <button
        class="press small danger"
        aria-expanded=${asked}
        @click=${() => this.toggle(name, "delete")}
      >
        Delete
      </button>`;
  }

  private passwordForm(name: string): TemplateResult {
    return html`<form
      @submit=${(event: SubmitEvent) => {
        event.preventDefault();
        const password = field(event.target as HTMLFormElement, "password");
        void this.change(name, { password }, `${name} has a new password. Tell it to nobody else.`);
      }}
    >
      <label
        >New password of ${name}
        <input
          name="password"
          type="text"
          required
          minlength=${MIN_PASSWORD}
          maxlength="256"
          autocomplete="off"
          spellcheck="false"
        />
        <span class="hint">At least ${MIN_PASSWORD} characters. It signs ${name} out everywhere.</span>
      </label>
      <div class="row">
        <button class="press small main" ?disabled=${this.busy}>Set it</button>
        <button class="press small" type="button" @click=${this.close}>Cancel</button>
      </div>
    </form>`;
  }

  private domainsForm({ name, domains }: Account): TemplateResult {
    return html`<form
      @submit=${(event: SubmitEvent) => {
        event.preventDefault();
        const given = field(event.target as HTMLFormElement, "domains");
        void this.change(name, { domains: given.split(/[\s,]+/).filter(Boolean) });
      }}
    >
      <label
        >Domains whose units ${name} administers
        <input
          name="domains"
          .value=${domains.join(" ")}
          pattern="[a-z0-9\\-,\\s]*"
          maxlength="660"
          autocapitalize="none"
          autocomplete="off"
          spellcheck="false"
        />
        <span class="hint"
          >As units are set (cluster.domain), with spaces between them. Empty: none.</span
        >
      </label>
      <div class="row">
        <button class="press small main" ?disabled=${this.busy}>Set them</button>
        <button class="press small" type="button" @click=${this.close}>Cancel</button>
      </div>
    </form>`;
  }

  private question(name: string): TemplateResult {
    return html`<div class="asks" role="alertdialog" aria-label=${`Delete ${name}`}>
      <p>Delete the account ${name}? Accounts that have channels cannot be deleted: disable them.</p>
      <div class="row">
        <button class="press small danger" ?disabled=${this.busy} @click=${() => void this.deleteNow(name)}>
          Delete
        </button>
        <button class="press small" @click=${this.close}>Keep</button>
      </div>
    </div>`;
  }

  private form(): TemplateResult {
    return html`<form class="add" @submit=${this.add}>
      <h3>A new account</h3>
      <div class="two">
        <label
          >Name to sign in with
          <input
            name="name"
            required
            pattern="[A-Za-z0-9][A-Za-z0-9._\\-]{1,31}"
            title="2 to 32 letters a–z, digits, dots, hyphens or underscores"
            maxlength="32"
            autocapitalize="none"
            autocomplete="off"
            spellcheck="false"
          />
        </label>
        <label
          >Name that others see
          <input name="display_name" maxlength="32" autocomplete="off" placeholder="The same" />
        </label>
        <label
          >Password
          <input
            name="password"
            type="text"
            required
            minlength=${MIN_PASSWORD}
            maxlength="256"
            autocomplete="off"
            spellcheck="false"
          />
          <span class="hint">At least ${MIN_PASSWORD} characters; the person can change it.</span>
        </label>
        <label
          >Role
          <select name="role">
            ${ROLES.map(
              ({ value, name, may }) =>
                html`<option value=${value} ?selected=${value === "broadcaster"}>
                  ${name}: ${may}
                </option>`,
            )}
          </select>
        </label>
      </div>
      <div class="row">
        <button class="press main" ?disabled=${this.busy}>Add</button>
        <button
          class="press"
          type="button"
          @click=${() => {
            this.adding = false;
            this.trouble = "";
          }}
        >
          Cancel
        </button>
      </div>
    </form>`;
  }

  private toggle(name: string, what: Opened): void {
    const same = this.open?.name === name && this.open.what === what;
    this.open = same ? null : { name, what };
    this.said = "";
  }

  private readonly close = (): void => {
    this.open = null;
  };

  private async load(): Promise<void> {
    try {
      this.accounts = await listAccounts();
    } catch (error) {
      this.trouble = explain(error);
    }
  }

  /** Do it, read the list again, and say what became of it. */
  private async attempt(act: () => Promise<unknown>, said: string): Promise<boolean> {
    this.busy = true;
    this.trouble = "";
    this.said = "";
    try {
      await act();
      this.open = null;
      this.said = said;
      await this.load();
      return true;
    } catch (error) {
      const taken = error instanceof ApiError && error.status === 409;
      this.trouble = taken && this.adding ? "This name is taken already." : explain(error);
      return false;
    } finally {
      this.busy = false;
    }
  }

  private async change(
    name: string,
    values: Parameters<typeof changeAccount>[1],
    said = "",
  ): Promise<void> {
    await this.attempt(() => changeAccount(name, values), said);
  }

  private async deleteNow(name: string): Promise<void> {
    await this.attempt(() => deleteAccount(name), `The account ${name} is deleted.`);
  }

  private readonly add = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const name = field(form, "name");
    const shown = field(form, "display_name");
    const values = {
      name,
      password: field(form, "password"),
      role: field(form, "role") as Role,
      ...(shown ? { display_name: shown } : {}),
    };
    if (await this.attempt(() => createAccount(values), `${name} may sign in now.`)) {
      this.adding = false;
    }
  };
}
