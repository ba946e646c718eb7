/** Log entries of all nodes as the page keeps them. Pure. */

import type { LogBatch, LogEntry, LogLevel } from "../../api/cluster";
import { matcher } from "./model";

/** Entries kept: older ones are in the nodes' own files. */
export const KEPT = 2_000;

export const LEVELS: readonly LogLevel[] = ["debug", "info", "warning", "error", "critical"];

/** Microseconds by which what is pushed may lie behind what came before without being new. */
const BACK_US = 10_000_000;

export interface LogFilter {
  /** Id of a node, or empty. */
  readonly node: string;
  /** This one and above. */
  readonly level: LogLevel;
  readonly text: string;
}

export class LogLines {
  entries: readonly LogEntry[] = [];
  /** Entries that nodes or the server left out. */
  missed = 0;
  /** Names of nodes by their ids, in the order in which they came. */
  readonly nodes = new Map<string, string>();
  private readonly newest = new Map<string, number>();
  private readonly runs = new Map<string, number>();
  private floor = 0;
  private waiting: LogBatch[] | null = null;

  /** What is pushed from now on comes behind what `begin` will be given. */
  wait(): void {
    this.waiting = [];
  }

  /** Entries of before; older ones, of which pushed events bring some again, are left out. */
  begin(entries: readonly LogEntry[]): void {
    const oldest = entries[0];
    if (!this.entries.length && oldest) this.floor = oldest.number - 1;
    this.add(entries);
    const { waiting } = this;
    this.waiting = null;
    for (const batch of waiting ?? []) this.push(batch);
  }

  push(batch: LogBatch): void {
    if (this.waiting) {
      this.waiting.push(batch);
      return;
    }
    const { node, name, run, missed, entries } = batch;
    this.missed += missed;
    // Started anew, with a clock that went back: its numbers begin below those of before.
    const first = entries[0];
    if ((this.runs.get(node) ?? run) !== run && first) {
      if (first.number < (this.newest.get(node) ?? 0) - BACK_US) this.newest.set(node, 0);
    }
    this.runs.set(node, run);
    this.add(entries.map((entry) => ({ ...entry, node, name })));
  }

  /** Some come again after a break: the numbers of a node's process only grow. */
  private add(entries: readonly LogEntry[]): void {
    const fresh = entries.filter(({ node, number }) => {
      if (number <= (this.newest.get(node) ?? this.floor)) return false;
      this.newest.set(node, number);
      return true;
    });
    if (!fresh.length) return;
    for (const { node, name } of fresh) this.nodes.set(node, name);
    this.entries = [...this.entries, ...fresh].slice(-KEPT);
  }
}

/** The newest that pass. */
export function chosen(
  entries: readonly LogEntry[],
  { node, level, text }: LogFilter,
  most: number,
): readonly LogEntry[] {
  const matches = matcher(text);
  const least = LEVELS.indexOf(level);
  const found: LogEntry[] = [];
  for (let i = entries.length - 1; i >= 0 && found.length < most; i--) {
    const entry = entries[i];
    if (!entry || (node && entry.node !== node)) continue;
    if (LEVELS.indexOf(entry.level) < least) continue;
    if (text && !matches(entry.name, entry.event, fieldWords(entry))) continue;
    found.push(entry);
  }
  return found.reverse();
}

/** Fields as the log has them: `channel=yard reader=7`. */
export const fieldWords = (entry: LogEntry): string =>
  Object.entries(entry.fields)
    .filter(([name]) => name !== "exception")
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");

/** The time of the day, as it is where the person is. */
export function clockTime(iso: string): string {
  const at = new Date(iso);
  if (Number.isNaN(at.getTime())) return iso;
  const two = (n: number): string => String(n).padStart(2, "0");
  const ms = String(at.getMilliseconds()).padStart(3, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${ms}`;
}
