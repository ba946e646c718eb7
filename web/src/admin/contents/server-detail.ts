import { html, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import {
  addServer,
  changeServer,
  type File,
  getServer,
  listFiles,
  removeServer,
  type Server,
  type ServerState,
  type ServerValues,
} from "../../api/contents";
import { bitrate, count, duration, milliseconds, secondsSince } from "../../ui/format";
import { field, nameInput } from "../../ui/forms";
import { Detail } from "./detail";
import { type Told, yes } from "./meanwhile";
import "./scan";
import { probeLine, readProbes, STANDINGS, standing } from "./model";

/** A number of which 0 is none. */
const some = (value: number): string => (value ? String(value) : "");

/** What people write of a server. */
const TOLD: readonly Told<Server>[] = [
  { key: "name", label: "Name", field: "name", text: ({ name }) => name },
  { key: "host", label: "Host", field: "host", text: ({ host }) => host },
  { key: "make", label: "Make", field: "make", text: ({ make }) => make },
  { key: "region", label: "Region", field: "region", text: ({ region }) => region },
  {
    key: "capacity_bps",
    label: "Sends, Mbit/s",
    field: "capacity",
    text: (server) => some(server.capacity_bps / 1e6),
  },
  {
    key: "max_sessions",
    label: "Sessions at most",
    field: "sessions",
    text: (server) => some(server.max_sessions),
  },
  { key: "weight", label: "Weight", field: "weight", text: ({ weight }) => String(weight) },
  {
    key: "probes",
    label: "Probes",
    field: "probes",
    text: ({ probes }) => probes.map(probeLine).join("\n"),
  },
  { key: "drained", label: "Drained", field: "", text: ({ drained }) => yes(drained) },
  { key: "enabled", label: "Switched on", field: "", text: ({ enabled }) => yes(enabled) },
];

/** One server, or a new one. */
@customElement("server-detail")
export class ServerDetail extends Detail {
  /** Null: a new one. */
  @property({ attribute: false }) server: Server | null = null;
  @property({ attribute: false }) state: ServerState | undefined;
  @state() private files: readonly File[] = [];

  override willUpdate(changed: PropertyValues<this>): void {
    if (!changed.has("server")) return;
    if (changed.get("server")?.name !== this.server?.name) {
      this.reset();
      this.files = [];
    }
    if (this.server) void this.read(this.server.name);
  }

  override render(): TemplateResult {
    const { server } = this;
    if (!server) return html`<h2>A new server</h2>${this.form(null)}`;
    if (this.editing) return html`<h2>${server.name}</h2>${this.form(server)}`;
    const is = standing(server, this.state);
    const since = secondsSince(this.state?.since ?? null, Date.now());
    return html`<div class="head">
        <h2>${server.name}</h2>
        <span class="chip ${is}">${STANDINGS[is]}</span>
      </div>
      ${this.figures(server, since)}
      ${this.state?.reason ? html`<p class="soft">${this.state.reason}</p>` : nothing}
      ${this.told()}
      <div class="row">
        <button
          class="press small"
          @click=${() => {
            this.editing = true;
          }}
        >
          Change
        </button>
        ${this.toggle(server, "drained", server.drained ? "Return" : "Drain")}
        ${this.toggle(server, "enabled", server.enabled ? "Switch off" : "Switch on")}
        ${this.remover(
          server.name,
          `Its ${count(server.files, "file is", "files are")} forgotten too; what is on the server itself stays.`,
          () => void this.forget(server),
        )}
      </div>
      <section>
        <h3>Files</h3>
        ${this.held(server)}
        <server-scan
          name=${server.name}
          host=${server.host}
          @scanned=${(event: CustomEvent<string>) => this.tell(event.detail, server.name)}
        ></server-scan>
      </section>`;
  }

  private figures(server: Server, since: number | null): TemplateResult {
    const told = [
      server.host,
      server.make,
      server.region && `region ${server.region}`,
      server.capacity_bps && `sends ${bitrate(server.capacity_bps)}`,
      server.max_sessions && count(server.max_sessions, "session", "sessions"),
      server.weight !== 1 && `weight ${server.weight}`,
    ];
    const measured = [
      this.state?.response_ms != null &&
        `${this.state.condition === "down" ? "answered" : "answers"} in ${milliseconds(this.state.response_ms)}`,
      since !== null && `so for ${duration(since)}`,
      server.probes.map(probeLine).join(", "),
    ];
    return html`<p class="soft">${told.filter(Boolean).join(" · ")}</p>
      <p class="soft">${measured.filter(Boolean).join(" · ")}</p>`;
  }

  private held(server: Server): TemplateResult {
    if (!server.files) return html`<p class="soft">None yet.</p>`;
    return html`<ul class="files">
        ${this.files.map(
          (file) => html`<li><span>${file.title}<code>${file.uri}</code></span></li>`,
        )}
      </ul>
      ${
        this.files.length && server.files > this.files.length
          ? html`<p class="soft">
              And ${(server.files - this.files.length).toLocaleString("en")} more.
            </p>`
          : nothing
      }`;
  }

  private toggle(server: Server, what: "drained" | "enabled", name: string): TemplateResult {
    return html`<button
      class="press small"
      ?disabled=${this.busy}
      @click=${() => void this.change(server, { [what]: !server[what] }, name)}
    >
      ${name}
    </button>`;
  }

  private form(server: Server | null): TemplateResult {
    const probes = server ? server.probes.map(probeLine).join("\n") : "icmp@10";
    return html`<form @submit=${(event: SubmitEvent) => void this.submit(event, server)}>
      ${nameInput("name", "Name", server?.name ?? "", "How you call it.")}
      <label
        >Host
        <input
          name="host"
          required
          placeholder="films.example.org"
          autocomplete="off"
          autocapitalize="none"
          spellcheck="false"
          .value=${server?.host ?? ""}
        />
        <span class="hint">Name or address that is measured.</span>
      </label>
      <div class="two">
        <label>Make <input name="make" placeholder="nginx" .value=${server?.make ?? ""} /></label>
        <label>Region <input name="region" placeholder="eu" .value=${server?.region ?? ""} /></label>
        <label
          >Sends, Mbit/s
          <input
            name="capacity"
            type="number"
            min="0"
            step="any"
            placeholder="not known"
            .value=${server?.capacity_bps ? String(server.capacity_bps / 1e6) : ""}
          />
        </label>
        <label
          >Sessions at most
          <input
            name="sessions"
            type="number"
            min="0"
            placeholder="any"
            .value=${server?.max_sessions ? String(server.max_sessions) : ""}
          />
        </label>
        <label
          >Weight
          <input name="weight" type="number" min="0.01" step="any" .value=${String(server?.weight ?? 1)} />
        </label>
      </div>
      <label
        >Probes, one a line
        <textarea class="code" name="probes" spellcheck="false" .value=${probes}></textarea>
        <span class="hint"
          >icmp, tcp, rtsp or http; seconds, port, path: <code>http@0.3:8080/film.mp4</code></span
        >
      </label>
      ${this.told()} ${this.ends(server ? "Save" : "Add it", () => this.cancel())}
    </form>`;
  }

  private cancel(): void {
    this.reset();
    if (!this.server) this.leave();
  }

  private async submit(event: SubmitEvent, server: Server | null): Promise<void> {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    const probes = readProbes(field(form, "probes"));
    if (typeof probes === "string") {
      this.refuse(probes);
      return;
    }
    const values = {
      name: field(form, "name"),
      host: field(form, "host"),
      make: field(form, "make"),
      region: field(form, "region"),
      capacity_bps: Math.round(Number(field(form, "capacity")) * 1e6),
      max_sessions: Number(field(form, "sessions")),
      weight: Number(field(form, "weight")),
      probes,
    };
    const done = await this.attempt(() =>
      server ? changeServer(server, values) : addServer(values),
    );
    if (!done) return;
    this.editing = false;
    this.tell(`${values.name} is ${server ? "changed" : "there and being measured"}.`, values.name);
  }

  protected override async catchUp(): Promise<string> {
    if (!this.server) return "";
    return this.reread("server", this.server, getServer, TOLD, (now) => {
      this.server = now;
    });
  }

  private async change(server: Server, values: Partial<ServerValues>, name: string): Promise<void> {
    if (await this.attempt(() => changeServer(server, values))) {
      this.tell(`${server.name}: ${name.toLowerCase()}, done.`, server.name);
    }
  }

  private async forget(server: Server): Promise<void> {
    if (await this.attempt(() => removeServer(server.name))) {
      this.tell(`${server.name} is removed.`, "");
    }
  }

  private async read(name: string): Promise<void> {
    await this.attempt(async () => {
      const files = await listFiles({ server: name });
      if (this.server?.name === name) this.files = files;
    });
  }
}
