/** A file of servers, titles and files in parts that one request each takes, purely. */

import type { ImportPart, Rejected } from "../../api/contents";

/** Rows of one request: one transaction of the server. */
export const ROWS = 250;
/** Bytes of one request's rows: the server takes 65 536 in all. */
export const BYTES = 56_000;
/** Characters of a file that is read here; the command line takes longer ones. */
export const MOST = 64 * 2 ** 20;

/** In the order in which rows can be made: later ones speak of earlier ones. */
const KINDS = ["level", "class", "network", "server", "title", "file"];

export interface Part {
  readonly body: ImportPart;
  readonly rows: number;
  /** Where in the file something is that an answer to this part calls by its place. */
  readonly place: (told: string) => string;
}

export interface Cut {
  readonly parts: readonly Part[];
  /** In all parts together. */
  readonly rows: number;
  /** What is no row at all. */
  readonly rejected: readonly Rejected[];
}

interface Row {
  readonly kind: string;
  readonly size: number;
}

interface Line extends Row {
  /** As it is written, with the end of its line. */
  readonly raw: string;
  /** In the file, from 1. */
  readonly line: number;
}

interface Item extends Row {
  readonly record: object;
}

/** Cut a CSV or JSON file; an `Error` whose message is a sentence where it is none. */
export function cut(given: string): Cut {
  if (given.length > MOST) {
    throw new Error("The file is too long for a page: helio catalogue import FILE takes it.");
  }
  const text = given.replace(/^\ufeff/, "");
  const first = text.trimStart()[0];
  if (first === "[") return cutItems(array(text), []);
  if (first === "{") return cutLines(text);
  return cutCsv(text);
}

const size = (value: unknown): number => new TextEncoder().encode(JSON.stringify(value)).length;

/** The rows in their order, as many together as one request takes. */
function* packed<T extends Row>(rows: readonly T[], head: number): Generator<readonly T[]> {
  const place = ({ kind }: T): number =>
    (KINDS.indexOf(kind) + KINDS.length + 1) % (KINDS.length + 1);
  let part: T[] = [];
  let bytes = head;
  for (const row of rows.toSorted((a, b) => place(a) - place(b))) {
    if (part.length && (part.length >= ROWS || bytes + row.size > BYTES)) {
      yield part;
      part = [];
      bytes = head;
    }
    part.push(row);
    bytes += row.size;
  }
  if (part.length) yield part;
}

// --- CSV --------------------------------------------------------------------------------------

function cutCsv(text: string): Cut {
  const first = text.slice(0, text.indexOf("\n") + 1 || text.length);
  const delimiter = [",", ";", "\t"].reduce((best, one) =>
    first.split(one).length > first.split(best).length ? one : best,
  );
  const columns = first.split(delimiter).map((name) => name.trim().toLowerCase());
  const kind = columns.indexOf("kind");
  if (kind < 0) throw new Error("The first line names no column “kind”.");
  const head = first.endsWith("\n") ? first : `${first}\n`;
  const rows = [...lines(text.slice(first.length), delimiter, kind)];
  const parts = [...packed(rows, size(head))].map((some) => csvPart(head, some));
  return { parts, rows: rows.length, rejected: [] };
}

function csvPart(head: string, rows: readonly Line[]): Part {
  const lineOf = new Map<string, number>();
  let at = 2;
  for (const { raw, line } of rows) {
    lineOf.set(`line ${at}`, line);
    at += raw.split("\n").length - 1;
  }
  return {
    body: { text: head + rows.map(({ raw }) => raw).join("") },
    rows: rows.length,
    place: (told) => (lineOf.has(told) ? `line ${lineOf.get(told)}` : told),
  };
}

/** Rows from the second line on: cells in quotes go over delimiters and ends of lines. */
function* lines(text: string, delimiter: string, kind: number): Generator<Line> {
  let start = 0;
  let line = 2;
  while (start < text.length) {
    const { end, cells } = row(text, start, delimiter, kind);
    const raw = text.slice(start, end);
    if (raw.replaceAll(delimiter, "").trim()) {
      const whole = raw.endsWith("\n") ? raw : `${raw}\n`;
      yield { raw: whole, line, size: size(whole), kind: cells[kind]?.trim() ?? "" };
    }
    line += raw.split("\n").length - 1;
    start = end;
  }
}

/** Where a row ends, and its cells up to the one of that number. */
function row(
  text: string,
  start: number,
  delimiter: string,
  wanted: number,
): { end: number; cells: readonly string[] } {
  const cells: string[] = [];
  let at = start;
  for (;;) {
    let cell = "";
    if (text[at] === '"') {
      for (at++; at < text.length; at++) {
        if (text[at] !== '"') continue;
        if (text[at + 1] !== '"') break;
        at++;
      }
      if (cells.length <= wanted) cell = text.slice(start, at).split('"').at(-1) ?? "";
      at++;
    }
    const begun = at;
    while (at < text.length && text[at] !== delimiter && text[at] !== "\n") at++;
    if (cells.length <= wanted) cells.push(cell + text.slice(begun, at));
    if (text[at] !== delimiter) return { end: Math.min(at + 1, text.length), cells };
    at++;
  }
}

// --- JSON -------------------------------------------------------------------------------------

function array(text: string): readonly (readonly [string, unknown])[] {
  try {
    return (JSON.parse(text) as unknown[]).map((one, at) => [`item ${at + 1}`, one] as const);
  } catch (error) {
    throw new Error(`This is no JSON: ${(error as Error).message}`);
  }
}

function cutLines(text: string): Cut {
  const found: [string, unknown][] = [];
  const rejected: Rejected[] = [];
  for (const [at, line] of text.split("\n").entries()) {
    if (!line.trim()) continue;
    const place = `line ${at + 1}`;
    try {
      found.push([place, JSON.parse(line)]);
    } catch (error) {
      rejected.push({ place, reason: (error as Error).message });
    }
  }
  return cutItems(found, rejected);
}

function cutItems(found: readonly (readonly [string, unknown])[], before: Rejected[]): Cut {
  const rejected = [...before];
  const items: Item[] = [];
  for (const [place, one] of found) {
    if (typeof one !== "object" || one === null || Array.isArray(one)) {
      rejected.push({ place, reason: "it is no object" });
      continue;
    }
    const record = { ...one, place };
    const { kind } = one as { kind?: unknown };
    items.push({ record, kind: String(kind), size: size(record) + 1 });
  }
  const parts = [...packed(items, 0)].map((some) => ({
    body: { records: some.map(({ record }) => record) },
    rows: some.length,
    place: (told: string) => told,
  }));
  return { parts, rows: items.length, rejected };
}
