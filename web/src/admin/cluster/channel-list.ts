import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { ChannelView } from "../../api/cluster";
import { boxes, press } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { findChannels, type Numbered, share } from "./model";
import { barStyles, clusterStyles, colour, listStyles } from "./parts";
import { Rows, step } from "./rows";

const ROW = 54;

/**
 * The channels that are open, with their viewers and groups.
 *
 * @fires channel-chosen - `detail` is its name, or empty
 * @fires channel-wanted - another one is to be opened
 */
@customElement("channel-list")
export class ChannelList extends LitElement {
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
  @state() private search = "";
  private readonly rows = new Rows(this, ROW);
  private found: readonly Numbered[] = [];

  override willUpdate(changed: PropertyValues): void {
    if (changed.has("channels") || changed.has("search")) {
      this.found = findChannels(this.channels, this.search);
    }
  }

  override updated(changed: PropertyValues): void {
    if (!this.channel || !(changed.has("channel") || changed.has("search"))) return;
    // What is chosen is shown in detail above, which takes room from the list.
    requestAnimationFrame(() => this.rows.reveal(this.at()));
  }

  override render(): TemplateResult {
    const { found } = this;
    const { first, end } = this.rows.range(found.length);
    const chosen = this.at();
    return html`<div class="head">
        <h2>Channels <small>${this.count()}</small></h2>
        <input
          type="search"
          aria-label="Search channels"
          placeholder="Name, title, #number"
          .value=${this.search}
          @input=${this.type}
        />
        <button class="press" @click=${this.want}>Open…</button>
      </div>
      ${
        found.length
          ? html`<div
              class="scroller"
              role="listbox"
              tabindex="0"
              aria-label="Channels"
              aria-activedescendant=${chosen >= first && chosen < end ? `channel-${chosen}` : nothing}
              @keydown=${this.key}
              @click=${this.press}
            >
              <div class="rows" style="height: ${found.length * ROW}px">
                ${repeat(
                  found.slice(first, end),
                  (one) => one.channel.name,
                  (one, i) => this.row(one, first + i),
                )}
              </div>
            </div>`
          : html`<p class="none">
              ${this.search ? "No channel is like that." : "No channel is open. Open the first one."}
            </p>`
      }`;
  }

  private count(): string {
    const all = this.channels.length.toLocaleString("en");
    return this.search ? `${this.found.length.toLocaleString("en")} of ${all}` : all;
  }

  private row({ number, channel }: Numbered, index: number): TemplateResult {
    const { name, title, viewers, places, groups } = channel;
    const part = share(viewers, places);
    const apart = channel.orphans?.length ?? 0;
    return html`<div
      class="one"
      id="channel-${index}"
      role="option"
      aria-selected=${name === this.channel}
      aria-setsize=${this.found.length}
      aria-posinset=${index + 1}
      aria-label=${`${title || name}, ${viewers} of ${places} viewers, ${groups} groups`}
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
      <span class="groups">${groups} ${groups === 1 ? "group" : "groups"}</span>
    </div>`;
  }

  private at(): number {
    return this.channel ? this.found.findIndex((one) => one.channel.name === this.channel) : -1;
  }

  private readonly want = (): void => {
    this.dispatchEvent(new CustomEvent("channel-wanted"));
  };

  private readonly type = (event: Event): void => {
    this.search = (event.target as HTMLInputElement).value;
  };

  private readonly press = (event: Event): void => {
    const row = (event.target as HTMLElement).closest<HTMLElement>("[data-channel]");
    const { channel } = row?.dataset ?? {};
    if (channel) this.choose(channel === this.channel ? "" : channel);
  };

  private readonly key = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && this.channel) {
      this.choose("");
      return;
    }
    const to = step(event.key, this.at(), this.found.length, 10);
    const found = to === null ? undefined : this.found[to];
    if (!found) return;
    event.preventDefault();
    this.choose(found.channel.name);
  };

  private choose(name: string): void {
    this.dispatchEvent(new CustomEvent("channel-chosen", { detail: name }));
  }
}
