/** What the page about titles and servers says, purely. */

import type { Format, Probe, Server, ServerState } from "../../api/contents";

export const FORMATS: readonly (readonly [Format, string])[] = [
  ["hls", "HLS"],
  ["mp4", "MP4"],
  ["rtsp", "RTSP"],
  ["whep", "WebRTC"],
];

/** A server as people see it: what is wanted of it goes before what was measured. */
export type Standing = "off" | "drained" | "up" | "starting" | "down" | "unknown";

export const STANDINGS: Readonly<Record<Standing, string>> = {
  off: "Switched off",
  drained: "Drained",
  up: "Up",
  starting: "Coming back",
  down: "Down",
  unknown: "Not measured yet",
};

export function standing(server: Server, state: ServerState | undefined): Standing {
  if (!server.enabled) return "off";
  if (server.drained && state?.condition !== "down") return "drained";
  return state?.condition ?? "unknown";
}

/** Words between commas or spaces, each once. */
export const list = (text: string): readonly string[] => [
  ...new Set(text.split(/[\s,]+/).filter(Boolean)),
];

const KINDS = new Set(["icmp", "tcp", "rtsp", "http"]);

/** A probe as one line: `http 10s :8080 /film.mp4`. */
export const probeLine = ({ kind, interval, port, path }: Probe): string =>
  [kind, `${interval}s`, port ? `:${port}` : "", path].filter(Boolean).join(" ");

/** Reads lines as `probeLine` writes them; a sentence says which is none. */
export function readProbes(text: string): readonly Probe[] | string {
  const probes: Probe[] = [];
  for (const line of text.split("\n").map((one) => one.trim())) {
    if (!line) continue;
    const [kind = "", ...rest] = line.split(/\s+/);
    if (!KINDS.has(kind)) return `“${line}”: a probe begins with icmp, tcp, rtsp or http.`;
    let probe = { kind, interval: 10, port: 0, path: "" } as Probe;
    for (const word of rest) {
      const interval = /^(\d+(?:\.\d+)?)s$/.exec(word)?.[1];
      const port = /^:(\d+)$/.exec(word)?.[1];
      if (interval) probe = { ...probe, interval: Number(interval) };
      else if (port) probe = { ...probe, port: Number(port) };
      else if (word.startsWith("/")) probe = { ...probe, path: word };
      else return `“${line}”: “${word}” is no interval (10s), port (:8080) or path (/…).`;
    }
    probes.push(probe);
  }
  return probes;
}

/** Seconds of `1:02:03`, `62:03` or `63`; null: not told; undefined: no time. */
export function readDuration(text: string): number | null | undefined {
  if (!text) return null;
  if (!/^\d+(?::[0-5]?\d){0,2}(?:\.\d+)?$/.test(text)) return undefined;
  return text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}
