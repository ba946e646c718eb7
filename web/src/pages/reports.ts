import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import {
  CLIENTS,
  dayOf,
  number,
  SERVERS,
  SPANS,
  spanOf,
  stepOf,
  TITLES,
} from "../admin/reports/model";
import "../admin/reports/report-plot";
import "../admin/reports/report-table";
import { ApiError } from "../api/client";
import {
  exportPath,
  type Figures,
  getReport,
  type PeriodLine,
  type Report,
  type ReportName,
  type Span,
} from "../api/reports";
import { signInPath, WithSession } from "../api/session";
import { sayStyles } from "../ui/cards";
import { bytes, duration } from "../ui/format";
import { forms, wrong } from "../ui/forms";
import { pageHeading } from "../ui/headings";
import { ridge, shared } from "../ui/shared";
import "../ui/site-header";
import { pageStyles } from "./reports-styles";

type Tab = Exclude<ReportName, "periods">;

const TABS: readonly { readonly tab: Tab; readonly name: string }[] = [
  { tab: "titles", name: "Titles" },
  { tab: "servers", name: "Servers" },
  { tab: "clients", name: "Clients" },
];
const COLUMNS = { titles: TITLES, servers: SERVERS, clients: CLIENTS };
/** Lines that are shown. */
const SHOWN = "100";
/** Lines of a file: as many as the server gives. */
const FILED = "10000";

/** The page `/admin/reports`: what was asked for and played. */
@customElement("helio-reports")
export class ReportsPage extends LitElement {
  static override styles = [shared, forms, sayStyles, pageHeading, pageStyles];

  @state() private span: Span = { from: 0, to: 0 };
  /** Which of `SPANS` it is; -1: days that were chosen. */
  @state() private chosen = 1;
  @state() private tab: Tab = "titles";
  @state() private periods: Report<PeriodLine> | null = null;
  @state() private report: Report<Figures> | null = null;
  @state() private trouble = "";
  /** What was asked for last: an answer to anything before it comes too late. */
  private asked = 0;
  private started = false;
  private readonly session = new WithSession(this);

  override willUpdate(): void {
    const { current } = this.session;
    if (this.started || !current || !(current.administrator || current.account)) return;
    this.started = true;
    this.choose(this.chosen);
  }

  override render(): TemplateResult {
    return html`<site-header></site-header>
      <main class="frame">
        <h1>Reports</h1>
        ${this.content()}
      </main>`;
  }

  private content(): TemplateResult {
    const { current } = this.session;
    if (!current) return html`<p role="status">Asking the server…</p>`;
    if (!current.administrator && !current.account) {
      return html`<section class="card say">
        ${ridge(false)}
        <p class="lead">Sign in to see what was asked for and played.</p>
        <a class="press main" href=${signInPath("/admin/reports")}>Sign in</a>
      </section>`;
    }
    return html`${this.choice()} ${wrong(this.trouble)} ${this.figures()}
      ${this.empty() ? this.nothingYet() : this.details(current.administrator)}`;
  }

  // what it is about

  private choice(): TemplateResult {
    const { from, to } = this.span;
    return html`<div class="choice">
      <div class="tabs" role="group" aria-label="Time">
        ${SPANS.map(
          ({ name }, index) => html`<button
            aria-pressed=${this.chosen === index}
            @click=${() => this.choose(index)}
          >
            ${name}
          </button>`,
        )}
      </div>
      <form
        class="days"
        @change=${this.days}
        @submit=${(event: Event) => event.preventDefault()}
      >
        <label>From <input type="date" name="first" .value=${dayOf(from)} required /></label>
        <label>to <input type="date" name="last" .value=${dayOf(to - 1)} required /></label>
      </form>
    </div>`;
  }

  private choose(index: number): void {
    const to = Date.now();
    this.chosen = index;
    this.span = { from: to - (SPANS[index]?.ms ?? 0), to };
    void this.load();
  }

