import { html, nothing, type TemplateResult } from "lit";
import type { Rejected } from "../../api/contents";

/** Rows that are shown one by one. */
const SHOWN = 100;

/** What was not taken, where it stands and why. */
export function rejects(all: readonly Rejected[]): TemplateResult | typeof nothing {
  if (!all.length) return nothing;
  const rest = all.length - SHOWN;
  return html`<ul class="files">
      ${all
        .slice(0, SHOWN)
        .map(({ place, reason }) => html`<li><span>${reason}<code>${place}</code></span></li>`)}
    </ul>
    ${rest > 0 ? html`<p class="soft">And ${rest.toLocaleString("en")} more.</p>` : nothing}`;
}
