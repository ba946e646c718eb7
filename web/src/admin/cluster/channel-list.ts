import { css, html, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { ChannelView } from "../../api/cluster";
import { boxes, press } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { ListPane } from "./list-pane";
import { findChannels, type Numbered, share, stateOf } from "./model";
import { barStyles, clusterStyles, colour, listStyles } from "./parts";

const ROW = 54;

/**
 * The channels with their viewers and groups, those that are closed or that no unit has as well.
 *
 * @fires channel-chosen - `detail` is its name, or empty
 * @fires channel-wanted - another one is to be made
 */
@customElement("channel-list")
export class ChannelList extends ListPane<Numbered> {
  static override styles = [
    shared,
    boxes,
    press,
    clusterStyles,
    barStyles,
    listStyles,
    css`
      .one {
        display: grid;
        grid-template-columns: 0.7rem 2.9rem minmax(0, 1fr) 8.5rem 5.3rem;
        gap: 0.7rem;
        align-items: center;
        height: ${ROW}px;
      }
      .number {
        font-size: 0.8rem;
        text-align: right;
        color: var(--ink-soft);
        font-variant-numeric: tabular-nums;
      }
      .name {
        min-width: 0;
        line-height: 1.3;
      }
      .name strong,
      .name small {
        display: block;
      }
      .name small {
        font-size: 0.8rem;
        color: var(--ink-soft);
      }
      .groups {
        text-align: right;
        font-size: 0.82rem;
        color: var(--ink-soft);
        white-space: nowrap;
        font-variant-numeric: tabular-nums;
      }
      .press {
        min-height: 2.3rem;
        padding: 0 0.85rem;
        font-size: 0.87rem;
      }
      .idle > *,
      .closed > * {
        opacity: 0.62;
      }
      .closed .groups {
        color: var(--trouble);
        font-weight: 600;
      }
      .cut-off {
        color: var(--trouble);
        font-weight: 600;
      }
      @media (max-width: 34rem) {
        .one {
          grid-template-columns: 0.7rem minmax(0, 1fr) 6.2rem 3.9rem;
          gap: 0.6rem;
        }
        .number {
          display: none;
        }
      }
    `,
  ];

  @property({ attribute: false }) channels: readonly ChannelView[] = [];
  /** Name of the channel that is chosen, or empty. */
  @property() channel = "";
  /** Why the person may not make another one, or empty. */
  @property() barred = "";

  constructor() {
    super({
      of: "channels",
      heading: "Channels",
      kind: "channel",
      placeholder: "Name, title, #number, closed",
      none: "There is no channel. Make the first one.",
      height: ROW,
      page: 10,
    });
  }

  protected override get total(): number {
    return this.channels.length;
  }

  protected override get chosen(): string {
    return this.channel;
  }

  protected override find(search: string): readonly Numbered[] {
    return findChannels(this.channels, search);
  }

  protected override keyOf({ channel }: Numbered): string {
    return channel.name;
  }

  protected override tools(): TemplateResult {
    const { barred } = this;
    return html`<button
      class="press"
      ?disabled=${barred !== ""}
      title=${barred || nothing}
      @click=${this.want}
    >
      New…
    </button>`;
  }

  protected override row({ number, channel }: Numbered, index: number): TemplateResult {
    const { name, title, viewers, places, groups } = channel;
    const part = share(viewers, places);
    const apart = channel.orphans?.length ?? 0;
    const state = stateOf(channel);
    return html`<div
      class="one ${state}"
      id="channel-${index}"
      role="option"
      aria-selected=${name === this.channel}
      aria-setsize=${this.found.length}
      aria-posinset=${index + 1}
      aria-label=${`${title || name}, ${state}, ${viewers} of ${places} viewers, ${groups} groups`}
      data-channel=${name}
      style="top: ${index * ROW}px"
    >
      <span class="square" style="background: ${colour(name)}"></span>
      <span class="number">#${number}</span>
      <span class="name">
        <strong class="cut">${title || name}</strong>
        ${
          apart
            ? html`<small class="cut cut-off">${apart === 1 ? "1 unit is" : `${apart} units are`} cut off</small>`
            : title && title !== name
              ? html`<small class="cut">${name}</small>`
              : nothing
        }
      </span>
      <span class="bar ${places && viewers >= places ? "full" : ""}">
        <span><b>${viewers.toLocaleString("en")}</b>of ${places.toLocaleString("en")}</span>
        <i style="--share: ${(part * 100).toFixed(1)}%"></i>
      </span>
      <span class="groups"
        >${state === "open" ? html`${groups} ${groups === 1 ? "group" : "groups"}` : state}</span
      >
    </div>`;
  }

  private readonly want = (): void => {
    this.dispatchEvent(new CustomEvent("channel-wanted"));
  };

  protected override choose(name: string): void {
    this.dispatchEvent(new CustomEvent("channel-chosen", { detail: name }));
  }
}
