/** Where one left a film, kept in this browser only. */

import type { Extent } from "./timeline";

const KEY = "heliograph.positions";
/** Films remembered; the one not watched longest is forgotten. */
const MOST = 60;
/** Who has seen less begins anew. */
const BEGUN_S = 15;
/** Who has less to see has seen it; of short films a tenth. */
const DONE_S = 30;
const DONE_SHARE = 0.95;

type Kept = readonly (readonly [name: string, seconds: number])[];

function read(storage: Storage | null): Kept {
  try {
    const found: unknown = JSON.parse(storage?.getItem(KEY) ?? "[]");
    if (!Array.isArray(found)) return [];
    return found.filter(
      (one): one is [string, number] =>
        Array.isArray(one) && typeof one[0] === "string" && Number.isFinite(one[1]),
    );
  } catch {
    return [];
  }
}

/** Seconds from which to go on with a film; 0: from its begin. */
export function resumeAt(name: string, storage: Storage | null): number {
  return read(storage).find(([known]) => known === name)?.[1] ?? 0;
}

/**
 * Keep where somebody is.
 *
 * @param live while it is recorded nobody has seen its end
 */
export function keep(
  name: string,
  time: number,
  of: Extent,
  live: boolean,
  storage: Storage | null,
): void {
  const length = of.end - of.start;
  const rest = of.end - time;
  const done = !live && rest < Math.max(Math.min(DONE_S, length / 10), length * (1 - DONE_SHARE));
  const others = read(storage).filter(([known]) => known !== name);
  const kept: Kept =
    time - of.start < BEGUN_S || done ? others : [[name, Math.floor(time)], ...others];
  try {
    storage?.setItem(KEY, JSON.stringify(kept.slice(0, MOST)));
  } catch {
    // Storage is full or forbidden: it begins anew at the next visit.
  }
}
