import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Figures, Report } from "../../api/reports";
import { shared } from "../../ui/shared";
import { type Column, number } from "./model";

/** The lines of a report, with their sum. */
@customElement("report-table")
export class ReportTable extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: block;
        min-width: 0;
      }
      .scroll {
        overflow-x: auto;
      }
      table {
        width: 100%;
        border-collapse: collapse;
        font-size: 0.93rem;
        font-variant-numeric: tabular-nums;
      }
      th,
      td {
        padding: 0.5rem 0.6rem;
        border-top: 1px solid var(--line);
        text-align: right;
        white-space: nowrap;
      }
      thead th {
        border-top: 0;
        font-size: 0.82rem;
        font-weight: 600;
        color: var(--ink-soft);
      }
      th:first-child,
      td:first-child {
        padding-left: 0;
        text-align: left;
        white-space: normal;
        overflow-wrap: anywhere;
        min-width: 9rem;
      }
      th:last-child,
      td:last-child {
        padding-right: 0;
      }
      tbody th {
        font-weight: 500;
      }
      tfoot th,
      tfoot td {
        border-top: 2px solid var(--line);
        font-weight: 640;
      }
      p {
        margin: 0.8rem 0 0;
        font-size: 0.87rem;
        color: var(--ink-soft);
      }
      @media (max-width: 44rem) {
        .spare {
          display: none;
        }
        table {
          font-size: 0.86rem;
        }
        th,
        td {
          padding-inline: 0.3rem;
        }
        th:first-child,
        td:first-child {
          min-width: 5.5rem;
        }
      }
    `,
  ];

  @property({ attribute: false }) report: Report<Figures> | null = null;
  // Columns know their lines; the page gives those that belong together.
  // biome-ignore lint/suspicious/noExplicitAny: lines of several kinds
  @property({ attribute: false }) columns: readonly Column<any>[] = [];
  /** What the table is about. */
  @property() name = "";
  /** What is to be known of it. */
  @property() note = "";

  override render(): TemplateResult {
    const { report, columns } = this;
    if (!report) return html`<p role="status">Asking the server…</p>`;
    if (report.lines.length === 0) return html`<p>Nothing in this time.</p>`;
    const [first, ...rest] = columns;
    return html`<div class="scroll">
        <table>
          <caption class="visually-hidden">${this.name}</caption>
          <thead>
            <tr>
              ${columns.map(
                (column) => html`<th scope="col" class=${kind(column)}>${column.name}</th>`,
              )}
            </tr>
          </thead>
          <tbody>
            ${report.lines.map(
              (line) => html`<tr>
                <th scope="row">${first?.text(line)}</th>
                ${rest.map((column) => html`<td class=${kind(column)}>${column.text(line)}</td>`)}
              </tr>`,
            )}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">All ${number(report.count)}</th>
              ${rest.map(
                (column) => html`<td class=${kind(column)}>${column.text(report.totals)}</td>`,
              )}
            </tr>
          </tfoot>
        </table>
      </div>
      ${this.note ? html`<p>${this.note}</p>` : nothing}
      ${
        report.count > report.lines.length
          ? html`<p>
              The first ${number(report.lines.length)} of ${number(report.count)}; the files have
              up to 10,000.
            </p>`
          : nothing
      }`;
  }
}

const kind = (column: { readonly spare?: boolean }): string => (column.spare ? "spare" : "");
