/** Soon enough that a restarted server is met at once. */
export const FIRST_DELAY_MS = 250;
/** A viewer should not wait longer than this after the server is back. */
export const LAST_DELAY_MS = 5_000;

/**
 * Delay before attempt `failures` + 1, doubled at each failure, drawn from its upper half so that a
 * thousand pages do not return in the same instant.
 */
export function backoff(failures: number, random: number): number {
  const full = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(failures, 16));
  return full * (0.5 + random / 2);
}
