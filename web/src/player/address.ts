/** Where a channel and its ways are, from what a page author wrote. */

export interface Address {
  readonly channel: string;
  readonly whep: string;
  readonly websocket: string;
  readonly hls: string;
  /** `GET` this to learn how the channel is, and why a connection was refused. */
  readonly api: string;
  /** Of another server than the page's: its WebSocket is for its own pages. */
  readonly foreign: boolean;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** What permits to watch a channel that is not for everybody, as a query: a key, or a view token. */
export function permitOf(query: string): string {
  const given = new URLSearchParams(query);
  const kept = new URLSearchParams();
  for (const name of ["token", "key"]) {
    const value = given.get(name);
    if (value) kept.set(name, value);
  }
  return kept.size ? `?${kept}` : "";
}

/**
 * @param src a channel name (of the server that `base` is on) or the URL of a channel's page or socket
 * @param page address of the page that shows it
 * @returns null when it is neither
 */
export function resolve(src: string, base: string, page = base): Address | null {
  if (src === "") return null;
  let url: URL;
  try {
    url = NAME.test(src) ? new URL(`/watch/${src}`, base) : new URL(src, base);
  } catch {
    return null;
  }
  const match = /^\/(?:ws|watch)\/([^/]+)\/?$/.exec(url.pathname);
  const channel = match?.[1];
  if (!channel || !NAME.test(channel)) return null;
  const secure = url.protocol === "https:" || url.protocol === "wss:";
  const http = `${secure ? "https" : "http"}://${url.host}`;
  const permit = permitOf(url.search);
  return {
    channel,
    whep: `${http}/whep/${channel}${permit}`,
    websocket: `${secure ? "wss" : "ws"}://${url.host}/ws/${channel}${permit}`,
    hls: `${http}/hls/${channel}/index.m3u8${permit}`,
    api: `${http}/api/v1/channels/${channel}${permit}`,
    foreign: new URL(page).host !== url.host,
  };
}
