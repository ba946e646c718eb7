/** The menu of a film: quality, speed, sound. */

import { css, html, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { bitrate } from "../ui/format";
import { settingsIcon } from "../ui/icons";
import { Menu, menuStyles } from "../ui/menu";
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
export class FilmMenu extends Menu<FilmChoice> {
  static override styles = [
    shared,
    menuStyles,
    css`
      .open {
        display: flex;
        align-items: center;
        gap: 0.35rem;
        min-width: 2.75rem;
        padding: 0 0.6rem;
      }
      .menu {
        display: flex;
        gap: 0.25rem;
        max-height: min(24rem, var(--film-menu-height, 60vh));
        overflow: auto;
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
        white-space: nowrap;
        font-variant-numeric: tabular-nums;
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
  protected readonly chosen = "film-choice";

  override render(): TemplateResult | typeof nothing {
    const { choices } = this;
    if (!choices) return nothing;
    const playing = choices.qualities.find(({ id }) => id === choices.quality);
    const label = playing?.height ? qualityName(playing, []) : "";
    const face = choices.speed === 1 ? label : `${choices.speed}×`;
    return this.menu(
      `Quality${label ? ` ${label}` : ""}, speed and sound`,
      "Quality, speed, sound",
      html`${settingsIcon}<span>${face}</span>`,
      () => this.groups(choices),
    );
  }

  private groups(choices: FilmChoices): TemplateResult {
    const { qualities, quality, automatic, sounds, sound, speed } = choices;
    const best = [...qualities].sort((a, b) => b.height - a.height || b.bitrate - a.bitrate);
    return html`${
      qualities.length > 1
        ? this.group("Quality", [
            this.item({ kind: "quality", id: -1 }, automatic, "Automatic"),
            ...best.map((one) =>
              this.item(
                { kind: "quality", id: one.id },
                !automatic && one.id === quality,
                qualityName(one, qualities),
              ),
            ),
          ])
        : nothing
    }
    ${this.group(
      "Speed",
      SPEEDS.map((one) => this.item({ kind: "speed", id: one }, one === speed, `${one}×`)),
    )}
    ${
      sounds.length > 1
        ? this.group(
            "Sound",
            sounds.map(({ id, language, name }) =>
              this.item(
                { kind: "sound", id },
                id === sound,
                language ? languageName(language) : name,
              ),
            ),
          )
        : nothing
    }`;
  }

  private group(name: string, items: readonly TemplateResult[]): TemplateResult {
    return html`<div class="group" role="group" aria-label=${name}><h3>${name}</h3>${items}</div>`;
  }
}
