import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { Rows, step } from "./rows";

/** What a list is called, and how its rows are. */
export interface ListWords {
  /** Of what: the property that has all of it, and its heading. */
  readonly of: string;
  readonly heading: string;
  /** Of one row; its element is `kind-7`. */
  readonly kind: string;
  /** What can be searched for. */
  readonly placeholder: string;
  /** What is said where there is none at all. */
  readonly none: string;
  /** Pixels of a row. */
  readonly height: number;
  /** Rows over which PageUp and PageDown go. */
  readonly page: number;
}

/** A list with a search, of which only the rows in sight are drawn; walked by keys. */
export abstract class ListPane<T> extends LitElement {
  @state() protected search = "";
  /** What the search found. */
  protected found: readonly T[] = [];
  private readonly rows: Rows;

  constructor(private readonly words: ListWords) {
    super();
    this.rows = new Rows(this, words.height);
  }

  /** How many there are. */
  protected abstract get total(): number;
  /** What is chosen, by its key, or empty. */
  protected abstract get chosen(): string;
  protected abstract find(search: string): readonly T[];
  protected abstract keyOf(one: T): string;
  protected abstract row(one: T, index: number): TemplateResult;
  protected abstract choose(key: string): void;

  /** Whether rows of a kind stand out. */
  protected get marking(): boolean {
    return false;
  }

  /** What stands beside the search. */
  protected tools(): TemplateResult | typeof nothing {
    return nothing;
  }

  override willUpdate(changed: PropertyValues): void {
    if (changed.has(this.words.of) || changed.has("search")) this.found = this.find(this.search);
  }

  override updated(changed: PropertyValues): void {
    if (!this.chosen || !(changed.has(this.words.kind) || changed.has("search"))) return;
    // What is chosen is shown in detail, which may take room from the list.
    requestAnimationFrame(() => this.rows.reveal(this.at()));
  }

  override render(): TemplateResult {
    const { found, words } = this;
    const { first, end } = this.rows.range(found.length);
    const at = this.at();
    return html`<div class="head">
        <h2>${words.heading} <small>${this.count()}</small></h2>
        <input
          type="search"
          aria-label="Search ${words.of}"
          placeholder=${words.placeholder}
          .value=${this.search}
          @input=${this.type}
        />
        ${this.tools()}
      </div>
      ${
        found.length
          ? html`<div
              class="scroller ${this.marking ? "marking" : ""}"
              role="listbox"
              tabindex="0"
              aria-label=${words.heading}
              aria-activedescendant=${at >= first && at < end ? `${words.kind}-${at}` : nothing}
              @keydown=${this.key}
              @click=${this.press}
            >
              <div class="rows" style="height: ${found.length * words.height}px">
                ${repeat(
                  found.slice(first, end),
                  (one) => this.keyOf(one),
                  (one, i) => this.row(one, first + i),
                )}
              </div>
            </div>`
          : html`<p class="none">${this.search ? `No ${words.kind} is like that.` : words.none}</p>`
      }`;
  }

  /** Something in a row was pressed; whether that chooses something else than the row. */
  protected pressedPart(_part: HTMLElement): boolean {
    return false;
  }

  private readonly press = (event: Event): void => {
    const part = event.target as HTMLElement;
    if (this.pressedPart(part)) return;
    const { kind } = this.words;
    const key = part.closest<HTMLElement>(`[data-${kind}]`)?.dataset[kind];
    if (key) this.choose(key === this.chosen ? "" : key);
  };

  private count(): string {
    const all = this.total.toLocaleString("en");
    return this.search ? `${this.found.length.toLocaleString("en")} of ${all}` : all;
  }

  private at(): number {
    return this.chosen ? this.found.findIndex((one) => this.keyOf(one) === this.chosen) : -1;
  }

  private readonly type = (event: Event): void => {
    this.search = (event.target as HTMLInputElement).value;
  };

  private readonly key = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && this.chosen) {
      this.choose("");
      return;
    }
    const to = step(event.key, this.at(), this.found.length, this.words.page);
    const found = to === null ? undefined : this.found[to];
    if (found === undefined) return;
    event.preventDefault();
    this.choose(this.keyOf(found));
  };
}
