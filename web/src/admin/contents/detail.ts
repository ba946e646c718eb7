import { html, LitElement, type nothing, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { ApiError } from "../../api/client";
import { explain } from "../../api/session";
import { forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { chipStyles, detailStyles } from "./styles";

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
      this.trouble = late
        ? "Somebody changed this meanwhile. Choose it again to see how it is, then change it."
        : explain(error);
      return false;
    } finally {
      this.busy = false;
    }
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
