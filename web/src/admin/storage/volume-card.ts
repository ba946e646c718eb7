import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import type { Disk, Volume } from "../../api/storage";
import { bytes, count } from "../../ui/format";
import { forms } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { type Ask, place } from "./asks";
import { fillBar, progressBar } from "./bar";
import {
  byNode,
  changeLine,
  changeShare,
  type DiskGroup,
  diskLine,
  fill,
  layoutLine,
  protectionLine,
  STANDINGS,
  scrubLine,
  standing,
} from "./model";
import { barStyles, stateStyles } from "./styles";

/** Titles that are named where some are lost. */
const NAMED = 12;

/**
 * A volume with its disks.
 *
 * @fires wanted - `detail` is an `Ask`
 */
@customElement("volume-card")
export class VolumeCard extends LitElement {
  static override styles = [
    shared,
    forms,
    barStyles,
    stateStyles,
    css`
      :host {
        display: block;
      }
      .card {
        display: grid;
        gap: 1.1rem;
      }
      .top {
        display: flex;
        flex-wrap: wrap;
        gap: 0.4rem 1rem;
        align-items: baseline;
        justify-content: space-between;
      }
      h2,
      h3,
      p,
      ul {
        margin: 0;
      }
      h2 {
        font-size: 1.25rem;
        overflow-wrap: anywhere;
      }
      h3 {
        font-size: 0.95rem;
        overflow-wrap: anywhere;
      }
      .soft {
        font-size: 0.87rem;
        color: var(--ink-soft);
        overflow-wrap: anywhere;
      }
      .space {
        display: grid;
        gap: 0.45rem;
      }
      .space .bar {
        height: 0.75rem;
      }
      .going {
        display: grid;
        gap: 0.45rem;
        padding: 0.9rem 1rem;
        border-radius: 12px;
        background: color-mix(in srgb, var(--sun) 12%, var(--surface));
      }
      .warn {
        padding: 0.65rem 0.85rem;
        border: 1px solid color-mix(in srgb, var(--trouble) 45%, transparent);
        border-radius: 10px;
        background: color-mix(in srgb, var(--trouble) 9%, var(--surface));
        font-size: 0.92rem;
        overflow-wrap: anywhere;
      }
      .warn ul {
        padding-left: 1.1rem;
      }
      .nodes {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr));
        gap: 1.1rem 2rem;
        align-items: start;
      }
      .disks {
        padding: 0;
        list-style: none;
      }
      .disk {
        display: grid;
        grid-template-columns: minmax(0, 1fr) auto auto;
        gap: 0.35rem 0.9rem;
        align-items: center;
        padding: 0.7rem 0;
        border-top: 1px solid var(--line);
      }
      .disk:first-child {
        margin-top: 0.4rem;
      }
      .disk code {
        font: 0.9rem / 1.5 var(--mono);
        overflow-wrap: anywhere;
      }
      .disk .bar,
      .disk .soft,
      .fault {
        grid-column: 1 / -1;
      }
      .fault {
        font-size: 0.87rem;
        color: var(--trouble);
        overflow-wrap: anywhere;
      }
      .does {
        display: flex;
        gap: 0.4rem;
      }
      @media (max-width: 34rem) {
        .disk {
          grid-template-columns: minmax(0, 1fr) auto;
        }
        .disk .does {
          grid-column: 1 / -1;
          order: 1;
        }
      }
    `,
  ];

  @property({ attribute: false }) volume!: Volume;

  override render(): TemplateResult {
    const { volume } = this;
    return html`<section class="card" aria-labelledby="name">
      <div class="top">
        <h2 id="name">${volume.name}</h2>
        <span class="soft">${count(volume.titles, "title", "titles")}</span>
      </div>
      ${this.space()}
      <div>
        <p>${protectionLine(volume)}.</p>
        <p class="soft">${layoutLine(volume)}</p>
      </div>
      ${this.lost()} ${this.warnings()} ${this.change()}
      <div class="nodes">${byNode(volume.disks).map((group) => this.group(group))}</div>
      <p class="soft">Checking: ${scrubLine(volume)}</p>
      <div class="row">
        ${this.button("Add a disk", { kind: "add", volume })}
        ${this.button("Limits", { kind: "limits", volume })}
        ${
          volume.titles === 0
            ? this.button("Remove the volume", { kind: "forget", volume }, true)
            : nothing
        }
      </div>
    </section>`;
  }

