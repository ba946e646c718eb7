/** Pieces of lines. Texts are written by lit as text: nothing that people say becomes markup. */

import { html, nothing, type TemplateResult } from "lit";
import { hue, onlyEmoji, parts } from "./text";
import type { Badge } from "./wire";

/** A name in its colour, and what stands behind it. */
export const who = (author: string, name: string, badge: Badge): TemplateResult =>
  html`<b style=${`--hue: ${hue(author)}`}><bdi>${name}</bdi></b>${
    badge ? html`<small class="badge ${badge}">${badge}</small>` : nothing
  }`;

/** What was said, with its links. */
export function said(text: string): TemplateResult {
  const words = parts(text).map((part) =>
    part.href === null
      ? part.text
      : html`<a href=${part.href} target="_blank" rel="nofollow noopener noreferrer">${part.text}</a>`,
  );
  return html`<p class=${onlyEmoji(text) ? "emoji" : ""}>${words}</p>`;
}
