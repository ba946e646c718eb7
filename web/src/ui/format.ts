/** Numbers as people read them. */

export function bitrate(bitsPerSecond: number): string {
  if (bitsPerSecond >= 999.5e6) return `${(bitsPerSecond / 1e9).toFixed(1)} Gbit/s`;
  if (bitsPerSecond >= 999_500) {
    const mega = bitsPerSecond / 1e6;
    return `${mega >= 9.95 ? Math.round(mega) : mega.toFixed(1)} Mbit/s`;
  }
  return `${Math.round(bitsPerSecond / 1e3)} kbit/s`;
}

export const count = (n: number, one: string, many: string): string =>
  `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** How long, in its two largest units. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Seconds since an ISO 8601 time, or null. */
export function secondsSince(iso: string | null, nowMs: number): number | null {
  if (!iso) return null;
  const then = Date.parse(iso);
  return Number.isNaN(then) ? null : Math.max(0, (nowMs - then) / 1000);
}

export const milliseconds = (ms: number | null): string =>
  ms === null ? "–" : `${Math.round(ms)} ms`;

/** Time of a running clock. */
export function clock(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(s / 3600);
  const rest = `${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  return hours ? `${hours}:${rest}` : rest;
}

/** A share of 0 to 1; the small ones count, too. */
export function percent(share: number | null): string {
  if (share === null) return "–";
  const of100 = share * 100;
  return `${of100 > 0 && of100 < 9.95 ? of100.toFixed(1) : Math.round(of100)} %`;
}

/** A day as people write it where they are. */
export const day = (iso: string): string =>
  new Date(iso).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });

/** A day and a time. */
export const moment = (iso: string): string =>
  new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

/** An amount of data, in powers of ten as rates are. */
export function bytes(n: number): string {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let at = 0;
  let rest = n;
  while (rest >= 999.5 && at < units.length - 1) {
    rest /= 1000;
    at++;
  }
  return `${at === 0 || rest >= 99.5 ? Math.round(rest) : rest.toFixed(1)} ${units[at]}`;
}
