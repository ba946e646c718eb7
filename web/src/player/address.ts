/** Where a channel's WebSocket and its description are, from what a page author wrote. */

export interface Address {
  readonly websocket: string;
  readonly whep: string;
  /** Key for channels that are not for everybody. */
  readonly key: string;
  /** `GET` this to learn why a connection was refused. */
  readonly api: string;
  readonly channel: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/**
 * @param src a channel name (of the server that `base` is on) or the URL of a channel's page or socket
 * @returns null when it is neither
 */
export function resolve(src: string, base: string): Address | null {
  if (src === "") return null;
  let url: URL;
  try {
    url = NAME.test(src) ? new URL(`/ws/${src}`, base) : new URL(src, base);
  } catch {
    return null;
  }
  const match = /^\/(?:ws|watch)\/([^/]+)\/?$/.exec(url.pathname);
  const channel = match?.[1];
  if (!channel || !NAME.test(channel)) return null;
  const secure = url.protocol === "https:" || url.protocol === "wss:";
  return {
    channel,
    whep: `${secure ? "https" : "http"}://${url.host}/whep/${channel}`,
    key: url.searchParams.get("key") ?? "",
    websocket: `${secure ? "wss" : "ws"}://${url.host}/ws/${channel}${url.search}`,
    api: `${secure ? "https" : "http"}://${url.host}/api/v1/channels/${channel}`,
  };
}

/** Why a connection that never started failed. */
export type Refusal = "gone" | "unknown" | "full" | "refused" | "unclear";

/** Decide from the API's answer: status (null when unreachable) and body. */
export function refusal(status: number | null, body: unknown): Refusal {
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

export async function askWhy(address: Address): Promise<Refusal> {
  try {
    const response = await fetch(address.api, { signal: AbortSignal.timeout(3_000) });
    return refusal(response.status, await response.json().catch(() => null));
  } catch {
    return refusal(null, null);
  }
}
