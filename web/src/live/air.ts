/** The life of going on air, as a table, and the decisions after a failure. Pure. */

export type AirState =
  /** Not on air; a preview may run. */
  | "off"
  /** The offer is out, or ICE looks for a path. */
  | "starting"
  | "live"
  /** The path went quiet; it may come back by itself. */
  | "shaky"
  /** The connection is gone; attempts go on. */
  | "reconnecting";

export type AirEvent =
  | "start"
  | "connected"
  /** ICE hears nothing. */
  | "quiet"
  /** ICE gave up, the quiet lasted, or the server ended it. */
  | "lost"
  /** The server said no, for good. */
  | "refused"
  | "stop";

export const AIR: Readonly<Record<AirState, Partial<Record<AirEvent, AirState>>>> = {
  off: { start: "starting" },
  starting: { connected: "live", lost: "reconnecting", refused: "off", stop: "off" },
  live: { quiet: "shaky", lost: "reconnecting", refused: "off", stop: "off" },
  shaky: { connected: "live", lost: "reconnecting", refused: "off", stop: "off" },
  reconnecting: { connected: "live", refused: "off", stop: "off" },
};

/** The state after an event; events that mean nothing in a state leave it. */
export const nextAir = (state: AirState, event: AirEvent): AirState => AIR[state][event] ?? state;

/** ICE often recovers by itself from shorter pauses, e.g. a change of access point. */
export const QUIET_MS = 3_000;
/** A path that ICE has not found by then is not there. */
export const CONNECT_MS = 8_000;
/** So long the server may still hold the place for the session that was lost. */
export const OWN_PLACE_MS = 40_000;

/**
 * Whether a refusal is worth another attempt.
 *
 * @param status of the refusal, 0 where nobody answered
 * @param lostMs how long ago the connection was lost; null if there was none
 */
export function worthRetry(status: number, lostMs: number | null): boolean {
  if (lostMs === null) return false;
  // Most likely it is the session that was lost, which the server has not given up yet.
  if (status === 409) return lostMs < OWN_PLACE_MS;
  return status === 0 || status === 429 || status >= 500;
}
