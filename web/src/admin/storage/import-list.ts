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

/** A file that was chosen, and is not sent yet. */
interface Chosen {
  readonly file: File;
  readonly name: string;
  readonly title: string;
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
      ul {
        margin-top: 0.6rem;
      }
      @media (max-width: 40rem) {
        .file {
          grid-template-columns: minmax(0, 1fr);
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
      ${this.chosen.map(
        (one, at) => html`<div class="file">
          <small>${one.file.name}, ${bytes(one.file.size)}</small>
          <label
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
          </label>
          <button
            class="press"
            type="button"
            aria-label=${`Leave ${one.file.name} out`}
            @click=${() => {
              this.chosen = this.chosen.filter((_, other) => other !== at);
            }}
          >
            Leave out
          </button>
        </div>`,
      )}
      ${volumeSelect(this.volumes)}
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

  private sending(one: Sending): TemplateResult {
    const failed = one.state === "failed";
    return html`<li data-import=${one.name}>
      <div>
        <strong>${one.title || one.name}</strong>
        <small>${one.file} → ${one.name}</small>
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
        <small>${one.file} → ${one.name}${this.volumes.length > 1 ? ` on ${one.volume}` : ""}</small>
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
      this.chosen = [...this.chosen, { file, name, title: titleFor(file.name) }];
    }
  }

  /** Names that another title has, or is about to have. */
  private known(but = -1): Set<string> {
    return new Set([
      ...this.taken,
      ...this.imports.filter(underWay).map(({ name }) => name),
      ...this.uploads.shown.filter(({ state }) => state !== "failed").map(({ name }) => name),
      ...this.chosen.filter((_, at) => at !== but).map(({ name }) => name),
    ]);
  }

  private rewrite(at: number, values: Partial<Chosen>): void {
    this.chosen = this.chosen.map((one, other) => (other === at ? { ...one, ...values } : one));
  }

  private readonly submit = (event: SubmitEvent): void => {
    event.preventDefault();
    for (const [at, { name }] of this.chosen.entries()) {
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
    this.uploads.add(this.chosen.map((one) => ({ ...one, title: one.title.trim(), volume })));
    this.chosen = [];
    this.trouble = "";
  };

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
