/** The statistics over the picture: figures, and plots of the last minute. */

import { html, type TemplateResult } from "lit";
import { bitrate, milliseconds } from "../ui/format";
import type { PlotPoint } from "./plots";
import type { PlayerStats } from "./stats";

export function statsPanel(f: PlayerStats | null, history: readonly PlotPoint[]): TemplateResult {
  const rows: [string, string][] = f
    ? [
        ["Way", f.way],
        ["Picture", f.width ? `${f.width} × ${f.height}, ${Math.round(f.fps)} fps` : "–"],
        ["Codecs", [f.codec, f.audioCodec].filter(Boolean).join(", ") || "–"],
        ["Bitrate", bitrate(f.bitrate)],
        ["Delay", milliseconds(f.delayMs)],
        ["Buffer", `${milliseconds(f.bufferMs)} of ${milliseconds(f.targetMs)}`],
        ["Picture to sound", f.avSkewMs === null ? "–" : `${f.avSkewMs.toFixed(0)} ms`],
        ["Round trip", f.roundTripMs === null ? "–" : `${f.roundTripMs.toFixed(1)} ms`],
        ["Decoded", f.framesDecoded.toLocaleString("en")],
        ["Dropped", f.framesDropped.toLocaleString("en")],
        ["Reconnected", String(f.reconnects)],
      ]
    : [];
  return html`<div class="stats" role="region" aria-label="Statistics">
    <dl>
      ${rows.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>
    <helio-plots .points=${history}></helio-plots>
  </div>`;
}
