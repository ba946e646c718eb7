import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { type AuditEntry, readAudit } from "../api/admin";
import { explain } from "../api/session";
import { moment } from "../ui/format";
import { forms, wrong } from "../ui/forms";
import { shared } from "../ui/shared";
import { actionWords, detailWords } from "./audit-words";

const PAGE = 25;

/** Who did what, the newest first, a page at a time. */
@customElement("audit-log")
export class AuditLog extends LitElement {
  static override styles = [
    shared,
    forms,
    css`
      :host {
        display: grid;
        gap: 1rem;
      }
      ol {
        margin: 0;
        padding: 0;
        list-style: none;
      }
      li {
        display: grid;
        grid-template-columns: 11.5rem minmax(0, 1fr) auto;
        gap: 0 1.2rem;
        padding: 0.55rem 0;
        border-top: 1px solid var(--line);
        font-size: 0.93rem;
      }
      li:first-child {
        border-top: 0;
      }
      time,
      .from,
      .detail {
        color: var(--ink-soft);
        font-size: 0.87rem;
        font-variant-numeric: tabular-nums;
      }
      .what {
        min-width: 0;
        overflow-wrap: anywhere;
      }
      .detail {
        display: block;
      }
      @media (max-width: 46rem) {
        li {
          grid-template-columns: minmax(0, 1fr) auto;
        }
        .what {
          grid-column: 1 / -1;
          grid-row: 2;
        }
      }
    `,
  ];

  @state() private entries: readonly AuditEntry[] | null = null;
  /** Ids that the pages before this one began behind; null is the newest. */
  @state() private pages: readonly (number | null)[] = [null];
  @state() private trouble = "";
  @state() private busy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.load(this.pages);
  }

  override render(): TemplateResult {
    const { entries, pages } = this;
    if (!entries) {
      return this.trouble ? html`${wrong(this.trouble)}` : html`<p role="status">Reading…</p>`;
    }
    const last = entries.at(-1);
    return html`
      ${wrong(this.trouble)}
      ${
        entries.length === 0
          ? html`<p>${pages.length > 1 ? "Nothing older." : "Nothing was done so far."}</p>`
          : html`<ol>
              ${entries.map((entry) => html`<li>${this.line(entry)}</li>`)}
            </ol>`
      }
      <div class="row">
        <button
          class="press small"
          ?disabled=${this.busy || pages.length === 1}
          @click=${() => void this.load(pages.slice(0, -1))}
        >
          Newer
        </button>
        <button
          class="press small"
          ?disabled=${this.busy || entries.length < PAGE || !last}
          @click=${() => last && void this.load([...pages, last.id])}
        >
          Older
        </button>
      </div>
    `;
  }

  private line(entry: AuditEntry): TemplateResult {
    const detail = detailWords(entry.detail);
    // Who signs in does that as oneself.
    const subject = entry.subject === entry.actor ? "" : entry.subject;
    return html`<time datetime=${entry.at}>${moment(entry.at)}</time>
      <span class="what"
        ><strong>${entry.actor}</strong> ${actionWords(entry.action, subject === "")}
        ${subject ? html`<strong>${subject}</strong>` : nothing}
        ${detail ? html`<span class="detail">${detail}</span>` : nothing}</span
      >
      <span class="from">${entry.address}</span>`;
  }

  private async load(pages: readonly (number | null)[]): Promise<void> {
    this.busy = true;
    this.trouble = "";
    try {
      this.entries = await readAudit(PAGE, pages.at(-1) ?? null);
      this.pages = pages;
    } catch (error) {
      this.trouble = explain(error);
    }
    this.busy = false;
  }
}
