/**
 * The player's half of the WebSocket format `helio.v1`: media messages (a 32-byte header before one
 * access unit, big endian) and the JSON messages around them. Parsers give a value or a `WireError`.
 */

export const SUBPROTOCOL = "helio.v1";
export const HEADER_BYTES = 32;
const TYPE_MEDIA = 1;
const FLAG_KEYFRAME = 1;
const FLAG_DISCONTINUITY = 2;

export type WireFault = "short" | "type" | "range" | "json" | "message";

/** A message that breaks the format. `fault` says how. */
export class WireError extends Error {
  constructor(
    readonly fault: WireFault,
    detail: string,
  ) {
    super(`helio.v1: ${detail}`);
    this.name = "WireError";
  }
}

/** One access unit as it came from the server. */
export interface MediaFrame {
  readonly track: number;
  readonly keyframe: boolean;
  /** Something before this frame is missing for this reader. */
  readonly discontinuity: boolean;
  /** Counts restarts of the numbering. */
  readonly epoch: number;
  /** Frame number within the track. */
  readonly number: number;
  /** Presentation time, Unix µs on the clock that audio and video share. */
  readonly ptsUs: number;
  /** Arrival at the server, Unix µs. */
  readonly arrivalUs: number;
  readonly data: Uint8Array;
}

export function parseFrame(buffer: ArrayBuffer): MediaFrame {
  if (buffer.byteLength < HEADER_BYTES) {
    throw new WireError(
      "short",
      `${buffer.byteLength} bytes, the header alone has ${HEADER_BYTES}`,
    );
  }
  const view = new DataView(buffer);
  const type = view.getUint8(0);
  if (type !== TYPE_MEDIA) throw new WireError("type", `message type ${type}`);
  const flags = view.getUint8(2);
  return {
    track: view.getUint8(1),
    keyframe: (flags & FLAG_KEYFRAME) !== 0,
    discontinuity: (flags & FLAG_DISCONTINUITY) !== 0,
    epoch: view.getUint32(4),
    number: safe(view.getBigUint64(8), "frame number"),
    ptsUs: safe(view.getBigInt64(16), "presentation time"),
    arrivalUs: safe(view.getBigInt64(24), "arrival"),
    data: new Uint8Array(buffer, HEADER_BYTES),
  };
}

/** 2⁵³ µs after 1970 is the year 2255: what is larger is nonsense, not precision lost. */
function safe(value: bigint, field: string): number {
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new WireError("range", `${field} ${value}`);
  return number;
}

export type TrackKind = "video" | "audio" | "data";
export type ChannelState = "on_air" | "waiting";

export interface Track {
  readonly id: number;
  readonly kind: TrackKind;
  /** Name such as `h264` or `opus`. */
  readonly codec: string;
  /** RFC 6381 string where the server knows it. */
  readonly codecString: string | null;
  /** Out-of-band configuration (AudioSpecificConfig for AAC). */
  readonly description: Uint8Array<ArrayBuffer> | null;
  /** RTP timestamp units a second; for audio samples this is the sampling rate. */
  readonly clockRate: number;
  /** Audio channels, 0 for video and where unknown. */
  readonly channels: number;
}

export type ServerMessage =
  | {
      readonly type: "start";
      readonly channel: string;
      readonly title: string;
      readonly state: ChannelState;
      readonly serverTimeUs: number;
      readonly tracks: readonly Track[];
    }
  | { readonly type: "state"; readonly state: ChannelState }
  | { readonly type: "tracks"; readonly tracks: readonly Track[] }
  | { readonly type: "pong"; readonly t: number; readonly serverTimeUs: number }
  | { readonly type: "end"; readonly reason: string }
  | { readonly type: "other" };

/** Parse a text message. Types a later server may add are `other`, not an error. */
export function parseMessage(text: string): ServerMessage {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new WireError("json", "text that is not JSON");
  }
  const o = record(json, "message");
  switch (o.type) {
    case "start":
      if (o.version !== 1) throw new WireError("message", `version ${String(o.version)}`);
      return {
        type: "start",
        channel: string(o.channel, "channel"),
        title: typeof o.title === "string" ? o.title : "",
        state: channelState(o.state),
        serverTimeUs: number(o.server_time_us, "server_time_us"),
        tracks: tracks(o.tracks),
      };
    case "state":
      return { type: "state", state: channelState(o.state) };
    case "tracks":
      return { type: "tracks", tracks: tracks(o.tracks) };
    case "pong":
      return {
        type: "pong",
        t: number(o.t, "t"),
        serverTimeUs: number(o.server_time_us, "server_time_us"),
      };
    case "end":
      return { type: "end", reason: typeof o.reason === "string" ? o.reason : "" };
    default:
      return { type: "other" };
  }
}

function tracks(value: unknown): Track[] {
  if (!Array.isArray(value)) throw new WireError("message", "tracks is not a list");
  return value.map((item) => {
    const o = record(item, "track");
    const kind = o.kind;
    if (kind !== "video" && kind !== "audio" && kind !== "data") {
      throw new WireError("message", `kind ${String(kind)}`);
    }
    return {
      id: number(o.id, "id"),
      kind,
      codec: string(o.codec, "codec"),
      codecString: typeof o.codec_string === "string" ? o.codec_string : null,
      description: typeof o.description === "string" ? base64(o.description) : null,
      clockRate: number(o.clock_rate, "clock_rate"),
      channels: typeof o.channels === "number" ? o.channels : 0,
    };
  });
}

function base64(text: string): Uint8Array<ArrayBuffer> {
  try {
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  } catch {
    throw new WireError("message", "description is not base64");
  }
}

function record(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new WireError("message", `${what} is not an object`);
  }
  return value as Record<string, unknown>;
}

function string(value: unknown, field: string): string {
  if (typeof value !== "string") throw new WireError("message", `${field} is not text`);
  return value;
}

function number(value: unknown, field: string): number {
  if (typeof value !== "number" || !Number.isFinite(value)) {
    throw new WireError("message", `${field} is not a number`);
  }
  return value;
}

function channelState(value: unknown): ChannelState {
  if (value !== "on_air" && value !== "waiting") {
    throw new WireError("message", `state ${String(value)}`);
  }
  return value;
}
