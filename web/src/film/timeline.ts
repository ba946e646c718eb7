/** Where a film is, and where it can go. Pure. */

/** So near to the end of a recording one watches it as it happens. */
const LIVE_S = 20;
/** So far behind the end players keep: what comes next is being made. */
export const BEHIND_S = 8;

export interface Extent {
  readonly start: number;
  readonly end: number;
}

export interface Ranges {
  readonly length: number;
  start(index: number): number;
  end(index: number): number;
}

/** What can be sought, of a video element's ranges and duration; null before anything is known. */
export function extent(seekable: Ranges, duration: number): Extent | null {
  if (seekable.length > 0) {
    const end = seekable.end(seekable.length - 1);
    if (end > 0) return { start: seekable.start(0), end };
  }
  return Number.isFinite(duration) && duration > 0 ? { start: 0, end: duration } : null;
}

/** A time within what can be sought. */
export const within = (time: number, { start, end }: Extent): number =>
  Math.min(Math.max(time, start), Math.max(start, end));

/** A time as a share of what can be sought, 0 to 1. */
export function share(time: number, { start, end }: Extent): number {
  return end > start ? Math.min(1, Math.max(0, (time - start) / (end - start))) : 0;
}

/** Whether a recording is watched as it happens. */
export const atLive = (time: number, { end }: Extent): boolean => end - time < LIVE_S;

/** Shares of what is loaded: left and width. */
export function loaded(buffered: Ranges, of: Extent): readonly (readonly [number, number])[] {
  const found: [number, number][] = [];
  for (let i = 0; i < buffered.length; i++) {
    const left = share(buffered.start(i), of);
    const right = share(buffered.end(i), of);
    if (right > left) found.push([left, right - left]);
  }
  return found;
}

export const SPEEDS: readonly number[] = [0.5, 0.75, 1, 1.25, 1.5, 2];

/** The next speed in one direction. */
export function faster(speed: number, by: 1 | -1): number {
  const at = SPEEDS.indexOf(speed);
  const from = at < 0 ? SPEEDS.indexOf(1) : at;
  return SPEEDS[Math.min(SPEEDS.length - 1, Math.max(0, from + by))] ?? 1;
}

/** Where a key leads; null for keys that lead nowhere. */
export function leap(key: string, time: number, of: Extent): number | null {
  const by: Readonly<Record<string, number>> = { ArrowLeft: -5, ArrowRight: 5, j: -10, l: 10 };
  const step = by[key];
  if (step !== undefined) return within(time + step, of);
  if (/^[0-9]$/.test(key)) return of.start + ((of.end - of.start) * Number(key)) / 10;
  if (key === "Home") return of.start;
  return key === "End" ? of.end : null;
}
