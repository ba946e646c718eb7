/** A channel's key: for this tab only, and never left in the address bar. */

const ENTRY = "heliograph.key.";

/** What a page's fragment gives as key, null where it gives none. */
export function keyInFragment(fragment: string): string | null {
  return new URLSearchParams(fragment.replace(/^#/, "")).get("key") || null;
}

/** The key given in the address, which forgets it, or the one used before in this tab. */
export function takeKey(channel: string): string {
  const given = keyInFragment(location.hash);
  if (given === null) return keep(() => sessionStorage.getItem(ENTRY + channel)) ?? "";
  history.replaceState(history.state, "", location.pathname + location.search);
  rememberKey(channel, given);
  return given;
}

export function rememberKey(channel: string, key: string): void {
  keep(() => sessionStorage.setItem(ENTRY + channel, key));
}

export function forgetKey(channel: string): void {
  keep(() => sessionStorage.removeItem(ENTRY + channel));
}

/** Browsers may forbid storage; the person types the key again then. */
function keep<T>(act: () => T): T | null {
  try {
    return act();
  } catch {
    return null;
  }
}
