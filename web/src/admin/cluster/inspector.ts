import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { ChannelView, Progress, UnitView } from "../../api/cluster";
import { bitrate, bytes, count, percent } from "../../ui/format";
import { forms } from "../../ui/forms";
import { shared } from "../../ui/shared";
import "./channel-tree";
import type { Ask } from "./dialog";
import type { History } from "./history";
import {
  capacity,
  left,
  leftWords,
  placesOf,
  removable,
  STATES,
  share,
  stateOf,
  viewersOf,
} from "./model";
import { clusterStyles, colour } from "./parts";
import { barred, type Rights, rightsOf } from "./rights";
import "./spark-line";

/**
 * What is chosen, in detail, with what can be done to it.
 *
 * @fires action-wanted - `detail` is an `Ask`
 * @fires unit-chosen - `detail` is a unit's id, or empty
 * @fires channel-chosen - `detail` is a channel's name, or empty
 */
@customElement("cluster-inspector")
export class Inspector extends LitElement {
  static override styles = [
    shared,
    forms,
    clusterStyles,
    css`
      :host {
        display: flex;
        flex-direction: column;
        gap: 0.8rem;
        min-height: 0;
        overflow: hidden;
        padding: 1rem clamp(0.9rem, 2vw, 1.2rem);
        border-radius: var(--radius);
        background: var(--surface);
        box-shadow: var(--shadow);
      }
      header {
        display: flex;
        align-items: flex-start;
        gap: 0.7rem;
      }
      header .square {
        width: 0.95rem;
        height: 0.95rem;
        margin-top: 0.35rem;
        border-radius: 4px;
      }
      header div {
        flex: 1;
        min-width: 0;
      }
      h2 {
        margin: 0;
        font-size: 1.15rem;
        line-height: 1.35;
        overflow-wrap: anywhere;
      }
      .facts {
        margin: 0.1rem 0 0;
        font-size: 0.85rem;
        color: var(--ink-soft);
        overflow-wrap: anywhere;
      }
      .shut {
        flex: none;
        display: grid;
        place-items: center;
        width: 2.25rem;
        height: 2.25rem;
        border: 0;
        border-radius: 8px;
        background: none;
        font-size: 1.3rem;
        line-height: 1;
        color: var(--ink-soft);
      }
      .shut:hover {
        background: var(--sunk);
      }
      .row {
        gap: 0.45rem;
      }
      .body {
        min-height: 0;
        overflow: auto;
        scrollbar-width: thin;
      }
      .plots {
        display: grid;
        grid-template-columns: repeat(3, minmax(0, 1fr));
        gap: 1.1rem;
      }
      ul {
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(min(100%, 15rem), 1fr));
        gap: 0 1.1rem;
        margin: 0.8rem 0 0;
        padding: 0;
        list-style: none;
      }
      li button {
        display: flex;
        align-items: center;
        gap: 0.6rem;
        width: 100%;
        padding: 0.4rem 0.3rem;
        border: 0;
        border-top: 1px solid var(--line);
        background: none;
        font-size: 0.88rem;
        text-align: left;
      }
      li button:hover {
        background: var(--field);
      }
      li .cut {
        flex: 1;
        min-width: 0;
        font-weight: 600;
      }
      progress {
        width: 100%;
        height: 6px;
        border: 0;
        border-radius: 99px;
        overflow: hidden;
        background: var(--sunk);
        appearance: none;
      }
      progress::-webkit-progress-bar {
        background: var(--sunk);
      }
      progress::-webkit-progress-value {
        background: var(--sun);
        transition: width 0.4s;
      }
      progress::-moz-progress-bar {
        background: var(--sun);
      }
      .draining {
        display: grid;
        gap: 0.35rem;
        font-size: 0.88rem;
      }
      @media (max-width: 34rem) {
        .plots {
          gap: 0.8rem;
        }
      }
    `,
  ];

  @property({ attribute: false }) unit: UnitView | null = null;
  @property({ attribute: false }) channel: ChannelView | null = null;
  @property({ attribute: false }) units: ReadonlyMap<string, UnitView> = new Map();
  @property({ attribute: false }) titles: ReadonlyMap<string, string> = new Map();
  @property({ attribute: false }) history: History | null = null;
  @property({ type: Number }) at = 0;
  @property({ attribute: false }) progress: Progress | null = null;
  /** What the unit had when its drain began. */
  @property({ type: Number }) most = 0;
  /** Nothing can be ordered: nobody leads. */
  @property({ type: Boolean }) idle = false;
  /** What the person may. */
  @property({ attribute: false }) rights: Rights = rightsOf(null);

  override render(): TemplateResult | typeof nothing {
    if (this.unit) return this.ofUnit(this.unit);
    return this.channel ? this.ofChannel(this.channel) : nothing;
  }

