/** The part of the REST API that the pages use. */

export interface Channel {
  readonly name: string;
  readonly title: string;
  readonly state: "on_air" | "waiting" | "idle";
  /** ISO 8601: since when it is in this state. */
  readonly since: string | null;
  readonly tracks: readonly { readonly kind: string; readonly codec: string }[];
  readonly readers: number;
  readonly max_readers: number | null;
  /** Bits a second in. */
  readonly bitrate: number;
  readonly picture: string | null;
  readonly urls: { readonly page: string; readonly websocket: string; readonly rtsp: string };
}

/** The server answered, but not with what was asked for. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

const TIMEOUT_MS = 5_000;

async function get<T>(path: string): Promise<T> {
  const response = await fetch(`/api/v1${path}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) {
    const body = (await response.json().catch(() => null)) as {
      error?: { message?: string };
    } | null;
    throw new ApiError(response.status, body?.error?.message ?? response.statusText);
  }
  return (await response.json()) as T;
}

export const listChannels = async (): Promise<readonly Channel[]> =>
  (await get<{ channels: Channel[] }>("/channels")).channels;

export const getChannel = (name: string): Promise<Channel> =>
  get<Channel>(`/channels/${encodeURIComponent(name)}`);