  private space(): TemplateResult | typeof nothing {
    const { capacity, free } = this.volume.space;
    const share = fill(capacity, free);
    if (share === null) return nothing;
    const { data, parity } = this.volume.scheme;
    const room = (free * data) / (data + parity);
    return html`<div class="space">
      ${fillBar(share, `Space of ${this.volume.name} in use`)}
      <p class="soft">
        ${bytes(capacity - free)} of ${bytes(capacity)} in use ·
        ${bytes(free)} free${parity ? `, for about ${bytes(room)} of titles` : ""}
      </p>
    </div>`;
  }

  private lost(): TemplateResult | typeof nothing {
    const { blocks, titles } = this.volume.lost;
    if (!blocks) return nothing;
    const more = titles.length - NAMED;
    return html`<div class="warn" role="alert">
      <strong>${count(blocks, "block is", "blocks are")} lost for good.</strong>
      ${
        titles.length
          ? html`Parts are missing of
              ${titles.slice(0, NAMED).join(", ")}${more > 0 ? `, and ${more} more` : ""}; the rest of
              them is played.`
          : "No title that is still here had them."
      }
    </div>`;
  }

  private warnings(): TemplateResult | typeof nothing {
    const { warnings } = this.volume;
    if (warnings.length === 0) return nothing;
    const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
    return html`<div class="warn">
      ${
        warnings.length === 1
          ? sentence(warnings[0] ?? "")
          : html`<ul>
              ${warnings.map((one) => html`<li>${sentence(one)}</li>`)}
            </ul>`
      }
    </div>`;
  }

  private change(): TemplateResult | typeof nothing {
    const { change } = this.volume;
    if (!change) return nothing;
    return html`<div class="going">
      <strong>Blocks are on their way to where they belong</strong>
      ${progressBar(changeShare(change), `Change of ${this.volume.name}`)}
      <p class="soft">${changeLine(change)}</p>
      ${change.waiting.map((why) => html`<p class="fault">Waits: ${why}</p>`)}
    </div>`;
  }

  private group({ node, name, disks }: DiskGroup): TemplateResult {
    return html`<div data-node=${node}>
      <h3>${name}</h3>
      <ul class="disks">
        ${repeat(
          disks,
          ({ id }) => id,
          (disk) => this.disk(disk),
        )}
      </ul>
    </div>`;
  }

  private disk(disk: Disk): TemplateResult {
    const { volume } = this;
    const is = standing(disk);
    const share = fill(disk.capacity, disk.free);
    const stays = disk.state === "active";
    return html`<li class="disk" data-disk=${disk.id}>
      <code>${disk.path}</code>
      <span class="chip ${is}">${STANDINGS[is]}</span>
      <span class="does">
        ${
          stays
            ? html`${this.button("Replace", { kind: "replace", volume, disk })}
              ${this.button("Remove", { kind: "remove", volume, disk }, true)}`
            : is === "lost"
              ? this.button("Replace", { kind: "replace", volume, disk })
              : this.button("Remove", { kind: "remove", volume, disk }, true)
        }
      </span>
      ${share === null ? nothing : fillBar(share, `Space of ${disk.path} in use`)}
      <span class="soft">${diskLine(disk)}</span>
      ${disk.fault ? html`<span class="fault">${disk.fault}</span>` : nothing}
    </li>`;
  }

  private button(name: string, ask: Ask, danger = false): TemplateResult {
    const what = "disk" in ask ? `${name} ${place(ask.disk)}` : `${name}: ${this.volume.name}`;
    return html`<button
      class="press small ${danger ? "danger" : ""}"
      aria-label=${what}
      @click=${() =>
        this.dispatchEvent(
          new CustomEvent<Ask>("wanted", { detail: ask, bubbles: true, composed: true }),
        )}
    >
      ${name}
    </button>`;
  }
}
