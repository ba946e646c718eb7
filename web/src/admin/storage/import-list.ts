import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { cancelImport, type Import } from "../../api/storage";
import { bytes, count } from "../../ui/format";
import { forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { reason } from "../reason";
import { progressBar } from "./bar";
import { volumeSelect } from "./fields";
import {
  filesLine,
  goodName,
  importLine,
  importShare,
  nameFor,
  others,
  type Sending,
  sendingLine,
  titleFor,
  underWay,
} from "./model";
import { barStyles, listStyles } from "./styles";
import { Uploads } from "./uploads";

/** Imports that ended and are still shown. */
const ENDED = 6;

/** Sizes of one title beside the first, as many as the server takes. */
const MAX_RENDITIONS = 15;

/** A file that was chosen, and is not sent yet. */
interface Chosen {
  readonly file: File;
  readonly name: string;
  readonly title: string;
  /** The file of whose title this is another size; null: it has a title of its own. */
  readonly of: File | null;
}

/**
 * Files that become titles: chosen or dropped, sent, imported.
 *
 * @fires changed - there may be a further import
 */
@customElement("import-list")
export class ImportList extends LitElement {
  static override styles = [
    shared,
    forms,
    barStyles,
    listStyles,
    css`
      .drop {
        display: grid;
        gap: 0.5rem;
        justify-items: center;
        padding: 1.3rem 1rem;
        border: 2px dashed var(--line);
        border-radius: 12px;
        text-align: center;
      }
      .drop.over {
        border-color: var(--sun-edge);
        background: color-mix(in srgb, var(--sun) 12%, var(--surface));
      }
      .drop p {
        margin: 0;
      }
      form {
        margin-top: 1rem;
      }
      .file {
        display: grid;
        grid-template-columns: minmax(0, 1fr) minmax(0, 1.4fr) auto;
        gap: 0.7rem;
        align-items: end;
      }
      .file > small {
        grid-column: 1 / -1;
        overflow-wrap: anywhere;
      }
      .file > .of {
        grid-column: 1 / 3;
      }
      .file.other {
        grid-template-columns: minmax(0, 1fr) auto;
        padding-left: 1rem;
        border-left: 3px solid var(--line);
      }
      .file.other > .of {
        grid-column: 1;
      }
      ul {
        margin-top: 0.6rem;
      }
      @media (max-width: 40rem) {
        .file,
        .file.other {
          grid-template-columns: minmax(0, 1fr);
        }
        .file > .of {
          grid-column: 1;
        }
      }
    `,
  ];

  @property({ attribute: false }) imports: readonly Import[] = [];
  /** Names that titles have. */
  @property({ attribute: false }) taken: readonly string[] = [];
  @property({ attribute: false }) volumes: readonly string[] = [];
  @state() private chosen: readonly Chosen[] = [];
  @state() private over = false;
  @state() private trouble = "";
  private readonly uploads = new Uploads(
    () => this.requestUpdate(),
    () => this.dispatchEvent(new CustomEvent("changed", { bubbles: true, composed: true })),
  );

  override connectedCallback(): void {
    super.connectedCallback();
    addEventListener("beforeunload", this.leaving);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener("beforeunload", this.leaving);
    this.uploads.close();
  }

  override render(): TemplateResult {
    const sendings = this.uploads.shown;
    const told = others(this.imports, sendings);
    const ended = told.filter((one) => !underWay(one)).slice(0, ENDED);
    const rows = [
      ...sendings.map((one) => this.sending(one)),
      ...told.filter(underWay).map((one) => this.import(one)),
      ...ended.map((one) => this.import(one)),
    ];
    return html`<div class="head"><h2>Import</h2></div>
      <div
        class="drop ${this.over ? "over" : ""}"
        @dragover=${this.dragged}
        @dragleave=${this.dragged}
        @drop=${this.dropped}
      >
        <p>Drop films here: MP4, Matroska, WebM, MPEG-TS and others</p>
        <button class="press" @click=${this.browse}>Choose files</button>
        <input type="file" multiple hidden tabindex="-1" @change=${this.picked} />
      </div>
      ${this.chosen.length ? this.form() : nothing} ${wrong(this.trouble)}
      ${
        rows.length
          ? html`<ul>
              ${rows}
            </ul>`
          : nothing
      }`;
  }

  private form(): TemplateResult {
    return html`<form @submit=${this.submit}>
      ${this.chosen.map((one, at) => this.fileFields(one, at))} ${volumeSelect(this.volumes)}
      <div class="row">
        <button class="press main">Import ${count(this.chosen.length, "file", "files")}</button>
        <button
          class="press"
          type="button"
          @click=${() => {
            this.chosen = [];
            this.trouble = "";
          }}
        >
          Cancel
        </button>
      </div>
    </form>`;
  }

  private fileFields(one: Chosen, at: number): TemplateResult {
    return html`<div class="file ${one.of ? "other" : ""}">
      <small>${one.file.name}, ${bytes(one.file.size)}</small>
      ${
        one.of
          ? nothing
          : html`<label
                >Name, part of its address
                <input
                  name=${`name-${at}`}
                  required
                  maxlength="64"
                  autocapitalize="none"
                  autocomplete="off"
                  spellcheck="false"
                  .value=${one.name}
                  @input=${(event: Event) => this.rewrite(at, { name: writtenIn(event) })}
                />
              </label>
              <label
                >Title
                <input
                  name=${`title-${at}`}
                  maxlength="200"
                  autocomplete="off"
                  .value=${one.title}
                  @input=${(event: Event) => this.rewrite(at, { title: writtenIn(event) })}
                />
              </label>`
      }
      ${this.belongs(one, at)}
      <button
        class="press"
        type="button"
        aria-label=${`Leave ${one.file.name} out`}
        @click=${() => this.leaveOut(one)}
      >
        Leave out
      </button>
    </div>`;
  }

  /** Where several files were chosen: whether this one is another size of one of the others. */
  private belongs(one: Chosen, at: number): TemplateResult | typeof nothing {
    const hosts = this.chosen.filter((other) => other !== one && other.of === null);
    const has = this.chosen.some((other) => other.of === one.file);
    if (hosts.length === 0 || has) return nothing;
    return html`<label class="of"
      >Becomes
      <select
        name=${`of-${at}`}
        @change=${(event: Event) => {
          const place = Number((event.target as HTMLSelectElement).value);
          this.rewrite(at, { of: this.chosen[place]?.file ?? null });
        }}
      >
        <option value="-1" ?selected=${one.of === null}>a title of its own</option>
        ${hosts.map(
          (other) => html`<option
            value=${this.chosen.indexOf(other)}
            ?selected=${one.of === other.file}
          >
            another size of ${other.name || other.file.name}
          </option>`,
        )}
      </select>
    </label>`;
  }

  /** Other sizes of what is left out are titles again. */
  private leaveOut(one: Chosen): void {
    this.chosen = this.chosen
      .filter((other) => other !== one)
      .map((other) => (other.of === one.file ? { ...other, of: null } : other));
  }

  private sending(one: Sending): TemplateResult {
    const failed = one.state === "failed";
    return html`<li data-import=${one.name}>
      <div>
        <strong>${one.title || one.name}</strong>
        <small>${filesLine(one)} → ${one.name}</small>
      </div>
      <div class="does">
        <button
          class="press small"
          aria-label=${`${failed ? "Hide" : "Cancel"} ${one.name}`}
          @click=${() => this.stop(one)}
        >
          ${failed ? "Hide" : "Cancel"}
        </button>
      </div>
      ${
        failed
          ? nothing
          : progressBar(one.size ? one.sent / one.size : 0, `${one.name} is being sent`)
      }
      <p class="line ${failed ? "bad" : ""}" role=${failed ? "alert" : nothing}>
        ${sendingLine(one)}
      </p>
    </li>`;
  }

  private import(one: Import): TemplateResult {
    const going = underWay(one);
    return html`<li data-import=${one.name}>
      <div>
        <strong>${one.title || one.name}</strong>
        <small>${filesLine(one)} → ${one.name}${this.volumes.length > 1 ? ` on ${one.volume}` : ""}</small>
      </div>
      <div class="does">
        ${
          going
            ? html`<button
                class="press small"
                aria-label=${`Cancel ${one.name}`}
                @click=${() => this.cancel(one.id)}
              >
                Cancel
              </button>`
            : nothing
        }
      </div>
      ${going ? progressBar(importShare(one), `Import of ${one.name}`) : nothing}
      <p class="line ${one.state === "failed" ? "bad" : ""}">${importLine(one)}</p>
    </li>`;
  }

  // files

  private readonly browse = (): void => {
    this.renderRoot.querySelector<HTMLInputElement>("input[type=file]")?.click();
  };

  private readonly picked = (event: Event): void => {
    const input = event.target as HTMLInputElement;
    this.take([...(input.files ?? [])]);
    input.value = "";
  };

  private readonly dragged = (event: DragEvent): void => {
    event.preventDefault();
    this.over = event.type === "dragover";
  };

  private readonly dropped = (event: DragEvent): void => {
    event.preventDefault();
    this.over = false;
    this.take([...(event.dataTransfer?.files ?? [])]);
  };

  private take(files: readonly File[]): void {
    this.trouble = "";
    for (const file of files) {
      const name = nameFor(file.name, this.known());
      this.chosen = [...this.chosen, { file, name, title: titleFor(file.name), of: null }];
    }
  }

  /** Names that another title has, or is about to have. */
  private known(but = -1): Set<string> {
    return new Set([
      ...this.taken,
      ...this.imports.filter(underWay).map(({ name }) => name),
      ...this.uploads.shown.filter(({ state }) => state !== "failed").map(({ name }) => name),
      ...this.chosen.filter(({ of }, at) => at !== but && !of).map(({ name }) => name),
    ]);
  }

  private rewrite(at: number, values: Partial<Chosen>): void {
    this.chosen = this.chosen.map((one, other) => (other === at ? { ...one, ...values } : one));
  }

  private readonly submit = (event: SubmitEvent): void => {
    event.preventDefault();
    for (const [at, { file, name, of }] of this.chosen.entries()) {
      if (of) continue;
      if (this.sizesOf(file).length > MAX_RENDITIONS) {
        this.trouble = `${name} can have ${MAX_RENDITIONS} other sizes at most.`;
        return;
      }
      if (!goodName(name)) {
        this.trouble = `“${name}” is no name: letters, digits, dots, hyphens or underscores.`;
        return;
      }
      if (this.known(at).has(name)) {
        this.trouble = `There is a title ${name} already.`;
        return;
      }
    }
    const volume = String(new FormData(event.target as HTMLFormElement).get("volume") ?? "");
    this.uploads.add(
      this.chosen
        .filter(({ of }) => of === null)
        .map(({ file, name, title }) => ({
          file,
          name,
          title: title.trim(),
          volume,
          renditions: this.sizesOf(file),
        })),
    );
    this.chosen = [];
    this.trouble = "";
  };

  /** The files that are other sizes of one. */
  private sizesOf(file: File): readonly File[] {
    return this.chosen.filter(({ of }) => of === file).map((one) => one.file);
  }

  /** Send a file no more; what the server has of it goes, too. */
  private stop(one: Sending): void {
    const known = this.imports.find(
      ({ name, state }) => name === one.name && state === "receiving",
    );
    if (one.state === "sending" && known) void this.cancel(known.id);
    this.uploads.drop(one.name);
  }

  private async cancel(id: string): Promise<void> {
    try {
      await cancelImport(id);
      this.trouble = "";
    } catch (error) {
      this.trouble = reason(error);
    }
  }

  private readonly leaving = (event: BeforeUnloadEvent): void => {
    if (this.uploads.busy) event.preventDefault();
  };
}

const writtenIn = (event: Event): string => (event.target as HTMLInputElement).value.trim();
