/** A session that was asked for before there was a player for it. */

import { WhepSession } from "./whep";

let begun: WhepSession | null = null;

const drop = (): void => {
  begun?.end();
  begun = null;
};

/** Open a session; who plays from there takes it. */
export function begin(url: string): WhepSession {
  drop();
  begun = new WhepSession(url, []);
  addEventListener("pagehide", drop, { once: true });
  return begun;
}

/** The session that was opened there, once; null where there is none that does. */
export function take(url: string): WhepSession | null {
  if (begun?.url !== url || begun.over) drop();
  const found = begun;
  begun = null;
  return found;
}
