import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import "../admin/cluster/channel-list";
import "../admin/cluster/dialog";
import type { Ask, Outcome } from "../admin/cluster/dialog";
import { History } from "../admin/cluster/history";
import "../admin/cluster/inspector";
import "../admin/cluster/log-panel";
import { leadership, left, merged, totals } from "../admin/cluster/model";
import { administers, barred, type Domains, domainsIn, rightsOf } from "../admin/cluster/rights";
import "../admin/cluster/spark-line";
import "../admin/cluster/unit-list";
import { reason } from "../admin/reason";
import { stranger } from "../admin/stranger";
import { ApiError } from "../api/client";
import {
  type Closing,
  type ClusterView,
  getCluster,
  type Manager,
  type Progress,
} from "../api/cluster";
import { EventFeed } from "../api/events";
import { oversees, WithSession } from "../api/session";
import { sayStyles } from "../ui/cards";
import "../ui/copy-line";
import { bitrate, count, percent } from "../ui/format";
import { forms } from "../ui/forms";
import { wideHeading } from "../ui/headings";
import { tabStyles, tabs } from "../ui/panes";
import { ridge, shared } from "../ui/shared";
import "../ui/site-header";
import { Toast, toastStyles } from "../ui/toast";
import { pageStyles } from "./cluster-styles";

type Tab = "units" | "channels" | "log";

const TABS: readonly [Tab, string][] = [
  ["units", "Units"],
  ["channels", "Channels"],
  ["log", "Log"],
];
/** Between two attempts while there is no cluster to be asked. */
const RETRY_MS = 10_000;

/** What the stream tells of a command that takes a while. */
interface ProgressNews {
  readonly command: string;
  readonly subject: string;
  readonly done: boolean;
  readonly progress: Progress | Closing | null;
}

/** The page `/cluster`. */
@customElement("helio-cluster")
export class ClusterPage extends LitElement {
  static override styles = [
    shared,
    forms,
    sayStyles,
    tabStyles,
    toastStyles,
    wideHeading,
    pageStyles,
  ];

