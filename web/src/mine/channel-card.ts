import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { type Channel, deleteChannel } from "../api/client";
import { explain } from "../api/session";
import { pictureStyles } from "../ui/cards";
import { count, duration, secondsSince } from "../ui/format";
import { forms, wrong } from "../ui/forms";
import { ridge, shared, stateChip } from "../ui/shared";
import { WATCHERS, watchersOf } from "./access";
import "./channel-form";
import "./stream-keys";
import "./view-links";

type Panel = "settings" | "keys" | "links" | "delete";

const PANELS: readonly [Panel, string][] = [
  ["keys", "Stream keys"],
  ["links", "Links"],
  ["settings", "Settings"],
  ["delete", "Delete"],
];

/**
 * One channel of one's own, with all that its owner does to it.
 *
 * @fires channel-saved - it changed; `detail` is the channel
 * @fires channel-gone - it is deleted
 */
@customElement("channel-card")
export class ChannelCard extends LitElement {
  static override styles = [
    shared,
    forms,
    pictureStyles,
    css`
      :host {
        display: block;
      }
      .card {
        padding: 0;
        overflow: hidden;
      }
      .top {
        display: grid;
        grid-template-columns: 13rem minmax(0, 1fr);
        gap: 0 1.3rem;
      }
      .picture {
        min-height: 7.5rem;
      }
      .picture .chip {
        position: absolute;
        left: 0.75rem;
        top: 0.75rem;
      }
      .text {
        padding: 1.1rem 1.2rem 1.1rem 0;
        min-width: 0;
      }
      h2 {
        margin: 0;
        font-size: 1.2rem;
        font-weight: 640;
        line-height: 1.3;
        overflow-wrap: anywhere;
      }
      h2 a {
        text-decoration: none;
      }
      h2 a:hover {
        text-decoration: underline;
        text-underline-offset: 0.2em;
      }
      .facts {
        margin: 0.2rem 0 0.9rem;
        color: var(--ink-soft);
        font-size: 0.9rem;
        overflow-wrap: anywhere;
      }
      .press[aria-expanded="true"] {
        border-color: var(--sun-edge);
        background: var(--field);
      }
      .panel {
        padding: 1.2rem;
        border-top: 1px solid var(--line);
      }
      h3 {
        margin: 0 0 0.7rem;
        font-size: 1rem;
      }
      @media (max-width: 46rem) {
        .top {
          grid-template-columns: minmax(0, 1fr);
        }
        .picture {
          aspect-ratio: 3;
          min-height: 0;
        }
        .text {
          padding: 1rem;
        }
        .panel {
          padding: 1rem;
        }
      }
    `,
  ];

  @property({ attribute: false }) channel: Channel | null = null;
  /** Its first stream key, where it was just made. */
  @property({ attribute: false }) fresh = "";
  /** What is open below. */
  @property() panel: Panel | "" = "";
  @state() private trouble = "";
  @state() private busy = false;

  override render(): TemplateResult | typeof nothing {
    const { channel } = this;
    if (!channel) return nothing;
    return html`<article class="card" aria-label=${channel.title || channel.name}>
      <div class="top">
        <div class="picture">
          ${ridge(channel.state === "on_air")}
          ${channel.picture ? html`<img src=${channel.picture} alt="" />` : nothing}
          ${stateChip(channel.state)}
        </div>
        <div class="text">
          <h2><a href="/watch/${channel.name}">${channel.title || channel.name}</a></h2>
          <p class="facts">${this.facts(channel)}</p>
          <div class="row">
            <a class="press main small" href="/live/${channel.name}">Go on air</a>
            ${PANELS.map(
              ([panel, name]) => html`<button
                class="press small ${panel === "delete" ? "danger" : ""}"
                aria-expanded=${this.panel === panel}
                @click=${() => {
                  this.panel = this.panel === panel ? "" : panel;
                }}
              >
                ${name}
              </button>`,
            )}
          </div>
        </div>
      </div>
      ${this.panel ? html`<div class="panel">${this.open(channel, this.panel)}</div>` : nothing}
    </article>`;
  }

  private facts(channel: Channel): string {
    const watchers = WATCHERS.find((one) => one.value === watchersOf(channel));
    const seconds = secondsSince(channel.on_air_since, Date.now());
    const onAir = channel.state === "on_air";
    return [
      `/watch/${channel.name}`,
      onAir ? count(channel.readers, "viewer", "viewers") : "",
      onAir && seconds !== null ? `on air for ${duration(seconds)}` : "",
      channel.private ? "private" : `for ${watchers?.name.toLowerCase() ?? ""}`,
    ]
      .filter(Boolean)
      .join(" · ");
  }

  private open(channel: Channel, panel: Panel): TemplateResult {
    switch (panel) {
      case "keys":
        return html`<h3>Stream keys</h3>
          <stream-keys .channel=${channel} .fresh=${this.fresh}></stream-keys>`;
      case "links":
        return html`<h3>Links for viewers</h3>
          <view-links .channel=${channel}></view-links>`;
      case "settings":
        return html`<h3>Settings</h3>
          <channel-form
            .channel=${channel}
            .guests=${channel.guests_chat}
            @channel-saved=${(event: CustomEvent<Channel>) => this.saved(event.detail)}
            @channel-left=${this.close}
          ></channel-form>`;
      case "delete":
        return html`<div class="asks" role="alertdialog" aria-label="Delete the channel">
          <p>
            <strong>Delete “${channel.title || channel.name}”?</strong> Who is on air or watches is sent
            away; its keys, links and chat are gone for good.
          </p>
          ${wrong(this.trouble)}
          <div class="row">
            <button class="press small danger" ?disabled=${this.busy} @click=${this.deleteNow}>
              Delete it
            </button>
            <button class="press small" @click=${this.close}>Keep it</button>
          </div>
        </div>`;
    }
  }

  private saved(channel: Channel): void {
    this.close();
    this.dispatchEvent(new CustomEvent("channel-saved", { detail: channel }));
  }

  private readonly close = (): void => {
    this.panel = "";
    this.trouble = "";
  };

  private readonly deleteNow = async (): Promise<void> => {
    if (!this.channel) return;
    this.busy = true;
    this.trouble = "";
    try {
      await deleteChannel(this.channel.name);
      this.dispatchEvent(new CustomEvent("channel-gone"));
    } catch (error) {
      this.trouble = explain(error);
    }
    this.busy = false;
  };
}
