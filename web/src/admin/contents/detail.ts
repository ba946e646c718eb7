import { html, LitElement, type nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { readAudit } from "../../api/admin";
import { ApiError } from "../../api/client";
import { explain } from "../../api/session";
import { forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { differences, meanwhile, type Told, whoChanged } from "./meanwhile";
import { chipStyles, detailStyles } from "./styles";

/** Lines of the audit log that are looked through for who changed a row. */
const AUDIT_LINES = 100;

/** What a detail tells the page. */
export interface Changed {
  /** In words. */
  readonly said: string;
  /** Name of the row as it is now; empty: it is gone. */
  readonly name: string;
}

/**
 * One row with what can be done to it, or the form of a new one.
 *
 * @fires changed - `detail` is a `Changed`
 * @fires reread - `detail` is the row as it is now: somebody else changed it
 * @fires left - the form of a new one is not wanted any more
 */
export abstract class Detail extends LitElement {
  static override styles = [shared, forms, chipStyles, detailStyles];

  @state() protected busy = false;
  @state() protected editing = false;
  @state() private removing = false;
  @state() private trouble = "";

  /** Forget what was begun with another row. */
  protected reset(): void {
    this.editing = false;
    this.removing = false;
    this.trouble = "";
  }

  protected told(): TemplateResult | typeof nothing {
    return wrong(this.trouble);
  }

  protected refuse(why: string): void {
    this.trouble = why;
  }

  /** Runs one request; whether it was done. */
  protected async attempt(run: () => Promise<unknown>): Promise<boolean> {
    this.busy = true;
    this.trouble = "";
    try {
      await run();
      return true;
    } catch (error) {
      const late = error instanceof ApiError && error.status === 412;
      this.trouble = late ? await this.catchUp() : explain(error);
      return false;
    } finally {
      this.busy = false;
    }
  }

  /** Somebody else changed the row: show it as it is, and say what is otherwise. */
  protected abstract catchUp(): Promise<string>;

  /**
   * The same for one kind of row; what was written here and not saved stays in the form.
   *
   * @param kind as the audit log calls it
   * @param show has the row shown
   */
  protected async reread<Row extends { readonly name: string }>(
    kind: string,
    before: Row,
    ask: (name: string) => Promise<Row>,
    told: readonly Told<Row>[],
    show: (now: Row) => void,
  ): Promise<string> {
    let now: Row;
    try {
      now = await ask(before.name);
    } catch (error) {
      const gone = error instanceof ApiError && error.status === 404;
      return gone ? "Somebody removed this meanwhile, or gave it another name." : explain(error);
    }
    const log = await readAudit(AUDIT_LINES, null).catch(() => []);
    const changed = differences(before, now, told);
    const keys = changed.map(({ key }) => key);
    const written = told.flatMap(({ label, field, text }) => {
      const value = this.input(field)?.value;
      const known = [undefined, text(before), text(now)];
      return value === undefined || known.includes(value.trim()) ? [] : [{ label, field, value }];
    });
    show(now);
    this.dispatchEvent(
      new CustomEvent<Row>("reread", { detail: now, bubbles: true, composed: true }),
    );
    await this.updateComplete;
    for (const { field, text } of told) {
      const input = this.input(field);
      if (input) input.value = written.find((one) => one.field === field)?.value ?? text(now);
    }
    const who = whoChanged(log, kind, before.name, keys);
    const typed = written.map(({ label }) => label);
    return meanwhile(who, now, changed, typed);
  }

  private input(name: string): HTMLInputElement | null {
    return name && this.editing ? this.renderRoot.querySelector(`form [name="${name}"]`) : null;
  }

  protected tell(said: string, name: string): void {
    this.removing = false;
    this.dispatchEvent(
      new CustomEvent<Changed>("changed", {
        detail: { said, name },
        bubbles: true,
        composed: true,
      }),
    );
  }

  protected leave(): void {
    this.dispatchEvent(new CustomEvent("left", { bubbles: true, composed: true }));
  }

  /** The last row of a form. */
  protected ends(press: string, cancel: () => void): TemplateResult {
    return html`<div class="row">
      <button class="press main" ?disabled=${this.busy}>${press}</button>
      <button class="press" type="button" @click=${cancel}>Cancel</button>
    </div>`;
  }

  /** A button that asks before something is gone. */
  protected remover(name: string, asks: string, remove: () => void): TemplateResult {
    if (!this.removing) {
      return html`<button
        class="press small danger"
        ?disabled=${this.busy}
        @click=${() => {
          this.removing = true;
        }}
      >
        Remove
      </button>`;
    }
    return html`<div class="asks wide" role="alertdialog" aria-label=${`Remove ${name}?`}>
      <p>${asks}</p>
      <div class="row">
        <button class="press small danger" ?disabled=${this.busy} @click=${remove}>
          Remove ${name}
        </button>
        <button
          class="press small"
          @click=${() => {
            this.removing = false;
          }}
        >
          Keep it
        </button>
      </div>
    </div>`;
  }
}
