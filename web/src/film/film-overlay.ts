/** What lies over a film's picture: a button to play, or why there is none. */

import { html, nothing, type TemplateResult } from "lit";
import { againIcon, playIcon } from "../ui/icons";
import { describe, type FilmState } from "./words";

export interface Overlaid {
  /** Whether there is a picture below. */
  readonly seen: boolean;
  /** A short text beside a film that plays. */
  readonly text: string;
  toggle(): void;
  retry(): void;
}

export function overlay(
  state: FilmState,
  { seen, text, toggle, retry }: Overlaid,
): TemplateResult | typeof nothing {
  if (state === "idle" || state === "paused" || state === "ended") {
    const again = state === "ended";
    return html`<button class="big" @click=${toggle} aria-label=${again ? "Play again" : "Play"}>
      ${again ? againIcon : playIcon}
    </button>`;
  }
  const words = describe(state);
  if (!words) return text ? html`<p class="notice" role="status">${text}</p>` : nothing;
  return html`<div class="says ${seen && words.title ? "over" : ""}" role="status">
    ${words.busy ? html`<div class="morse" aria-hidden="true"><i></i><i></i><i></i></div>` : nothing}
    <strong>${words.title || nothing}</strong>
    ${words.title ? nothing : html`<span class="visually-hidden">Loading</span>`}
    ${words.text ? html`<p>${words.text}</p>` : nothing}
    ${words.action ? html`<button class="action" @click=${retry}>${words.action}</button>` : nothing}
  </div>`;
}
