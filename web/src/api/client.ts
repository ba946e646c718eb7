/** The REST API (docs/operate/api.md): one typed request for all of its parts, and channels. */

export type ViewAccess = "everyone" | "accounts" | "invited";

export interface Channel {
  readonly name: string;
  readonly title: string;
  readonly state: "on_air" | "waiting" | "idle";
  /** ISO 8601: since when it is in this state. */
  readonly since: string | null;
  /** ISO 8601: since when it is on air, over short pauses of its source; null off air. */
  readonly on_air_since: string | null;
  readonly tracks: readonly { readonly kind: string; readonly codec: string }[];
  readonly readers: number;
  readonly max_readers: number | null;
  /** Bits a second in. */
  readonly bitrate: number;
  readonly picture: string | null;
  /** Name that others see; null: a channel of the server itself. */
  readonly owner: string | null;
  /** Whether it belongs to whoever is signed in. */
  readonly mine: boolean;
  /** Unknown to everybody who may not watch it. */
  readonly private: boolean;
  readonly view_access: ViewAccess;
  /** Whether who has no account may write in its chat. */
  readonly guests_chat: boolean;
  readonly urls: {
    readonly page: string;
    readonly websocket: string;
    /** Empty without an RTSP server. */
    readonly rtsp: string;
    /** Server for encoders, without the channel; empty without an RTMP server. */
    readonly rtmp: string;
    readonly hls: string;
  };
}

/** The server answered, but not with what was asked for; status 0: it did not answer. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    /** What it is about: a field, a channel. */
    readonly subject: string | null = null,
    /** Seconds that the server asks to wait, null where it does not say. */
    readonly retryAfterS: number | null = null,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** Passwords take the server some time to hash, more while many people sign in. */
const TIMEOUT_MS = 10_000;

/**
 * One request; gives the answer's JSON, null where it has none.
 *
 * @param revision what was read before; refused with 412 where it is another one now
 * @param timeoutMs until it is given up
 */
export async function request<T>(
  method: string,
  path: string,
  body?: unknown,
  revision?: number,
  timeoutMs = TIMEOUT_MS,
): Promise<T> {
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}`, {
      method,
      signal: AbortSignal.timeout(timeoutMs),
      headers: {
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...(revision === undefined ? {} : { "if-match": `"${revision}"` }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch {
    throw new ApiError(0, "The server does not answer. Check your network and try again.");
  }
  const json = (await response.json().catch(() => null)) as unknown;
  if (response.ok) return json as T;
  throw refusal(response.status, response.statusText, json, response.headers.get("retry-after"));
}

/** What an answer that is none of success says; `json` is its body, null where that is none. */
export function refusal(
  status: number,
  statusText: string,
  json: unknown,
  retryAfter: string | null,
): ApiError {
  const { error } = (json ?? {}) as { error?: { message?: string; subject?: string | null } };
  const wait = Number.parseInt(retryAfter ?? "", 10);
  return new ApiError(
    status,
    error?.message ?? (statusText || `The server answered with ${status}.`),
    error?.subject ?? null,
    Number.isNaN(wait) ? null : wait,
  );
}

const path = (name: string): string => `/channels/${encodeURIComponent(name)}`;

export const listChannels = async (): Promise<readonly Channel[]> =>
  (await request<{ channels: Channel[] }>("GET", "/channels")).channels;

/** @param permit query that permits to watch a private channel, such as `?token=…`, or empty */
export const getChannel = (name: string, permit = ""): Promise<Channel> =>
  request<Channel>("GET", `${path(name)}${permit}`);

export interface ChannelValues {
  readonly title?: string;
  readonly private?: boolean;
  readonly view_access?: ViewAccess;
  readonly guests_chat?: boolean;
}

/** Comes with a first stream key, which is told this once. */
export const createChannel = (
  values: ChannelValues & { readonly name: string },
): Promise<Channel & { readonly key: string }> => request("POST", "/channels", values);

export const changeChannel = (name: string, values: ChannelValues): Promise<Channel> =>
  request<Channel>("PATCH", path(name), values);

export const deleteChannel = (name: string): Promise<null> => request<null>("DELETE", path(name));

export interface StreamKey {
  readonly id: number;
  readonly label: string;
  /** The key's last characters. */
  readonly hint: string;
  readonly created: string;
  readonly last_used: string | null;
  readonly revoked: string | null;
}

export const listKeys = async (channel: string): Promise<readonly StreamKey[]> =>
  (await request<{ keys: StreamKey[] }>("GET", `${path(channel)}/keys`)).keys;

/** The key itself is told this once. */
export const createKey = (
  channel: string,
  label: string,
): Promise<StreamKey & { readonly key: string }> =>
  request("POST", `${path(channel)}/keys`, { label });

export const revokeKey = (channel: string, id: number): Promise<null> =>
  request<null>("DELETE", `${path(channel)}/keys/${id}`);

export interface ViewLink {
  readonly token: string;
  /** Address of the page with the token. */
  readonly url: string;
  /** ISO 8601. */
  readonly expires: string;
}

export const createLink = (
  channel: string,
  wanted: { readonly subject: string; readonly lifetime_s: number; readonly single?: boolean },
): Promise<ViewLink> => request("POST", `${path(channel)}/tokens`, wanted);

export const withdrawLinks = (channel: string): Promise<null> =>
  request<null>("DELETE", `${path(channel)}/tokens`);