  @state() private view: ClusterView | null = null;
  @state() private managers: readonly Manager[] = [];
  /** Why there is no view, or no newer one. */
  @state() private trouble = "";
  /** No cluster: the server is alone. */
  @state() private alone = false;
  @state() private asked = false;
  @state() private connected = true;
  @state() private unit = "";
  @state() private channel = "";
  @state() private ask: Ask | null = null;
  @state() private tab: Tab = "units";
  /** The only domain whose units are listed; empty: those of all. */
  @state() private domain = "";
  @state() private progress: ReadonlyMap<string, Progress> = new Map();
  /** What units had when their drain began. */
  private readonly most = new Map<string, number>();
  private readonly history = new History();
  private at = 0;
  private timer = 0;
  private readonly toast = new Toast(this);
  private started = false;
  private readonly session = new WithSession(this);
  private readonly feed = new EventFeed(
    "/cluster/events",
    ["view", "managers", "progress", "trouble"],
    {
      heard: (name, data) => this.heard(name, data),
      connected: (is) => {
        this.connected = is;
      },
    },
  );

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.feed.stop();
    clearTimeout(this.timer);
    this.started = false;
  }

  override willUpdate(): void {
    const { current } = this.session;
    if (this.started || !oversees(current)) return;
    this.started = true;
    const domains = this.domains;
    if (domains?.length === 1) this.domain = domains[0] ?? "";
    void this.begin();
  }

  override render(): TemplateResult {
    return html`<site-header></site-header>
      <main class="frame">${this.content()}</main>`;
  }

  private content(): TemplateResult {
    const { current } = this.session;
    if (!current) return html`<p role="status">Asking the server…</p>`;
    if (!oversees(current)) return stranger(current.account !== null, "/cluster");
    if (this.alone) return this.nobodyElse();
    if (!this.asked) return html`<p role="status">Asking the server…</p>`;
    return html`${this.top()} ${this.banner()} ${this.view ? this.lists(this.view) : this.empty()}
      ${
        this.ask
          ? html`<cluster-dialog
              .ask=${this.ask}
              .units=${this.view?.units.filter((one) => administers(this.domains, one)) ?? []}
              ?some=${this.domains !== null}
              @dialog-closed=${this.acted}
            ></cluster-dialog>`
          : nothing
      }
      ${this.toast.render()}`;
  }

  private nobodyElse(): TemplateResult {
    return html`<h1>Cluster</h1>
      <section class="card say">
        ${ridge(true, true)}
        <p class="lead">
          This server is alone. Further machines make it a cluster that carries more viewers, and goes
          on when one of them dies.
        </p>
        <ol class="steps">
          <li>
            Start this server as the first node:
            <copy-line label="command" text="helio serve --set cluster.enabled=true"></copy-line>
          </li>
          <li>
            Make a token for one machine, here:
            <copy-line
              label="command"
              text="helio token --key-file var/administrator.key"
            ></copy-line>
          </li>
          <li>
            Start the other machine with what that shows:
            <copy-line
              label="command"
              text="helio serve --join tls/${location.hostname}:7447 --token …"
            ></copy-line>
          </li>
        </ol>
      </section>`;
  }

  /** There is a cluster, and nobody who knows it. */
  private empty(): TemplateResult {
    return html`<section class="card say">
        ${ridge(false, true)}
        <p class="lead">
          No manager has described the cluster yet. Channels go on and viewers are let in to the places
          that are granted; nothing grows, moves or heals until one leads.
        </p>
      </section>
      ${this.log()}`;
  }

  private banner(): TemplateResult | typeof nothing {
    if (!this.connected) {
      return html`<div class="banner" role="alert">
        <strong>Not connected.</strong> The server does not answer; what is shown is from before.
      </div>`;
    }
    if (!this.idle) return nothing;
    const { standby } = leadership(this.managers);
    const who = standby
      ? `${standby === 1 ? "One stands" : `${standby} stand`} by and will take over when it gets the lease.`
      : "None is there: start one with the role “manager”.";
    return html`<div class="banner" role="alert">
      <span><strong>No manager is active.</strong> ${who} What runs goes on; orders have to wait.</span>
    </div>`;
  }

  /** What the person administers. */
  private get domains(): Domains {
    return rightsOf(this.session.current).domains;
  }

  /** Which units are listed, where there are domains. */
  private chooser(view: ClusterView): TemplateResult | typeof nothing {
    const all = domainsIn(view, [this.domain, ...(this.domains ?? [])]);
    if (!all.length) return nothing;
    return html`<select
      class="domain"
      aria-label="Domain whose units are listed"
      @change=${(event: Event) => {
        this.domain = (event.target as HTMLSelectElement).value;
      }}
    >
      <option value="" ?selected=${!this.domain}>All domains</option>
      ${all.map(
        (one) => html`<option value=${one} ?selected=${one === this.domain}>${one}</option>`,
      )}
    </select>`;
  }

  /** Nobody leads: nothing can be ordered. */
  private get idle(): boolean {
    return this.trouble !== "" || !this.view?.manager;
  }

  private top(): TemplateResult {
    const { view } = this;
    const { active, standby } = leadership(this.managers);
    const sum = view ? totals(view) : null;
    const points = this.history.of();
    const loss = points.at(-1)?.loss ?? null;
    return html`<section class="top">
      <div class="who">
        <h1>Cluster</h1>
        <p>
          ${
            this.idle
              ? html`<span class="chip waiting">No manager</span>`
              : html`<span class="chip leads">${active || view?.manager} leads</span>`
          }
          <span class="soft"
            >${[
              standby ? `${standby} ${standby === 1 ? "stands" : "stand"} by` : "",
              view ? `epoch ${view.epoch}` : "",
            ]
              .filter(Boolean)
              .join(" · ")}</span
          >
          ${view ? this.chooser(view) : nothing}
        </p>
      </div>
      ${
        sum && view
          ? html`<dl>
                <div><dt>Units up</dt><dd>${sum.up} <small>of ${sum.units}</small></dd></div>
                <div><dt>Channels open</dt><dd>${sum.open.toLocaleString("en")} <small>of ${view.channels.length.toLocaleString("en")}</small></dd></div>
              </dl>
              <div class="plots">
                <spark-line
                  name="Viewers"
                  of="viewers"
                  .points=${points}
                  .at=${this.at}
                  .value=${sum.viewers.toLocaleString("en")}
                  .limit=${`of ${sum.capacity.toLocaleString("en")}`}
                ></spark-line>
                <spark-line
                  name="Bandwidth"
                  of="bandwidth"
                  .points=${points}
                  .at=${this.at}
                  .value=${bitrate(sum.bandwidth)}
                  .limit=${sum.bandwidthLimit ? `of ${bitrate(sum.bandwidthLimit)}` : ""}
                ></spark-line>
                <spark-line
                  name="Loss on links"
                  of="loss"
                  .points=${points}
                  .at=${this.at}
                  .value=${percent(loss)}
                ></spark-line>
              </div>`
          : nothing
      }
    </section>`;
  }

  private lists(view: ClusterView): TemplateResult {
    const units = new Map(view.units.map((unit) => [unit.id, unit]));
    const unit = units.get(this.unit) ?? null;
    const channel = view.channels.find((one) => one.name === this.channel) ?? null;
    const shown = unit ?? channel;
    const rights = rightsOf(this.session.current);
    const shownTabs = this.domains === null ? TABS : TABS.filter(([name]) => name !== "log");
    return html`${tabs(shownTabs, this.tab, (tab) => {
      this.tab = tab;
    })}
      <div class="panes show-${this.tab}">
        <unit-list
          .units=${this.domain ? view.units.filter((one) => one.domain === this.domain) : view.units}
          .unit=${this.unit}
          .channel=${this.channel}
          .progress=${this.progress}
          @unit-chosen=${this.chooseUnit}
          @channel-chosen=${this.chooseChannel}
        ></unit-list>
        <div class="right ${shown ? "inspecting" : ""}">
          ${
            shown
              ? html`<cluster-inspector
                  .unit=${unit}
                  .channel=${unit ? null : channel}
                  .units=${units}
                  .titles=${new Map(view.channels.map((one) => [one.name, one.title ?? ""]))}
                  .history=${this.history}
                  .at=${this.at}
                  .progress=${this.progress.get(this.unit) ?? null}
                  .most=${this.most.get(this.unit) ?? 0}
                  .rights=${rights}
                  ?idle=${this.idle}
                  @action-wanted=${this.want}
                  @unit-chosen=${this.chooseUnit}
                  @channel-chosen=${this.chooseChannel}
                ></cluster-inspector>`
              : nothing
          }
          <channel-list
            .channels=${view.channels}
            .channel=${this.channel}
            .barred=${barred({ kind: "create" }, rights, units)}
            @channel-chosen=${this.chooseChannel}
            @channel-wanted=${() => {
              this.ask = { kind: "create" };
            }}
          ></channel-list>
        </div>
        ${this.log()}
      </div>`;
  }

  /** What nodes say is of all channels: it is for administrators of the whole cluster. */
  private log(): TemplateResult | typeof nothing {
    return this.domains === null ? html`<log-panel></log-panel>` : nothing;
  }

  // what is chosen

  private readonly chooseUnit = (event: CustomEvent<string>): void => {
    this.unit = event.detail;
  };

  /** Its groups are shown in the list of units: a unit in detail would stand before its tree. */
  private readonly chooseChannel = (event: CustomEvent<string>): void => {
    this.channel = event.detail;
    this.unit = "";
  };

  private readonly want = (event: CustomEvent<Ask>): void => {
    this.ask = event.detail;
  };

  private readonly acted = (event: CustomEvent<Outcome | null>): void => {
    this.ask = null;
    const outcome = event.detail;
    if (!outcome) return;
    const { ask, done, said } = outcome;
    if (ask.kind === "drain" && done && !done.done && done.progress) {
      this.follow(ask.unit.id, done.progress as Progress);
    } else if (ask.kind === "close" && done && !done.done) {
      this.toast.say(`${ask.channel.title || ask.channel.name} is being closed.`);
    } else {
      this.toast.say(said);
    }
    if (ask.kind === "delete") this.channel = "";
    if (ask.kind === "remove") this.unit = "";
  };

  private follow(unit: string, progress: Progress): void {
    if (!this.progress.has(unit)) this.most.set(unit, left(progress));
    this.progress = new Map(this.progress).set(unit, progress);
  }

  private closing(name: string, done: boolean, progress: Closing | null): void {
    const shown = this.view?.channels.find((one) => one.name === name)?.title || name;
    const left = progress ? count(progress.units, "unit", "units") : "";
    this.toast.say(done ? `${shown} is closed.` : `${shown} is being closed: ${left} to go.`);
  }

  private unfollow(unit: string): void {
    const rest = new Map(this.progress);
    if (rest.delete(unit)) this.progress = rest;
  }

  // what comes

  private async begin(): Promise<void> {
    clearTimeout(this.timer);
    try {
      const { managers, ...view } = await getCluster();
      this.managers = managers;
      this.take(view);
    } catch (error) {
      const { status, subject } =
        error instanceof ApiError ? error : { status: 0, subject: null as string | null };
      this.alone = status === 503 && subject === "cluster";
      this.trouble = reason(error);
      if (this.alone || status === 0) {
        this.connected = status !== 0;
        this.asked = true;
        this.timer = window.setTimeout(() => void this.begin(), RETRY_MS);
        return;
      }
    }
    this.alone = false;
    this.connected = true;
    this.asked = true;
    this.feed.start();
  }

  private heard(name: string, data: unknown): void {
    switch (name) {
      case "view":
        this.take(data as ClusterView);
        break;
      case "managers":
        this.managers = (data as { managers: readonly Manager[] }).managers;
        break;
      case "trouble":
        this.trouble = (data as { message: string }).message;
        break;
      case "progress": {
        const { command, subject, done, progress } = data as ProgressNews;
        if (command === "close") this.closing(subject, done, progress as Closing | null);
        else if (progress && !done) this.follow(subject, progress as Progress);
        else if (done) {
          const unit = this.view?.units.find((one) => one.id === subject);
          this.unfollow(subject);
          if (unit)
            this.toast.say(`${unit.name} has nothing any more: it may be removed or stopped.`);
        }
      }
    }
  }

  private take(view: ClusterView): void {
    this.trouble = "";
    this.view = merged(this.view, view);
    this.at = performance.now() / 1000;
    this.history.add(this.view, this.at);
    for (const id of this.progress.keys()) {
      const unit = view.units.find((one) => one.id === id);
      // Returned, or removed.
      if (!unit || unit.state === "up" || unit.state === "pressed") this.unfollow(id);
    }
  }
}