  private readonly days = (event: Event): void => {
    const form = new FormData(event.currentTarget as HTMLFormElement);
    const span = spanOf(String(form.get("first")), String(form.get("last")));
    if (!span) {
      this.trouble = "The first day must not be after the last.";
      return;
    }
    this.chosen = -1;
    this.span = span;
    void this.load();
  };

  // what there was

  private figures(): TemplateResult {
    const totals = this.periods?.totals;
    const tile = (name: string, text: string): TemplateResult =>
      html`<div><dt>${name}</dt><dd>${totals ? text : "–"}</dd></div>`;
    return html`<dl class="card tiles">
      ${tile("Redirects", number(totals?.redirects ?? 0))}
      ${tile("Refused", number(totals?.refusals ?? 0))}
      ${tile("Plays", number(totals?.plays ?? 0))}
      ${tile("Played", duration(totals?.seconds ?? 0))}
      ${tile("Sent", bytes(totals?.sent_bytes ?? 0))}
    </dl>`;
  }

  private empty(): boolean {
    const totals = this.periods?.totals;
    return !!totals && totals.redirects + totals.plays + (totals.refusals ?? 0) === 0;
  }

  private nothingYet(): TemplateResult {
    return html`<section class="card say">
      ${ridge(false)}
      <p class="lead">
        Nothing was asked for or played in this time. What is, is shown here some seconds later.
      </p>
      <a class="press" href="/">See what is on air</a>
    </section>`;
  }

  private details(administrator: boolean): TemplateResult {
    const step = stepOf(this.span);
    const missing = this.periods?.missing ?? 0;
    return html`<section class="card">
        <div class="head">
          <h2>By ${step}</h2>
          ${this.exports("periods", { step })}
        </div>
        <report-plot .lines=${this.periods?.lines ?? []} .step=${step}></report-plot>
        ${
          missing > 0
            ? html`<p class="missing">
                ${number(missing)} records are missing: a process was killed, or a disk was full.
              </p>`
            : nothing
        }
      </section>
      <section class="card">
        <div class="head">
          ${administrator ? this.tabs() : html`<h2>Your channels</h2>`}
          ${this.exports(this.tab, { limit: FILED })}
        </div>
        <report-table
          .report=${this.report}
          .columns=${COLUMNS[this.tab]}
          .note=${this.tab === "clients" ? "Clients are counted by whole days of UTC." : ""}
          .name=${TABS.find((one) => one.tab === this.tab)?.name ?? ""}
        ></report-table>
      </section>`;
  }

  private tabs(): TemplateResult {
    return html`<div class="tabs" role="group" aria-label="Report">
      ${TABS.map(
        ({ tab, name }) => html`<button
          aria-pressed=${this.tab === tab}
          @click=${() => {
            this.tab = tab;
            this.report = null;
            void this.load();
          }}
        >
          ${name}
        </button>`,
      )}
    </div>`;
  }

  private exports(name: ReportName, more: Readonly<Record<string, string>>): TemplateResult {
    const link = (format: "csv" | "json"): TemplateResult =>
      html`<a
        class="press small"
        href=${exportPath(name, this.span, format, more)}
        download="${name}.${format}"
        aria-label="${name} as ${format.toUpperCase()}"
        >${format.toUpperCase()}</a
      >`;
    return html`<span class="exports">${link("csv")} ${link("json")}</span>`;
  }

  private async load(): Promise<void> {
    const asked = ++this.asked;
    const { span, tab } = this;
    try {
      const [periods, report] = await Promise.all([
        getReport<PeriodLine>("periods", span, { step: stepOf(span) }),
        getReport<Figures>(tab, span, { limit: SHOWN }),
      ]);
      if (asked !== this.asked) return;
      this.periods = periods;
      this.report = report;
      this.trouble = "";
    } catch (error) {
      if (asked !== this.asked) return;
      this.trouble = error instanceof ApiError ? error.message : "The server does not answer.";
    }
  }
}
