/** What the page about reports shows of an answer. */

import type { Figures, PeriodLine, ServerLine, Span, Step, TitleLine } from "../../api/reports";
import { bytes, duration } from "../../ui/format";

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

/** What can be chosen at once. */
export const SPANS: readonly { readonly name: string; readonly ms: number }[] = [
  { name: "24 hours", ms: DAY_MS },
  { name: "7 days", ms: 7 * DAY_MS },
  { name: "30 days", ms: 30 * DAY_MS },
  { name: "1 year", ms: 365 * DAY_MS },
];

/** How long periods are, so that there are neither few nor too many to be seen. */
export function stepOf({ from, to }: Span): Step {
  if (to - from <= 3 * DAY_MS) return "hour";
  return to - from <= 120 * DAY_MS ? "day" : "week";
}

/** Two days of a calendar, both with them, as a span; null where they are none. */
export function spanOf(first: string, last: string): Span | null {
  const from = new Date(`${first}T00:00`).getTime();
  const end = new Date(`${last}T00:00`);
  end.setDate(end.getDate() + 1); // days are not all of one length
  const to = end.getTime();
  return Number.isNaN(from) || Number.isNaN(to) || from >= to ? null : { from, to };
}

/** A day as an input of the type `date` has it. */
export function dayOf(ms: number): string {
  const at = new Date(ms);
  const two = (n: number): string => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

export const number = (n: number): string => n.toLocaleString("en");

/** How a period is called. */
export function periodName(line: PeriodLine, step: Step): string {
  const at = new Date(line.start);
  if (step === "hour") {
    return at.toLocaleString(undefined, {
      day: "numeric",
      month: "short",
      hour: "2-digit",
      minute: "2-digit",
    });
  }
  // Days and weeks are those of UTC.
  const name = at.toLocaleDateString(undefined, {
    day: "numeric",
    month: "short",
    year: "numeric",
    timeZone: "UTC",
  });
  return step === "week" ? `Week of ${name}` : name;
}

export interface Column<Line> {
  readonly name: string;
  readonly text: (line: Line) => string;
  /** Numbers stand right. */
  readonly right?: boolean;
  /** What is left out where there is no room. */
  readonly spare?: boolean;
}

const figure = (name: string, text: (line: Figures) => string, spare = false): Column<Figures> => ({
  name,
  text,
  right: true,
  spare,
});

const REDIRECTS = figure("Redirects", (line) => number(line.redirects));
const REFUSED = figure("Refused", (line) => number(line.refusals ?? 0), true);
const PLAYS = figure("Plays", (line) => number(line.plays));
const PLAYED = figure("Played", (line) => duration(line.seconds));
const SENT = figure("Sent", (line) => bytes(line.sent_bytes), true);
const STALLS = figure("Stalls", (line) => number(line.stalls ?? 0), true);

export const TITLES: readonly Column<TitleLine>[] = [
  { name: "Title", text: titleName },
  REDIRECTS,
  REFUSED,
  PLAYS,
  PLAYED,
  SENT,
  STALLS,
];
export const SERVERS: readonly Column<ServerLine>[] = [
  { name: "Server", text: serverName },
  REDIRECTS,
  PLAYS,
  PLAYED,
  SENT,
  STALLS,
];
export const CLIENTS: readonly Column<Figures & { readonly network: string }>[] = [
  { name: "Network", text: (line) => line.network || "Not an address" },
  REDIRECTS,
  PLAYS,
  PLAYED,
  SENT,
];

export function titleName(line: TitleLine): string {
  return line.title || line.name || "Names that do not exist";
}

export function serverName(line: ServerLine): string {
  if (line.kind === "units") return "Channels, at our own units";
  if (line.name) return line.name;
  return line.kind === "unit"
    ? `Unit ${line.id}, not there now`
    : `Server ${line.id}, known no more`;
}

/** What is said of a plot to those who do not see it. */
export function summary(lines: readonly PeriodLine[], step: Step): string {
  const most = lines.reduce<PeriodLine | null>(
    (best, line) => (!best || uses(line) > uses(best) ? line : best),
    null,
  );
  if (!most || uses(most) === 0) return "Nothing was asked for or played.";
  const what = `${number(most.redirects)} redirects and ${number(most.plays)} plays`;
  return `The most in one ${step}: ${what}, ${periodName(most, step)}.`;
}

const uses = (line: Figures): number => line.redirects + line.plays;
