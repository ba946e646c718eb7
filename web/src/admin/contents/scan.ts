import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { type Scan, scanServer } from "../../api/contents";
import { explain } from "../../api/session";
import { count } from "../../ui/format";
import { field, forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { rejects } from "./rejects";
import { detailStyles } from "./styles";

/** Files found that are shown. */
const SHOWN = 50;

/**
 * Looks through a server's listing or playlist, and registers what it holds.
 *
 * @fires scanned - what it holds is registered; `detail` says it in words
 */
@customElement("server-scan")
export class ServerScan extends LitElement {
  static override styles = [
    shared,
    forms,
    detailStyles,
    css`
      .found {
        margin-top: 1rem;
      }
    `,
  ];

  /** Name of the server. */
  @property() name = "";
  /** Where it is likely to be looked through. */
  @property() host = "";
  @state() private busy = false;
  @state() private trouble = "";
  @state() private scan: Scan | null = null;

  override willUpdate(changed: Map<PropertyKey, unknown>): void {
    if (!changed.has("name")) return;
    this.scan = null;
    this.trouble = "";
  }

  override render(): TemplateResult {
    return html`<form @submit=${(event: SubmitEvent) => void this.submit(event)}>
        <label
          >Look through
          <input
            name="url"
            type="url"
            required
            maxlength="2000"
            autocomplete="off"
            placeholder=${`http://${this.host}/films/`}
          />
          <span class="hint">A directory listing or a playlist; what lies below it is looked at.</span>
        </label>
        <label><input name="any_host" type="checkbox" /> Also on another host than ${this.host}</label>
        ${wrong(this.trouble)}
        <div class="row">
          <button class="press small" value="dry" ?disabled=${this.busy}>Only look</button>
          <button class="press small" value="register" ?disabled=${this.busy}>Register</button>
          ${this.busy ? html`<span role="status">Looking…</span>` : nothing}
        </div>
      </form>
      ${this.scan ? this.told(this.scan) : nothing}`;
  }

  private told(scan: Scan): TemplateResult {
    const { found, pages, cut } = scan;
    const rest = found.length - SHOWN;
    return html`<div class="found">
      <p class="soft" role="status">
        ${count(found.length, "file", "files")} on ${count(pages, "page", "pages")}${
          cut ? `; not everything was looked at: ended ${cut}` : ""
        }.
      </p>
      <ul class="files">
        ${found
          .slice(0, SHOWN)
          .map(({ name, uri }) => html`<li><span>${name}<code>${uri}</code></span></li>`)}
      </ul>
      ${rest > 0 ? html`<p class="soft">And ${rest.toLocaleString("en")} more.</p>` : nothing}
      ${rejects([...scan.failed, ...scan.rejected])}
    </div>`;
  }

  private async submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const { name } = this;
    const form = event.target as HTMLFormElement;
    const url = field(form, "url");
    const anyHost = new FormData(form).has("any_host");
    const dry = (event.submitter as HTMLButtonElement | null)?.value === "dry";
    this.busy = true;
    this.trouble = "";
    try {
      const scan = await scanServer(name, url, dry, anyHost);
      if (this.name !== name) return;
      this.scan = scan;
      if (!dry) this.tell(scan);
    } catch (error) {
      this.trouble = explain(error);
    } finally {
      this.busy = false;
    }
  }

  private tell({ added, changed }: Scan): void {
    const detail = `${count(added, "row", "rows")} added, ${changed.toLocaleString("en")} changed.`;
    this.dispatchEvent(new CustomEvent("scanned", { detail }));
  }
}
