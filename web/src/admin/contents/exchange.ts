import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import { EXPORTS, importPart, type Rejected } from "../../api/contents";
import { explain } from "../../api/session";
import { count } from "../../ui/format";
import { forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { type Cut, cut } from "./parts";
import { rejects } from "./rejects";
import { detailStyles } from "./styles";

/** What an import has done so far. */
interface Progress {
  readonly name: string;
  readonly done: number;
  readonly rows: number;
  readonly added: number;
  readonly changed: number;
  readonly unchanged: number;
  readonly rejected: readonly Rejected[];
}

/** Everything from and to files. */
@customElement("contents-exchange")
export class ContentsExchange extends LitElement {
  static override styles = [
    shared,
    forms,
    detailStyles,
    css`
      :host {
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr));
        align-items: start;
      }
      .soft {
        margin-bottom: 1rem;
      }
      progress {
        width: 100%;
        accent-color: var(--sun);
      }
      input[type="file"] {
        padding: 0.3rem;
      }
      input::file-selector-button {
        min-height: 2.1rem;
        margin-right: 0.7rem;
        padding: 0 0.9rem;
        border: 1px solid var(--line);
        border-radius: 8px;
        background: var(--surface);
        color: inherit;
        font: inherit;
        font-weight: 600;
      }
    `,
  ];

  @state() private progress: Progress | null = null;
  @state() private busy = false;
  @state() private trouble = "";
  @query('input[type="file"]') private readonly file!: HTMLInputElement;
  private gone = false;

  override connectedCallback(): void {
    super.connectedCallback();
    this.gone = false;
  }

  /** What is under way ends with the part that was sent; said again, nothing is there twice. */
  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.gone = true;
  }

  override render(): TemplateResult {
    return html`<section class="card">
        <h2>Import</h2>
        <p class="soft">
          CSV or JSON with servers, titles, files, regions and ratings, in any order. What is there
          under the same name is changed, nothing is removed, and what is imported twice is there
          once.
        </p>
        <form @submit=${(event: SubmitEvent) => void this.submit(event)}>
          <label>File <input type="file" name="file" required accept=".csv,.tsv,.txt,.json" /></label>
          <div class="row">
            <button class="press main" ?disabled=${this.busy}>Import</button>
          </div>
          ${wrong(this.trouble)} ${this.told()}
        </form>
      </section>
      <section class="card">
        <h2>Export</h2>
        <p class="soft">Everything in one file, which can be imported here or elsewhere.</p>
        <div class="row">
          ${EXPORTS.map(
            ({ format, path }) =>
              html`<a class="press" href=${path} download=${`contents.${format}`}
                >${format.toUpperCase()}</a
              >`,
          )}
        </div>
      </section>`;
  }

  private told(): TemplateResult | typeof nothing {
    const { progress } = this;
    if (!progress) return nothing;
    const { name, done, rows, added, changed, unchanged, rejected } = progress;
    const figures = [
      count(added, "row added", "rows added"),
      `${changed.toLocaleString("en")} changed`,
      `${unchanged.toLocaleString("en")} as before`,
      `${rejected.length.toLocaleString("en")} not taken`,
    ];
    return html`${
      this.busy
        ? html`<progress
              max=${rows || 1}
              .value=${done}
              aria-label=${`Importing ${name}`}
            ></progress>`
        : nothing
    }
      <p class="good" role="status">${name}: ${figures.join(", ")}.</p>
      ${rejects(rejected)}`;
  }

  private async submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const file = this.file.files?.[0];
    if (!file || this.busy) return;
    this.busy = true;
    this.trouble = "";
    this.progress = null;
    try {
      await this.bring(file.name, cut(await file.text()));
    } catch (error) {
      this.trouble = error instanceof Error && !this.progress ? error.message : explain(error);
    } finally {
      this.busy = false;
    }
  }

  private async bring(name: string, { parts, rows, rejected }: Cut): Promise<void> {
    let told: Progress = { name, done: 0, rows, added: 0, changed: 0, unchanged: 0, rejected };
    this.progress = told;
    for (const part of parts) {
      if (this.gone) return;
      const answer = await importPart({ ...part.body, source: name });
      told = {
        ...told,
        done: told.done + part.rows,
        added: told.added + answer.added,
        changed: told.changed + answer.changed,
        unchanged: told.unchanged + answer.unchanged,
        rejected: [
          ...told.rejected,
          ...answer.rejected.map(({ place, reason }) => ({ place: part.place(place), reason })),
        ],
      };
      this.progress = told;
    }
    const at = ({ place }: Rejected): number => Number(/\d+$/.exec(place)?.[0] ?? 0);
    this.progress = { ...told, rejected: told.rejected.toSorted((a, b) => at(a) - at(b)) };
  }
}
