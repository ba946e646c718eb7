import { html, LitElement, nothing, type TemplateResult } from "lit";
import { property, state } from "lit/decorators.js";
import type { Page } from "../../api/contents";
import { explain } from "../../api/session";
import { boxes, press, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { chipStyles, rowStyles } from "./styles";

/** Pause after the last key before the server is asked, ms. */
const TYPING_MS = 200;

/**
 * Rows that the server finds, a page at a time, of which one is chosen.
 *
 * @fires chosen - `detail` is the row, or null
 * @fires wanted - a new one is to be made
 */
export abstract class SearchedList<T extends { readonly name: string }> extends LitElement {
  static override styles = [shared, boxes, press, chipStyles, rowStyles];

  /** Name of the row that is chosen, or empty. */
  @property() chosen = "";
  @state() protected found: readonly T[] | null = null;
  @state() private more: string | null = null;
  @state() private trouble = "";
  private search = "";
  private asked = 0;
  /** Rows that were asked for, in all. */
  private least = 1;
  private timer = 0;

  protected abstract readonly words: {
    readonly add: string;
    readonly hint: string;
    readonly empty: string;
  };
  protected abstract ask(search: string, after: string): Promise<Page<T>>;
  protected abstract row(item: T): TemplateResult;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.load();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    clearTimeout(this.timer);
  }

  override render(): TemplateResult {
    return html`<div class="find">
        <input
          type="search"
          aria-label=${this.words.hint}
          placeholder=${this.words.hint}
          @input=${this.type}
        />
        <button class="press" @click=${() => this.dispatchEvent(new CustomEvent("wanted"))}>
          ${this.words.add}
        </button>
      </div>
      ${wrong(this.trouble)} ${this.rows()}`;
  }

  private rows(): TemplateResult | typeof nothing {
    if (!this.found) {
      return this.trouble ? nothing : html`<p class="none" role="status">Reading…</p>`;
    }
    if (!this.found.length) {
      return html`<p class="none">${this.search ? "Nothing is like that." : this.words.empty}</p>`;
    }
    return html`<ul>
        ${this.found.map(
          (item) => html`<li>
            <button
              class="pick"
              aria-pressed=${item.name === this.chosen}
              @click=${() => this.choose(item)}
            >
              ${this.row(item)}
            </button>
          </li>`,
        )}
      </ul>
      ${
        this.more !== null
          ? html`<button class="press more" @click=${() => void this.further()}>Show more</button>`
          : nothing
      }`;
  }

  /** Ask anew for the first page; what was shown stays until the answer is there. */
  load(): Promise<void> {
    return this.read([], "", 1);
  }

  /** Ask anew for as many rows as are shown, or are just being asked for. */
  again(): Promise<void> {
    return this.read([], "", this.least);
  }

  private further(): Promise<void> {
    const before = this.found ?? [];
    return this.read(before, this.more ?? "", before.length + 1);
  }

  /** Have the rows before, and so many in all, as far as there are. */
  private async read(before: readonly T[], after: string, least: number): Promise<void> {
    const number = ++this.asked;
    this.least = least;
    let found = before;
    let more: string | null = after;
    try {
      while (more !== null && found.length < least) {
        const page: Page<T> = await this.ask(this.search, more);
        if (number !== this.asked) return;
        found = [...found, ...page.rows];
        more = page.more;
      }
      this.found = found;
      this.more = more;
      this.trouble = "";
    } catch (error) {
      if (number === this.asked) this.trouble = explain(error);
    }
  }

  /** A row that is shown, by its name. */
  named(name: string): T | null {
    return this.found?.find((item) => item.name === name) ?? null;
  }

  private choose(item: T): void {
    const detail = item.name === this.chosen ? null : item;
    this.dispatchEvent(new CustomEvent("chosen", { detail }));
  }

  private readonly type = (event: Event): void => {
    this.search = (event.target as HTMLInputElement).value.trim();
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => void this.load(), TYPING_MS);
  };
}
