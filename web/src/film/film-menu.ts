/** The menu of a film: quality, speed, sound. */

import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { bitrate } from "../ui/format";
import { settingsIcon } from "../ui/icons";
import { OutsidePress } from "../ui/outside-press";
import { shared } from "../ui/shared";
import type { Quality, Sound } from "./engine";
import { SPEEDS } from "./timeline";
import { languageName } from "./words";

export interface FilmChoices {
  readonly qualities: readonly Quality[];
  readonly quality: number;
  readonly automatic: boolean;
  readonly sounds: readonly Sound[];
  readonly sound: number;
  readonly speed: number;
}

export type FilmChoice =
  | { readonly kind: "quality"; readonly id: number }
  | { readonly kind: "sound"; readonly id: number }
  | { readonly kind: "speed"; readonly id: number };

/** What people call a picture of that size. */
export function qualityName({ height, bitrate: rate }: Quality, among: readonly Quality[]): string {
  if (!height) return bitrate(rate);
  const alike = among.filter((one) => one.height === height).length > 1;
  return alike ? `${height}p, ${bitrate(rate)}` : `${height}p`;
}

/** @fires film-choice - a person chose; `detail` is a `FilmChoice` */
@customElement("film-menu")
export class FilmMenu extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        position: relative;
        flex: none;
      }
      .open {
        display: flex;
        align-items: center;
        gap: 0.35rem;
        height: 2.75rem;
        min-width: 2.75rem;
        padding: 0 0.6rem;
        border: 0;
        border-radius: 10px;
        background: none;
        font-size: 0.85rem;
        font-weight: 600;
        white-space: nowrap;
      }
      .open:hover,
      .menu button:hover {
        background: rgb(255 255 255 / 16%);
      }
      .menu {
        position: absolute;
        right: 0;
        bottom: calc(100% + 0.3rem);
        display: flex;
        gap: 0.25rem;
        max-width: calc(100cqw - 1rem);
        max-height: min(24rem, var(--film-menu-height, 60vh));
        overflow: auto;
        padding: 0.45rem;
        border-radius: 12px;
        border: 1px solid rgb(255 255 255 / 18%);
        background: rgb(11 18 23 / 96%);
        box-shadow: 0 8px 30px rgb(0 0 0 / 50%);
        font-size: 0.85rem;
      }
      .group {
        min-width: 7.2rem;
      }
      h3 {
        margin: 0;
        padding: 0.2rem 0.6rem 0.3rem;
        font-size: 0.75rem;
        font-weight: 600;
        color: rgb(255 255 255 / 68%);
      }
      .menu button {
        display: grid;
        grid-template-columns: 1.1rem 1fr;
        align-items: center;
        width: 100%;
        padding: 0.35rem 0.7rem 0.35rem 0.3rem;
        border: 0;
        border-radius: 8px;
        background: none;
        text-align: left;
        white-space: nowrap;
        font-variant-numeric: tabular-nums;
      }
      .menu button::before {
        content: "";
        width: 0.5rem;
        height: 0.5rem;
        border-radius: 50%;
        justify-self: center;
      }
      .menu button[aria-checked="true"]::before {
        background: var(--helio-accent);
      }
      @media (max-width: 30rem) {
        .open span {
          display: none;
        }
        .open {
          padding: 0;
          justify-content: center;
          min-width: 2.5rem;
        }
        .menu {
          position: fixed;
          inset: auto 0.5rem 0.5rem;
          max-width: none;
          max-height: 70vh;
        }
        .group {
          flex: 1;
          min-width: 0;
        }
        .menu button {
          padding-block: 0.5rem;
          white-space: normal;
        }
      }
    `,
  ];

  @property({ attribute: false }) choices: FilmChoices | null = null;
  @state() private shown = false;
  @query(".open") private readonly opener!: HTMLButtonElement;

  constructor() {
    super();
    new OutsidePress(this, () => {
      this.shown = false;
    });
  }

  override render(): TemplateResult | typeof nothing {
    const { choices } = this;
    if (!choices) return nothing;
    const playing = choices.qualities.find(({ id }) => id === choices.quality);
    const label = playing?.height ? qualityName(playing, []) : "";
    return html`<button
        class="open"
        aria-haspopup="menu"
        aria-expanded=${this.shown}
        aria-label=${`Quality${label ? ` ${label}` : ""}, speed and sound`}
        title="Quality, speed, sound"
        @click=${this.toggle}
      >
        ${settingsIcon}<span>${choices.speed === 1 ? label : `${choices.speed}×`}</span>
      </button>
      ${this.shown ? this.menu(choices) : nothing}`;
  }

  private menu(choices: FilmChoices): TemplateResult {
    const { qualities, sounds } = choices;
    return html`<div class="menu" role="menu" aria-label="Quality, speed, sound" @keydown=${this.key}>
      ${
        qualities.length > 1
          ? this.group("Quality", [
              this.item({ kind: "quality", id: -1 }, "Automatic", choices.automatic),
              ...[...qualities]
                .sort((a, b) => b.height - a.height || b.bitrate - a.bitrate)
                .map((one) =>
                  this.item(
                    { kind: "quality", id: one.id },
                    qualityName(one, qualities),
                    !choices.automatic && one.id === choices.quality,
                  ),
                ),
            ])
          : nothing
      }
      ${this.group(
        "Speed",
        SPEEDS.map((speed) =>
          this.item({ kind: "speed", id: speed }, `${speed}×`, speed === choices.speed),
        ),
      )}
      ${
        sounds.length > 1
          ? this.group(
              "Sound",
              sounds.map((one) =>
                this.item(
                  { kind: "sound", id: one.id },
                  one.language ? languageName(one.language) : one.name,
                  one.id === choices.sound,
                ),
              ),
            )
          : nothing
      }
    </div>`;
  }

  private group(name: string, items: readonly TemplateResult[]): TemplateResult {
    return html`<div class="group" role="group" aria-label=${name}><h3>${name}</h3>${items}</div>`;
  }

  private item(choice: FilmChoice, name: string, chosen: boolean): TemplateResult {
    return html`<button
      role="menuitemradio"
      aria-checked=${chosen}
      @click=${() => this.choose(choice)}
    >
      ${name}
    </button>`;
  }

  private async toggle(): Promise<void> {
    this.shown = !this.shown;
    if (!this.shown) return;
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLElement>('[aria-checked="true"]')?.focus();
  }

  private choose(choice: FilmChoice): void {
    this.close();
    this.dispatchEvent(new CustomEvent("film-choice", { detail: choice }));
  }

  private close(): void {
    this.shown = false;
    this.opener.focus();
  }

  private readonly key = (event: KeyboardEvent): void => {
    const items = [...this.renderRoot.querySelectorAll<HTMLElement>(".menu button")];
    const at = items.indexOf(event.composedPath()[0] as HTMLElement);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (event.key === "Escape") this.close();
    else if (event.key === "Tab") this.shown = false;
    else if (step) items[(at + step + items.length) % items.length]?.focus();
    else return;
    if (event.key !== "Tab") event.preventDefault();
    // Arrows are the player's volume elsewhere.
    event.stopPropagation();
  };
}