  private ofChannel(channel: ChannelView): TemplateResult {
    const { name, title, viewers, places, groups, kept, epoch } = channel;
    const enters = channel.ingest ? this.named(channel.ingest) : "";
    const next = channel.next_ingest ? this.named(channel.next_ingest) : "";
    const state = stateOf(channel);
    const facts = [
      title && title !== name ? name : "",
      state === "closed" ? "closed: nobody gets in" : "",
      state === "idle" ? "no unit has it yet" : "",
      `${viewers.toLocaleString("en")} of ${count(places, "viewer", "viewers")}`,
      count(groups, "group", "groups") + (kept && kept > 1 ? ` (${kept} kept)` : ""),
      channel.bitrate ? bitrate(channel.bitrate) : "",
      enters ? `enters at ${enters}` : "",
      next && next !== enters ? `moves to ${next}` : "",
      epoch ? `epoch ${epoch}` : "",
    ];
    return html`${this.head(title || name, facts, html`<span class="square" style="background: ${colour(name)}"></span>`)}
      <div class="row">
        ${
          state === "open"
            ? html`${this.press("Extend", { kind: "extend", channel })}
              ${this.press("Shrink", { kind: "shrink", channel })}
              ${this.press("Move", { kind: "move", channel })}`
            : this.press("Open", { kind: "open", channel })
        }
        <a class="press small" href="/watch/${name}">Watch</a>
        ${state === "closed" ? nothing : this.press("Close", { kind: "close", channel }, true)}
        ${this.press("Delete", { kind: "delete", channel }, true)}
      </div>
      <div class="body">
        <channel-tree .channel=${channel} .units=${this.units}></channel-tree>
      </div>`;
  }

  private ofUnit(unit: UnitView): TemplateResult {
    const { used, limits, link } = unit;
    const facts = [
      STATES[unit.state],
      unit.domain ? `domain ${unit.domain}` : "",
      unit.location ?? "",
      unit.address ?? "",
      link ? `link ${link.up ? "up" : "silent"}` : "",
      used && limits ? `CPU ${percent(share(used.cpu, limits.cpu))}` : "",
      used && limits ? `memory ${bytes(used.memory)} of ${bytes(limits.memory)}` : "",
      unit.id,
    ];
    const points = this.history?.of(unit.id) ?? [];
    const loss = points.at(-1)?.loss ?? null;
    const away = unit.state === "draining" || unit.state === "gone";
    return html`${this.head(unit.name, facts)}
      <div class="row">
        ${
          away
            ? this.press("Return", { kind: "return", unit })
            : this.press("Drain", { kind: "drain", unit })
        }
        ${this.press("Remove", { kind: "remove", unit }, true, removable(unit) ? "" : "Drain it first")}
      </div>
      ${this.draining()}
      <div class="body">
        <div class="plots">
          <spark-line
            name="Bandwidth"
            of="bandwidth"
            .points=${points}
            .at=${this.at}
            .value=${used ? bitrate(used.bandwidth) : percent(unit.load)}
          ></spark-line>
          <spark-line
            name="Viewers"
            of="viewers"
            .points=${points}
            .at=${this.at}
            .value=${unit.viewers.toLocaleString("en")}
            .limit=${`of ${capacity(unit).toLocaleString("en")}`}
          ></spark-line>
          <spark-line
            name="Loss on its link"
            of="loss"
            .points=${points}
            .at=${this.at}
            .value=${percent(loss)}
          ></spark-line>
        </div>
        ${this.carried(unit)}
      </div>`;
  }

  private draining(): TemplateResult | typeof nothing {
    const { progress } = this;
    if (!progress) return nothing;
    const most = Math.max(this.most, left(progress), 1);
    return html`<div class="draining" role="status">
      <progress
        max=${most}
        value=${most - left(progress)}
        aria-label="How much has moved away"
      ></progress>
      <span>Draining: ${leftWords(progress)}</span>
    </div>`;
  }

  private carried(unit: UnitView): TemplateResult {
    const all = Object.entries(unit.groups ?? {});
    if (!all.length) return html`<p class="facts">It has no groups.</p>`;
    all.sort(([, a], [, b]) => viewersOf(b) - viewersOf(a));
    return html`<ul aria-label="Channels that have groups here">
      ${all.map(
        ([name, groups]) => html`<li>
          <button @click=${() => this.say("channel-chosen", name)}>
            <span class="square" style="background: ${colour(name)}"></span>
            <span class="cut">${this.titles.get(name) || name}</span>
            <span class="soft figures"
              >${viewersOf(groups)}/${placesOf(groups)} · ${count(groups.length, "group", "groups")}</span
            >
          </button>
        </li>`,
      )}
    </ul>`;
  }

  private head(
    title: string,
    facts: readonly string[],
    mark: TemplateResult | typeof nothing = nothing,
  ): TemplateResult {
    return html`<header>
      ${mark}
      <div>
        <h2>${title}</h2>
        <p class="facts figures">${facts.filter(Boolean).join(" · ")}</p>
      </div>
      <button class="shut" aria-label="Choose nothing" @click=${this.shut}>×</button>
    </header>`;
  }

  /** @param why it cannot be done now, or empty */
  private press(words: string, ask: Ask, danger = false, why = ""): TemplateResult {
    // Channels are deleted without a manager, too.
    const hindrance =
      barred(ask, this.rights, this.units) ||
      why ||
      (this.idle && ask.kind !== "delete" ? "No manager is active" : "");
    return html`<button
      class="press small ${danger ? "danger" : ""}"
      ?disabled=${hindrance !== ""}
      title=${hindrance || nothing}
      @click=${() => this.say("action-wanted", ask)}
    >
      ${words}
    </button>`;
  }

  private named(id: string): string {
    return this.units.get(id)?.name ?? id;
  }

  private say(what: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }

  private readonly shut = (): void => {
    this.say(this.unit ? "unit-chosen" : "channel-chosen", "");
  };
}
