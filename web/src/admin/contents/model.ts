/** What the page about titles and servers says, purely. */

import type { Format, Probe, Server, ServerState, Title, TitleStanding } from "../../api/contents";
import { count } from "../../ui/format";

export const FORMATS: readonly (readonly [Format, string])[] = [
  ["hls", "HLS"],
  ["mp4", "MP4"],
  ["rtsp", "RTSP"],
  ["whep", "WebRTC"],
];

/** By which a title's server can be chosen (docs/operate/dispatcher.md). */
export const POLICIES: readonly string[] = [
  "power-of-two",
  "rendezvous",
  "nearest",
  "weighted",
  "least-sessions",
  "round-robin",
  "least-response-time",
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

export function standing(
  server: Pick<Server, "enabled" | "drained">,
  state: ServerState | undefined,
): Standing {
  if (!server.enabled) return "off";
  if (server.drained && state?.condition !== "down") return "drained";
  return state?.condition ?? "unknown";
}

/** How a title is to be had, and the look of the chip that says so. */
export const TITLE_STANDINGS: Readonly<Record<TitleStanding, readonly [string, string]>> = {
  playable: ["Playable", "up"],
  damaged: ["Damaged", "down"],
  unreachable: ["Out of reach", "down"],
  withdrawn: ["Out of service", "down"],
  empty: ["No copy", "down"],
  withheld: ["Withheld", ""],
};

/**
 * Where a title is, in few words; of how many copies something can be had where not of all, and
 * what a volume lost of it.
 */
export function held({ files, usable, stored, lost }: Title): string {
  const copies = `${files && usable < files ? `${usable} of ` : ""}${count(files, "copy", "copies")}`;
  if (!stored) return copies;
  const where = lost ? `on a volume, ${count(lost, "block", "blocks")} lost` : "on a volume";
  return files ? `${where}, ${copies}` : where;
}

/** Words between commas or spaces, each once. */
export const list = (text: string): readonly string[] => [
  ...new Set(text.split(/[\s,]+/).filter(Boolean)),
];

const PROBE =
  /^(?<kind>icmp|tcp|rtsp|http)(?:@(?<interval>\d+(?:\.\d+)?))?(?::(?<port>\d+))?(?<path>\/\S*)?$/;

/** A probe as the command line has it: `http@10:8080/film.mp4`. */
export const probeLine = ({ kind, interval, port, path }: Probe): string =>
  `${kind}@${interval}${port ? `:${port}` : ""}${path}`;

/** Reads lines as `probeLine` writes them; a sentence says which is none. */
export function readProbes(text: string): readonly Probe[] | string {
  const probes: Probe[] = [];
  for (const line of text.split("\n").map((one) => one.trim())) {
    if (!line) continue;
    const found = PROBE.exec(line)?.groups;
    if (!found) return `“${line}” is no probe: it is written as icmp@10 or http@0.3:8080/film.mp4.`;
    const { kind, interval, port, path } = found;
    probes.push({
      kind: kind as Probe["kind"],
      interval: Number(interval ?? 10),
      port: Number(port ?? 0),
      path: path ?? "",
    });
  }
  return probes;
}

/** Seconds of `1:02:03`, `62:03` or `63`; null: not told; undefined: no time. */
export function readDuration(text: string): number | null | undefined {
  if (!text) return null;
  if (!/^\d+(?::[0-5]?\d){0,2}(?:\.\d+)?$/.test(text)) return undefined;
  return text.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}
