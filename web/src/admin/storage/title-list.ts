import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { type Check, type StoredTitle, verifyTitle } from "../../api/storage";
import { boxes, forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { reason } from "../reason";
import type { Ask } from "./asks";
import { progressBar } from "./bar";
import { checkLine, titleLine } from "./model";
import { barStyles, listStyles } from "./styles";

/** Between two questions how far a check is. */
const ASK_MS = 1_000;
/** Titles shown at first, and further ones at a time. */
const PAGE = 100;

/**
 * Titles on the volumes, with what can be done to them.
 *
 * @fires wanted - `detail` is an `Ask`
 */
@customElement("stored-titles")
export class StoredTitles extends LitElement {
  static override styles = [shared, forms, boxes, barStyles, listStyles];

  /** Null until they are known. */
  @property({ attribute: false }) titles: readonly StoredTitle[] | null = null;
  /** Whether it is told on which volume a title is. */
  @property({ type: Boolean }) several = false;
  @state() private checks: ReadonlyMap<string, Check> = new Map();
  @state() private trouble = "";
  @state() private wanted = "";
  @state() private shown = PAGE;
  private readonly timers = new Map<string, number>();

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    for (const timer of this.timers.values()) clearTimeout(timer);
    this.timers.clear();
  }

  override render(): TemplateResult {
    const { titles } = this;
    const found = titles?.filter((one) =>
      `${one.name} ${one.title}`.toLowerCase().includes(this.wanted),
    );
    return html`<div class="head">
        <h2>Titles</h2>
        ${
          titles && titles.length > 8
            ? html`<label class="find"
                ><span class="visually-hidden">Search titles</span
                ><input
                  type="search"
                  placeholder="Search"
                  @input=${(event: Event) => {
                    this.wanted = (event.target as HTMLInputElement).value.trim().toLowerCase();
                  }}
              /></label>`
            : nothing
        }
      </div>
      ${wrong(this.trouble)}
      ${
        found === undefined
          ? html`<p class="none" role="status">Asking the server…</p>`
          : found.length === 0
            ? html`<p class="none">
                ${this.wanted ? "No title is called so." : "No title yet. Import a film, or record a channel."}
              </p>`
            : html`<ul>
                ${repeat(
                  found.slice(0, this.shown),
                  ({ name }) => name,
                  (one) => this.row(one),
                )}
              </ul>`
      }
      ${
        found && found.length > this.shown
          ? html`<button
              class="press small"
              @click=${() => {
                this.shown += PAGE;
              }}
            >
              Show more
            </button>`
          : nothing
      }`;
  }

  private row(title: StoredTitle): TemplateResult {
    const { name } = title;
    const shown = title.title || name;
    const check = this.checks.get(name);
    const reading = check?.ended === null;
    return html`<li data-title=${name}>
      <div>
        <a href=${`/watch/${encodeURIComponent(name)}`}><strong>${shown}</strong></a>
        ${title.live ? html`<span class="chip on_air">Recording</span>` : nothing}
        <small>${titleLine(title)}</small>
        <small>${name}${this.several ? ` · on ${title.volume}` : ""}</small>
      </div>
      <div class="does">
        ${
          title.live
            ? nothing
            : html`<a
                  class="press small"
                  href=${`/titles/${encodeURIComponent(name)}.mp4`}
                  download=${`${name}.mp4`}
                  aria-label=${`Download ${shown} as MP4`}
                  >MP4</a
                ><button
                  class="press small"
                  ?disabled=${reading}
                  aria-label=${`Verify ${shown}`}
                  @click=${() => this.verify(name)}
                >
                  Verify
                </button>`
        }
        <button
          class="press small danger"
          aria-label=${`Erase ${shown}`}
          @click=${() => this.want({ kind: "erase", title })}
        >
          Erase
        </button>
      </div>
      ${reading ? progressBar(check.total ? check.done / check.total : null, `Check of ${shown}`) : nothing}
      ${
        check
          ? html`<p
              class="line ${reading || check.good ? "" : "bad"}"
              role=${reading ? nothing : "status"}
            >
              ${checkLine(check)}
            </p>`
          : nothing
      }
    </li>`;
  }

  private async verify(name: string): Promise<void> {
    clearTimeout(this.timers.get(name));
    this.timers.delete(name);
    try {
      const check = await verifyTitle(name);
      this.checks = new Map(this.checks).set(name, check);
      this.trouble = "";
      // What has ended is told once; asked again, the server begins anew.
      if (check.ended === null && this.isConnected) {
        this.timers.set(
          name,
          window.setTimeout(() => void this.verify(name), ASK_MS),
        );
      }
    } catch (error) {
      const checks = new Map(this.checks);
      checks.delete(name);
      this.checks = checks;
      this.trouble = reason(error);
    }
  }

  private want(ask: Ask): void {
    this.dispatchEvent(
      new CustomEvent<Ask>("wanted", { detail: ask, bubbles: true, composed: true }),
    );
  }
}
