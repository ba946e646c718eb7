/** WHIP (RFC 9725) and WHEP from the client's side: offers by HTTP, answers from it. */

import { iceServers } from "./ice";

/** A server that has not answered by then does not. */
const TIMEOUT_MS = 5_000;
/** The same while a picture stands: a portal asks the unit for less. */
const LOOK_TIMEOUT_MS = 1_000;

/**
 * How a session is. `waiting`: it lives, and its channel has no source at the moment. `mute`: who serves it
 * does not answer the server. `unknown`: the server does not answer. `blind`: the server cannot be asked.
 */
export type Look = "flowing" | "waiting" | "gone" | "kicked" | "mute" | "unknown" | "blind";

/** The server refused, or cannot be reached. */
export class SignalError extends Error {
  constructor(
    /** HTTP status; 0 where there was no answer. */
    readonly status: number,
    message: string,
    /** How long the server asks to wait, null where it does not say. */
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
    this.name = "SignalError";
  }
}

export interface Opened {
  /** Answer to the offer. */
  readonly sdp: string;
  readonly resource: Resource;
  /** STUN and TURN servers that the server tells of. */
  readonly servers: RTCIceServer[];
}

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** Send an offer; 201 brings the answer and the address of the session. */
export async function open(
  url: string,
  offer: string,
  key: string,
  ask: Fetch = (where, init) => fetch(where, init),
): Promise<Opened> {
  const response = await request(ask, url, "POST", key, {
    body: offer,
    headers: { "content-type": "application/sdp" },
  });
  const location = response.headers.get("location");
  if (!location) throw new SignalError(response.status, "the answer names no session");
  // A mock or a proxy may leave the response's own address empty.
  const base = new URL(response.url || url, globalThis.location?.href ?? "http://localhost/");
  const resource = new Resource(
    new URL(location, base).href,
    response.headers.get("etag"),
    key,
    ask,
  );
  const servers = iceServers(response.headers.get("link") ?? "");
  return { sdp: await response.text(), resource, servers };
}

/** A session at the server. */
export class Resource {
  constructor(
    readonly url: string,
    private etag: string | null,
    private readonly key: string,
    private readonly ask: Fetch,
  ) {}

  /** Restart ICE; gives the answering fragment. The old path goes on meanwhile. */
  async restart(fragment: string): Promise<string> {
    const response = await request(this.ask, this.url, "PATCH", this.key, {
      body: fragment,
      headers: { "content-type": "application/trickle-ice-sdpfrag", "if-match": '"*"' },
    });
    this.etag = response.headers.get("etag") ?? this.etag;
    if (response.status !== 200) throw new SignalError(response.status, "no restart");
    return response.text();
  }

  /** Tell a candidate. */
  async trickle(fragment: string): Promise<void> {
    const headers: Record<string, string> = { "content-type": "application/trickle-ice-sdpfrag" };
    if (this.etag) headers["if-match"] = this.etag;
    await request(this.ask, this.url, "PATCH", this.key, { body: fragment, headers });
  }

  /** In a cluster: who serves it; its address names that. Empty elsewhere. */
  get unit(): string {
    return /~([a-z2-7]{16})$/.exec(new URL(this.url).pathname)?.[1] ?? "";
  }

  /** Whether it lives. */
  async look(): Promise<Look> {
    try {
      const response = await request(this.ask, this.url, "HEAD", this.key, {}, LOOK_TIMEOUT_MS);
      const state = response.headers.get("heliograph-state");
      // Another server than ours, which says so of everything.
      if (state === null) return "blind";
      return state === "on_air" ? "flowing" : "waiting";
    } catch (error) {
      switch (error instanceof SignalError ? error.status : 0) {
        case 0:
          return "unknown";
        case 404:
          return "gone";
        case 410:
          return "kicked";
        case 502:
        case 503:
        case 504:
          return "mute";
        default:
          return "blind";
      }
    }
  }

  /** Whether an administrator ended it, so that it shall not be opened anew. */
  async kicked(): Promise<boolean> {
    try {
      await request(this.ask, this.url, "DELETE", this.key, {});
      return false;
    } catch (error) {
      return error instanceof SignalError && error.status === 410;
    }
  }

  /** End it, also while the page goes away. Resolves in any case. */
  async end(): Promise<void> {
    try {
      await request(this.ask, this.url, "DELETE", this.key, { keepalive: true });
    } catch {
      // It ends by itself when nothing comes any more.
    }
  }
}

async function request(
  ask: Fetch,
  url: string,
  method: string,
  key: string,
  init: RequestInit & { headers?: Record<string, string> },
  timeoutMs = TIMEOUT_MS,
): Promise<Response> {
  const headers = { ...init.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let response: Response;
  try {
    response = await ask(url, {
      ...init,
      headers,
      method,
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch (error) {
    throw new SignalError(0, error instanceof Error ? error.message : String(error));
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => null)) as {
    error?: { message?: string };
  } | null;
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  throw new SignalError(
    response.status,
    body?.error?.message ?? response.statusText,
    Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null,
  );
}
