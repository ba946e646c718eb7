import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import {
  addFile,
  addTitle,
  type Classification,
  changeTitle,
  type File,
  getTitle,
  type Level,
  listClasses,
  listFiles,
  listLevels,
  listServers,
  removeFile,
  removeTitle,
  type Server,
  type ServerState,
  type Title,
} from "../../api/contents";
import { explain } from "../../api/session";
import "../../ui/copy-line";
import { bitrate, bytes, clock, count } from "../../ui/format";
import { field, nameInput } from "../../ui/forms";
import { Detail } from "./detail";
import { type Told, yes } from "./meanwhile";
import {
  FORMATS,
  list,
  POLICIES,
  readDuration,
  STANDINGS,
  standing,
  TITLE_STANDINGS,
} from "./model";

/** What people write of a title. */
const TOLD: readonly Told<Title>[] = [
  { key: "name", label: "Name", field: "name", text: ({ name }) => name },
  { key: "title", label: "Title", field: "title", text: ({ title }) => title },
  {
    key: "description",
    label: "Description",
    field: "description",
    text: ({ description }) => description,
  },
  {
    key: "duration",
    label: "Length",
    field: "duration",
    text: ({ duration }) => (duration ? clock(duration) : ""),
  },
  { key: "level", label: "Rating", field: "level", text: ({ level }) => level },
  {
    key: "classes",
    label: "Subjects",
    field: "classes",
    text: ({ classes }) => classes.join(", "),
  },
  {
    key: "regions",
    label: "Only for regions",
    field: "regions",
    text: ({ regions }) => regions.join(", "),
  },
  {
    key: "policy",
    label: "Its server is chosen by",
    field: "policy",
    text: ({ policy }) => policy,
  },
  { key: "published", label: "Published", field: "", text: ({ published }) => yes(published) },
];

