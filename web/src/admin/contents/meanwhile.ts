/** What somebody else changed of a row while it was looked at, or in a form here. */

import type { AuditEntry } from "../../api/admin";

/** One thing that is told of a row. */
export interface Told<Row> {
  /** As the API and the audit log call it. */
  readonly key: keyof Row & string;
  readonly label: string;
  /** Name of its field in the form; empty: it is not in there. */
  readonly field: string;
  /** As it is written there, or told. */
  readonly text: (row: Row) => string;
}

/** A truth as it is told. */
export const yes = (is: boolean): string => (is ? "yes" : "no");

/** What is otherwise than before. */
export const differences = <Row>(
  before: Row,
  now: Row,
  told: readonly Told<Row>[],
): readonly Told<Row>[] => told.filter(({ text }) => text(before) !== text(now));

/** Actors of the audit log that are nobody's account. */
const NOBODY = new Set(["", "api-key", "settings", "system"]);

/**
 * Who changed one of these fields of a row last; empty where the log does not say.
 *
 * @param entries of the audit log, the newest first
 * @param kind `title` or `server`
 */
export function whoChanged(
  entries: readonly AuditEntry[],
  kind: string,
  name: string,
  keys: readonly string[],
): string {
  const last = entries.find(
    ({ action, subject, detail }) =>
      action.startsWith(`${kind}.`) &&
      subject === name &&
      String(detail.fields ?? "")
        .split(" ")
        .some((field) => keys.includes(field)),
  );
  return last && !NOBODY.has(last.actor) ? last.actor : "";
}

/** Characters of one thing that are told. */
const MOST = 80;

function short(text: string): string {
  const line = text.replaceAll("\n", ", ");
  return line.length > MOST ? `${line.slice(0, MOST)}…` : line || "nothing";
}

/**
 * That in words.
 *
 * @param who empty: not known
 * @param typed labels of what was written here and not saved
 */
export function meanwhile<Row>(
  who: string,
  now: Row,
  changed: readonly Told<Row>[],
  typed: readonly string[],
): string {
  const told = changed.map(({ label, text }) => {
    const is = `${label}: ${short(text(now))}`;
    return typed.includes(label) ? `${is} (you wrote something else)` : is;
  });
  const what = told.length ? ` It is now — ${told.join("; ")}.` : "";
  const next = typed.length
    ? " What you wrote is still here: save it once more if it is to hold."
    : " Do it once more if it is to be done.";
  return `${who || "Somebody"} changed this meanwhile.${what}${next}`;
}
