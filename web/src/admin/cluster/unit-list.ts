import { css, html, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { Progress, UnitView } from "../../api/cluster";
import { percent } from "../../ui/format";
import { boxes } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { ListPane } from "./list-pane";
import { capacity, findUnits, groupsOf, leftWords, type Seat, STATES, seats, share } from "./model";
import { bar, barStyles, clusterStyles, fill, listStyles } from "./parts";

const ROW = 106;
/** Above so many groups squares are drawn smaller. */
const MANY = 56;
/** Squares that have room in a row. */
const MOST = 220;

/**
 * The units of a cluster: state, loads, and their groups as squares.
 *
 * @fires unit-chosen - `detail` is its id, or empty
 * @fires channel-chosen - a square was pressed; `detail` is its channel's name
 */
@customElement("unit-list")
export class UnitList extends ListPane<UnitView> {
  static override styles = [
    shared,
    boxes,
    clusterStyles,
    barStyles,
    listStyles,
    css`
      .one {
        display: grid;
        grid-template-rows: 1.45rem 1.45rem 1.6rem;
        align-content: center;
        gap: 0.45rem;
        height: ${ROW}px;
      }
      .title {
        display: flex;
        align-items: baseline;
        gap: 0.7rem;
        min-width: 0;
      }
      .title strong {
        flex: 0 1 auto;
        min-width: 3rem;
      }
      .title .soft {
        flex: 1 1 0;
        min-width: 0;
        font-size: 0.82rem;
      }
      .link {
        font-size: 0.78rem;
        color: var(--ink-soft);
        white-space: nowrap;
      }
      .link.silent {
        color: var(--trouble);
        font-weight: 600;
      }
      .bars {
        display: grid;
        grid-template-columns: repeat(3, minmax(0, 1fr));
        gap: 1.1rem;
      }
      .groups {
        display: flex;
        flex-wrap: wrap;
        align-content: flex-start;
        gap: 2px;
        margin: -2px;
        padding: 2px;
        overflow: hidden;
      }
      .groups i {
        width: 10px;
        height: 10px;
        border-radius: 2.5px;
        background: var(--sunk);
      }
      .groups.many i {
        width: 6px;
        height: 6px;
        border-radius: 1.5px;
      }
      .marking .groups i[data-channel]:not(.marked) {
        opacity: 0.35;
      }
      .groups i.marked {
        outline: 1.5px solid var(--ink);
        outline-offset: 0;
      }
      .here {
        padding: 0 0.5em;
        border-radius: 99px;
        background: var(--ink);
        color: var(--surface);
        font-size: 0.74rem;
        font-weight: 620;
        white-space: nowrap;
      }
      .gone {
        color: var(--ink-soft);
      }
      .drain {
        font-size: 0.78rem;
      }
    `,
  ];

  @property({ attribute: false }) units: readonly UnitView[] = [];
  /** Id of the unit that is chosen, or empty. */
  @property() unit = "";
  /** Channel whose groups are shown before all others, or empty. */
  @property() channel = "";
  @property({ attribute: false }) progress: ReadonlyMap<string, Progress> = new Map();

  constructor() {
    super({
      of: "units",
      heading: "Units",
      kind: "unit",
      placeholder: "Name, domain, place, address, state",
      none: "No unit has reported yet.",
      height: ROW,
      page: 5,
    });
  }

  protected override get total(): number {
    return this.units.length;
  }

  protected override get chosen(): string {
    return this.unit;
  }

  protected override get marking(): boolean {
    return this.channel !== "";
  }

  protected override find(search: string): readonly UnitView[] {
    return findUnits(this.units, search);
  }

  protected override keyOf(unit: UnitView): string {
    return unit.id;
  }

  protected override row(unit: UnitView, index: number): TemplateResult {
    const { used, limits } = unit;
    const bandwidth = used ? share(used.bandwidth, limits?.bandwidth) : Math.min(1, unit.load);
    const cpu = share(used?.cpu, limits?.cpu);
    const room = capacity(unit);
    const here = this.channel ? groupsOf(unit, this.channel).length : 0;
    const drained = this.progress.get(unit.id);
    return html`<div
      class="one ${unit.state === "gone" ? "gone" : ""}"
      id="unit-${index}"
      role="option"
      aria-selected=${unit.id === this.unit}
      aria-setsize=${this.found.length}
      aria-posinset=${index + 1}
      aria-label=${`${unit.name}, ${STATES[unit.state]}, ${unit.viewers} of ${room} places taken`}
      data-unit=${unit.id}
      style="top: ${index * ROW}px"
    >
      <div class="title">
        <strong class="cut">${unit.name}</strong>
        <span class="soft cut">${[unit.domain, unit.location, unit.address].filter(Boolean).join(" · ")}</span>
        ${here ? html`<span class="here">${here === 1 ? "1 group" : `${here} groups`}</span>` : nothing}
        ${unit.link && !unit.link.up ? html`<span class="link silent">link silent</span>` : nothing}
        <span class="state ${unit.state}"
          >${drained ? html`<span class="drain">${leftWords(drained)}</span>` : STATES[unit.state]}</span
        >
      </div>
      <div class="bars">
        ${bar("Bandwidth", bandwidth, percent(bandwidth))}
        ${bar("CPU", cpu, percent(cpu))}
        ${bar("Places", share(unit.viewers, room), `${unit.viewers}/${room}`)}
      </div>
      ${this.squares(seats(unit))}
    </div>`;
  }

  private squares(all: readonly (Seat | null)[]): TemplateResult {
    return html`<div class="groups ${all.length > MANY ? "many" : ""}" aria-hidden="true">
      ${all.slice(0, MOST).map((seat) =>
        seat
          ? html`<i
              class=${seat.channel === this.channel ? "marked" : ""}
              data-channel=${seat.channel}
              title="${seat.channel}: ${seat.viewers} of ${seat.places}"
              style="background: ${fill(seat)}"
            ></i>`
          : html`<i></i>`,
      )}
    </div>`;
  }

  /** A square of a group chooses its channel. */
  protected override pressedPart(part: HTMLElement): boolean {
    const { channel } = part.dataset;
    if (channel) this.dispatchEvent(new CustomEvent("channel-chosen", { detail: channel }));
    return channel !== undefined;
  }

  protected override choose(id: string): void {
    this.dispatchEvent(new CustomEvent("unit-chosen", { detail: id }));
  }
}
