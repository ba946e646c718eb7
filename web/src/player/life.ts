/** How a channel is, by what the REST API says of it; and so why a connection failed. */

import type { Address } from "./address";
import type { Life } from "./way";

const ASK_TIMEOUT_MS = 2_000;

/** An answer of the API; status null: there was none. */
export interface Told {
  readonly status: number | null;
  readonly body: unknown;
}

export async function ask(address: Address | null): Promise<Told> {
  if (!address) return { status: null, body: null };
  try {
    const response = await fetch(address.api, { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) });
    return { status: response.status, body: await response.json().catch(() => null) };
  } catch {
    return { status: null, body: null };
  }
}

/** What the API's answer says of the channel's life. */
export function lifeOf({ status, body }: Told): Life {
  if (status === null || status >= 500) return "gone";
  if (status !== 200 || typeof body !== "object" || body === null) return "unknown";
  const { state, bitrate } = body as { state?: unknown; bitrate?: unknown };
  if (state !== "on_air") return "waiting";
  return bitrate === 0 ? "quiet" : "flowing";
}

/** Why a connection that never started failed. */
export type Refusal = "gone" | "unknown" | "full" | "refused" | "unclear";

export function refusal({ status, body }: Told): Refusal {
  if (status === null || status === 502 || status === 504) return "gone";
  if (status === 404) return "unknown";
  if (status === 401 || status === 403) return "refused";
  if (typeof body === "object" && body !== null) {
    const { readers, max_readers: places } = body as { readers?: unknown; max_readers?: unknown };
    if (typeof readers === "number" && typeof places === "number" && readers >= places)
      return "full";
  }
  return status === 503 ? "full" : "unclear";
}

export type AfterRefusal = "codec" | "off" | "gone" | "unknown" | "full" | "refused" | "waiting";

/** What to do after a refusal by HTTP, given its status (0: no answer) and what the API says then. */
export function afterRefusal(status: number, told: Told): AfterRefusal {
  // Without a source there is no format yet that could fit or not.
  if (status === 406) return lifeOf(told) === "waiting" ? "waiting" : "codec";
  if (status === 401 || status === 403) return "refused";
  // Too much comes from this address: as with places, later is better.
  if (status === 429) return "full";
  if (status === 0 || status === 502 || status === 504) return "gone";
  const why = refusal(told);
  if (why === "gone" || why === "unknown" || why === "full") return why;
  // The channel is there: it has nothing to offer yet, or this way is not offered at all.
  return lifeOf(told) === "waiting" ? "waiting" : "off";
}
