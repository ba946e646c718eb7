import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { listChannels } from "../../api/client";
import {
  addDisk,
  beginRecording,
  changeLimits,
  createVolume,
  type DiskWish,
  dropRecording,
  eraseTitle,
  removeDisk,
  removeVolume,
  replaceDisk,
} from "../../api/storage";
import { choice, dialogs } from "../../ui/dialog";
import { field, forms, nameInput, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { reason } from "../reason";
import { type Ask, forceWords, wordsOf } from "./asks";
import {
  diskFields,
  eraseField,
  protectionFields,
  readDisks,
  readVolume,
  volumeSelect,
} from "./fields";
import { readAmount } from "./model";

const MB = 1e6;
const MINUTE = 60;
/** Disks of a form, as many as the server takes. */
const MAX_DISKS = 256;

/** Forms with fields of disks beside each other. */
const LARGE: ReadonlySet<Ask["kind"]> = new Set(["create", "add", "replace"]);

/** What is amiss with a form, for the person in front of it. */
class FormError extends Error {}

const told = <T>(found: T | string): T => {
  if (typeof found === "string") throw new FormError(found);
  return found;
};

/**
 * Asks whether something is to be done, and does it.
 *
 * @fires dialog-closed - `detail` says in words what was done, null when nothing was
 */
@customElement("storage-dialog")
export class StorageDialog extends LitElement {
  static override styles = [
    shared,
    forms,
    dialogs,
    css`
      dialog.large {
        width: min(100vw - 2rem, 40rem);
      }
      p {
        margin: 0;
      }
      .press.main.danger {
        background: var(--trouble);
        color: var(--surface);
      }
      .disk-fields {
        display: grid;
        grid-template-columns: minmax(0, 2fr) minmax(0, 1.2fr) minmax(0, 1fr) auto;
        gap: 0.7rem;
        align-items: end;
      }
      table {
        width: 100%;
        border-collapse: collapse;
        font-size: 0.89rem;
      }
      th,
      td {
        padding: 0.4rem 0.5rem;
        border-top: 1px solid var(--line);
        text-align: left;
        vertical-align: baseline;
      }
      th {
        border-top: 0;
        font-size: 0.8rem;
        font-weight: 600;
        color: var(--ink-soft);
      }
      td:first-child {
        width: 1.6rem;
      }
      td label {
        font-weight: 500;
      }
      td input {
        accent-color: var(--sun);
      }
      .short {
        color: var(--trouble);
      }
      @media (max-width: 34rem) {
        .disk-fields {
          grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
        }
        .disk-fields > label:first-child {
          grid-column: 1 / -1;
        }
      }
    `,
  ];

  @property({ attribute: false }) ask: Ask = { kind: "create", names: [] };
  /** Nodes that are known by name. */
  @property({ attribute: false }) nodes: readonly string[] = [];
  @state() private trouble = "";
  @state() private busy = false;
  /** Rows of disks in the form, by a number that stays. */
  @state() private rows: readonly number[] = [0];
  /** The disk is taken for lost. */
  @state() private force = false;
  /** Directories are emptied first. */
  @state() private erase = false;
  /** Channels on air; null until they are known. */
  @state() private channels: readonly string[] | null = null;
  @query("dialog") private readonly dialog!: HTMLDialogElement;
  private said: string | null = null;

  override firstUpdated(): void {
    this.dialog.showModal();
    if (this.ask.kind === "record") void this.look();
  }

  override render(): TemplateResult {
    const words = wordsOf(this.ask);
    const force = this.ask.kind === "remove" && this.force;
    const plain = force ? "It is gone: remove it" : words.press;
    const press = this.erase ? `Erase and ${plain.toLowerCase()}` : plain;
    const danger = words.danger || this.erase;
    return html`<dialog
      class=${LARGE.has(this.ask.kind) ? "large" : ""}
      aria-labelledby="title"
      @close=${this.closed}
    >
      <h2 id="title">${words.title}</h2>
      <form @submit=${this.submit}>
        <p>${words.text}</p>
        ${this.fields()}
        <datalist id="nodes">${this.nodes.map((name) => html`<option value=${name}></option>`)}</datalist>
        ${wrong(this.trouble)}
        ${this.busy ? html`<p class="hint" role="status">${this.wait()}</p>` : nothing}
        ${choice(press, this.busy, danger, () => this.dialog.close())}
      </form>
    </dialog>`;
  }

  private wait(): string {
    const { kind } = this.ask;
    return kind === "create" || kind === "add" || kind === "replace"
      ? "Measuring how fast it reads…"
      : "Asking the server…";
  }

  private fields(): TemplateResult | TemplateResult[] | typeof nothing {
    const { ask } = this;
    switch (ask.kind) {
      case "create":
        return html`${nameInput("name", "Name", ask.names.length ? "" : "main")}
          ${this.rows.map((row) =>
            diskFields(
              this.rows.length > 1
                ? { label: "Leave this disk out", press: () => this.drop(row) }
                : undefined,
            ),
          )}
          <div class="row">
            <button
              class="press small"
              type="button"
              ?disabled=${this.rows.length >= MAX_DISKS}
              @click=${this.more}
            >
              Another disk
            </button>
          </div>
          ${eraseField(null, this.erases)}
          ${protectionFields(this.rows.length)}`;
      case "add":
        return this.newDisk();
      case "replace":
        if (ask.disk.state === "lost") return this.newDisk();
        return html`${this.newDisk()}
          ${this.ways("What it has is read from it; then it leaves.", forceWords(ask.volume, ask.disk))}`;
      case "remove":
        return this.ways(
          `What it has moves to other disks of ${ask.volume.name} first; then it leaves.`,
          forceWords(ask.volume, ask.disk),
        );
      case "limits":
        return html`${this.rate("move", "Moving and mending, MB/s", ask.volume.limits.move)}
          ${this.rate("scrub", "Checking what lies there, MB/s; 0: none", ask.volume.limits.scrub)}`;
      case "record":
        return this.recording(ask.volumes);
      default:
        return nothing;
    }
  }

  private newDisk(): TemplateResult {
    const volume = "volume" in this.ask ? this.ask.volume.name : null;
    return html`${diskFields()}${eraseField(volume, this.erases)}`;
  }

  private readonly erases = (is: boolean): void => {
    this.erase = is;
  };

  private ways(drained: string, forced: string): TemplateResult {
    const way = (force: boolean, name: string, hint: string): TemplateResult =>
      html`<label class="tick"
        ><input
          type="radio"
          name="way"
          value=${force ? "force" : "drain"}
          ?checked=${!force}
          @change=${() => {
            this.force = force;
          }}
        /><span>${name}<span class="hint">${hint}</span></span></label
      >`;
    return html`<fieldset>
      <legend class="visually-hidden">The disk that leaves</legend>
      ${way(false, "It still works", drained)}
      ${way(true, "It is gone for good", forced)}
    </fieldset>`;
  }

  private rate(name: string, label: string, value: number): TemplateResult {
    return html`<label
      >${label}
      <input name=${name} inputmode="decimal" required autocomplete="off" .value=${String(value / MB)}
    /></label>`;
  }

  private recording(volumes: readonly string[]): TemplateResult {
    if (this.channels?.length === 0) {
      return html`<p class="wrong">No channel is on air here now.</p>`;
    }
    return html`<label
        >Channel
        <select name="channel" required @change=${this.suggest}>
          ${(this.channels ?? []).map((name) => html`<option value=${name}>${name}</option>`)}
        </select>
      </label>
      ${nameInput("name", "Name of the title, part of its address", "")}
      <label>Title <input name="title" maxlength="200" placeholder="The channel's" autocomplete="off" /></label>
      <label
        >At most, minutes
        <input name="minutes" inputmode="decimal" placeholder="until it is stopped" autocomplete="off"
      /></label>
      ${volumeSelect(volumes)}`;
  }

  private async look(): Promise<void> {
    try {
      const found = await listChannels();
      this.channels = found.filter(({ state }) => state === "on_air").map(({ name }) => name);
      await this.updateComplete;
      this.suggest();
    } catch (error) {
      this.trouble = reason(error);
    }
  }

  /** A name of the channel and the day, until somebody writes another. */
  private readonly suggest = (): void => {
    const form = this.renderRoot.querySelector("form");
    const name = form?.querySelector<HTMLInputElement>("[name=name]");
    if (!form || !name || (name.value && name.value !== name.dataset.made)) return;
    const channel = field(form, "channel");
    if (!channel) return;
    name.value = `${channel.slice(0, 53)}-${new Date().toISOString().slice(0, 10)}`;
    name.dataset.made = name.value;
  };

  private readonly more = (): void => {
    this.rows = [...this.rows, Math.max(...this.rows) + 1];
  };

  private drop(row: number): void {
    // Fields are not keyed: what stands in later rows moves up with their values.
    const at = this.rows.indexOf(row);
    for (const name of ["path", "node", "capacity"]) {
      const inputs = [...this.renderRoot.querySelectorAll<HTMLInputElement>(`[name=${name}]`)];
      for (let i = at; i < inputs.length - 1; i++) {
        const [to, from] = [inputs[i], inputs[i + 1]];
        if (to && from) to.value = from.value;
      }
    }
    this.rows = this.rows.slice(0, -1);
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    this.busy = true;
    this.trouble = "";
    try {
      await this.act(event.target as HTMLFormElement);
      this.said = wordsOf(this.ask).said;
      this.dialog.close();
    } catch (error) {
      this.trouble = error instanceof FormError ? error.message : reason(error);
    }
    this.busy = false;
  };

  private async act(form: HTMLFormElement): Promise<unknown> {
    const { ask } = this;
    switch (ask.kind) {
      case "create":
        return createVolume(told(readVolume(form)));
      case "add":
        return addDisk(ask.volume.name, this.disk(form));
      case "replace":
        return replaceDisk(ask.volume.name, ask.disk.id, this.disk(form), this.force);
      case "remove":
        return removeDisk(ask.volume.name, ask.disk.id, this.force);
      case "limits": {
        const move = this.amount(form, "move", MB);
        const scrub = this.amount(form, "scrub", MB);
        return changeLimits(ask.volume.name, { move, scrub });
      }
      case "forget":
        return removeVolume(ask.volume.name);
      case "erase":
        return eraseTitle(ask.title.name);
      case "drop":
        return dropRecording(ask.recording.name);
      case "record":
        return beginRecording({
          channel: field(form, "channel"),
          name: field(form, "name"),
          title: field(form, "title"),
          volume: field(form, "volume"),
          max_seconds: this.amount(form, "minutes", MINUTE),
        });
    }
  }

  private disk(form: HTMLFormElement): DiskWish {
    const [wish] = told(readDisks(form));
    if (!wish) throw new FormError("Tell where the disk is.");
    return wish;
  }

  /** Nothing written is 0. */
  private amount(form: HTMLFormElement, name: string, unit: number): number {
    const found = readAmount(field(form, name), unit);
    if (found === undefined) throw new FormError(`“${field(form, name)}” is no number.`);
    return found ?? 0;
  }

  private readonly closed = (): void => {
    this.dispatchEvent(new CustomEvent("dialog-closed", { detail: this.said }));
  };
}