/** One title with its copies, or a new one. */
@customElement("title-detail")
export class TitleDetail extends Detail {
  /** Null: a new one. */
  @property({ attribute: false }) entry: Title | null = null;
  /** How servers are, by name, as monitors told; null: they have not. */
  @property({ attribute: false }) states: ReadonlyMap<string, ServerState> | null = null;
  @state() private files: readonly File[] | null = null;
  @state() private adding = false;
  @state() private servers: readonly Server[] = [];
  @state() private levels: readonly Level[] = [];
  @state() private classes: readonly Classification[] = [];

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("entry")) return;
    if (changed.get("entry")?.name !== this.entry?.name) {
      this.reset();
      this.files = null;
      this.adding = false;
    }
    if (this.entry) void this.read(this.entry.name);
    else void this.readLabels();
  }

  override render(): TemplateResult {
    const { entry } = this;
    if (!entry) return html`<h2>A new title</h2>${this.form(null)}`;
    const shown = entry.title || entry.name;
    if (this.editing) return html`<h2>${shown}</h2>${this.form(entry)}`;
    return html`<div class="head">
        <h2>${shown}</h2>
        ${this.chip(...TITLE_STANDINGS[entry.standing])}
      </div>
      ${entry.description ? html`<p>${entry.description}</p>` : nothing}
      <p class="soft">${this.figures(entry)}</p>
      <div>
        <p class="soft">One address, wherever it is played from:</p>
        <copy-line label="address" text=${`${location.origin}/go/${entry.name}`}></copy-line>
      </div>
      ${this.told()}
      <div class="row">
        <button class="press small" @click=${this.edit}>Change</button>
        <button
          class="press small"
          ?disabled=${this.busy}
          @click=${() => void this.publish(entry)}
        >
          ${entry.published ? "Withhold" : "Publish"}
        </button>
        ${this.remover(
          shown,
          `Its ${count(entry.files, "copy is", "copies are")} forgotten too; what is on servers stays there.`,
          () => void this.forget(entry),
        )}
      </div>
      <section>
        <h3>Copies</h3>
        ${this.copies()} ${this.adding ? this.fileForm(entry) : this.adder()}
      </section>`;
  }

  private figures(entry: Title): string {
    return [
      entry.name,
      entry.duration && clock(entry.duration),
      entry.level && `rated ${entry.level}`,
      entry.classes.join(", "),
      entry.regions.length ? `only for ${entry.regions.join(", ")}` : "for everywhere",
      entry.policy && `server by ${entry.policy}`,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  private copies(): TemplateResult {
    if (!this.files) return html`<p class="soft" role="status">Reading…</p>`;
    if (!this.files.length) {
      return html`<p class="soft">
        ${
          this.entry?.stored
            ? "On no server: a volume holds it, and every node plays it."
            : "None yet: who asks for it is told that it is not here."
        }
      </p>`;
    }
    const names = new Map(FORMATS);
    return html`<ul class="files">
      ${this.files.map((file) => {
        const told = [
          names.get(file.format) ?? file.format,
          file.bits_per_second && bitrate(file.bits_per_second),
          file.size && bytes(file.size),
        ];
        return html`<li>
          <span
            ><strong>${file.server}</strong> ${this.condition(file)}
            ${told.filter(Boolean).join(" · ")}
            <code>${file.uri}</code></span
          >
          <button
            class="press small danger"
            aria-label=${`Remove ${file.uri}`}
            ?disabled=${this.busy}
            @click=${() => void this.drop(file)}
          >
            Remove
          </button>
        </li>`;
      })}
    </ul>`;
  }

  /** How the server of a copy is, where that is not as it should be. */
  private condition(file: File): TemplateResult | typeof nothing {
    if (!this.states) return nothing;
    const state = this.states.get(file.server);
    if (!state) return this.chip("Switched off, or not measured yet", "unknown");
    const is = standing({ enabled: true, drained: state.drained }, state);
    return is === "up" ? nothing : this.chip(STANDINGS[is], is);
  }

  private chip(words: string, look: string): TemplateResult {
    return html`<span class="chip ${look}">${words}</span>`;
  }

  private adder(): TemplateResult {
    return html`<button class="press small" @click=${() => void this.startFile()}>
      Add a copy
    </button>`;
  }

  private fileForm(entry: Title): TemplateResult {
    return html`<form @submit=${(event: SubmitEvent) => void this.submitFile(event, entry)}>
      <div class="two">
        <label
          >Server
          <select name="server" required>
            ${this.servers.map(({ name }) => html`<option>${name}</option>`)}
          </select>
        </label>
        <label
          >Format
          <select name="format">
            ${FORMATS.map(([value, name]) => html`<option value=${value}>${name}</option>`)}
          </select>
        </label>
      </div>
      <label
        >Address
        <input
          name="uri"
          required
          type="url"
          maxlength="2000"
          placeholder="https://films.example.org/film.m3u8"
          autocomplete="off"
        />
      </label>
      <label
        >Rate, Mbit/s
        <input name="rate" type="number" min="0" step="any" placeholder="not known" />
      </label>
      ${this.ends("Add it", () => {
        this.adding = false;
      })}
    </form>`;
  }

  private form(entry: Title | null): TemplateResult {
    return html`<form @submit=${(event: SubmitEvent) => void this.submit(event, entry)}>
      ${nameInput("name", "Name", entry?.name ?? "", "Part of its address: /go/NAME.")}
      <label>Title <input name="title" maxlength="200" .value=${entry?.title ?? ""} /></label>
      <label
        >Description
        <textarea name="description" maxlength="4000" .value=${entry?.description ?? ""}></textarea>
      </label>
      <div class="two">
        <label
          >Length
          <input
            name="duration"
            placeholder="1:32:00"
            .value=${entry?.duration ? clock(entry.duration) : ""}
          />
        </label>
        <label
          >Rating
          <select name="level">
            <option value="">none</option>
            ${this.levels.map(
              ({ code, name }) =>
                html`<option value=${code} ?selected=${code === entry?.level}>${name || code}</option>`,
            )}
          </select>
        </label>
        <label
          >Subjects
          <input
            name="classes"
            placeholder=${this.classes.map(({ code }) => code).join(", ")}
            .value=${entry?.classes.join(", ") ?? ""}
          />
        </label>
        <label
          >Only for regions
          <input name="regions" placeholder="everywhere" .value=${entry?.regions.join(", ") ?? ""} />
        </label>
        <label
          >Its server is chosen by
          <select name="policy">
            ${["", ...POLICIES].map(
              (name) =>
                html`<option value=${name} ?selected=${name === (entry?.policy ?? "")}>
                  ${name || "what holds everywhere"}
                </option>`,
            )}
          </select>
        </label>
      </div>
      ${this.told()} ${this.ends(entry ? "Save" : "Add it", () => this.cancel())}
    </form>`;
  }

  private readonly edit = (): void => {
    this.editing = true;
    void this.readLabels();
  };

  private cancel(): void {
    this.reset();
    if (!this.entry) this.leave();
  }

  private async submit(event: SubmitEvent, entry: Title | null): Promise<void> {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const duration = readDuration(field(form, "duration"));
    if (duration === undefined) {
      this.refuse("The length is told as 1:32:00, 92:00 or seconds.");
      return;
    }
    const values = {
      name: field(form, "name"),
      title: field(form, "title"),
      description: field(form, "description"),
      duration,
      level: field(form, "level"),
      classes: list(field(form, "classes")),
      regions: list(field(form, "regions")),
      policy: field(form, "policy"),
    };
    if (!(await this.attempt(() => (entry ? changeTitle(entry, values) : addTitle(values)))))
      return;
    this.editing = false;
    this.tell(`${values.title || values.name} is ${entry ? "changed" : "there"}.`, values.name);
  }

  protected override async catchUp(): Promise<string> {
    if (!this.entry) return "";
    return this.reread("title", this.entry, getTitle, TOLD, (now) => {
      this.entry = now;
    });
  }

  private async publish(entry: Title): Promise<void> {
    const published = !entry.published;
    if (await this.attempt(() => changeTitle(entry, { published }))) {
      this.tell(`${entry.name} is ${published ? "published" : "withheld"}.`, entry.name);
    }
  }

  private async forget(entry: Title): Promise<void> {
    if (await this.attempt(() => removeTitle(entry.name))) {
      this.tell(`${entry.name} is removed.`, "");
    }
  }

  private async startFile(): Promise<void> {
    const read = await this.attempt(async () => {
      this.servers = (await listServers()).rows;
    });
    if (read && !this.servers.length) this.refuse("Add the server first that holds it.");
    else this.adding = read;
  }

  private async submitFile(event: SubmitEvent, entry: Title): Promise<void> {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const values = {
      title: entry.name,
      server: field(form, "server"),
      format: field(form, "format"),
      uri: field(form, "uri"),
      bits_per_second: Math.round(Number(field(form, "rate")) * 1e6),
    };
    if (!(await this.attempt(() => addFile(values)))) return;
    this.adding = false;
    this.tell(`${entry.name} has a copy on ${values.server}.`, entry.name);
  }

  private async drop(file: File): Promise<void> {
    if (await this.attempt(() => removeFile(file.id))) {
      this.tell(`The copy on ${file.server} is forgotten.`, file.title);
    }
  }

  /** Beside what is being done: that goes on, and so does what it said. */
  private async read(name: string): Promise<void> {
    try {
      const files = await listFiles({ title: name });
      if (this.entry?.name === name) this.files = files;
    } catch (error) {
      if (this.entry?.name === name && !this.files) this.refuse(explain(error));
    }
  }

  private async readLabels(): Promise<void> {
    await this.attempt(async () => {
      [this.levels, this.classes] = await Promise.all([listLevels(), listClasses()]);
    });
  }
}
