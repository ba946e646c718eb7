/**
 * Which way pictures come: WebRTC first, and frames over WebSocket where that does not do. Pure: what
 * happened and when goes in, what to do comes out.
 */

export type Way = "webrtc" | "websocket";
export type Choice = "auto" | Way;

/** Why automatic choice left WebRTC. */
export type Reason = "unconnected" | "loss" | "silence" | "codec" | "off" | "missing";

/** ICE and DTLS take 0.2 s on a good path; who waits longer has a firewall in between. */
export const CONNECT_MS = 3_000;
/** Keyframes every second or two make shorter pauses; UDP that is quiet longer is blocked. */
export const SILENCE_MS = 2_500;
/** Above it retransmission no longer repairs a picture in time. */
export const LOSS_SHARE = 0.1;
/** A burst is shorter. */
export const LOSS_WINDOW_MS = 5_000;
/** Fewer packets say nothing about a share. */
const LOSS_PACKETS = 50;
/** Ticks come several times a second; a longer pause means that the machine slept, not that the network did. */
const SLEPT_MS = 2_000;

/** A session that lasted so long was a good one. */
const LASTED_MS = 5_000;

/** What REST says of the channel; `quiet`: on air, but its source sends nothing. */
export type Life = "unknown" | "flowing" | "quiet" | "waiting" | "gone";

interface Sample {
  readonly at: number;
  readonly packets: number;
  readonly lost: number;
}

export interface WayState {
  readonly choice: Choice;
  readonly way: Way;
  /** Why it is not WebRTC though the choice is automatic. */
  readonly reason: Reason | null;
  /** Rises when the way has to be opened anew. */
  readonly attempt: number;
  /** What this browser can do. */
  readonly can: Readonly<Record<Way, boolean>>;
  /** An offer is out since then; null while none is. */
  readonly offeredAt: number | null;
  readonly connected: boolean;
  /** When bytes last came. */
  readonly mediaAt: number;
  readonly bytes: number;
  readonly life: Life;
  /** When it was said; older than the last bytes it explains nothing. */
  readonly lifeAt: number;
  readonly samples: readonly Sample[];
  readonly tickAt: number;
}

export type WayEvent =
  /** The person chose, or the page begins with what was remembered. */
  | { readonly type: "choose"; readonly choice: Choice }
  /** An offer goes out. */
  | { readonly type: "offered" }
  | { readonly type: "connected" }
  /** ICE or DTLS failed. */
  | { readonly type: "failed" }
  /** The server ended the session. */
  | { readonly type: "ended" }
  /** WHEP said no and the channel is there: 406, or no WHEP at all. */
  | { readonly type: "refused"; readonly reason: "codec" | "off" }
  /** The session is given back: paused, or waiting for the channel. */
  | { readonly type: "closed" }
  | { readonly type: "life"; readonly life: Life }
  /** Counters, and that time goes by; several times a second. */
  | {
      readonly type: "tick";
      readonly bytes: number;
      readonly packets: number;
      readonly lost: number;
    };

const CLOSED = { offeredAt: null, connected: false, bytes: 0, samples: [] } as const;

export function firstWay(choice: Choice, can: Readonly<Record<Way, boolean>>, now = 0): WayState {
  const state: WayState = {
    ...CLOSED,
    choice,
    way: "webrtc",
    reason: null,
    attempt: 0,
    can,
    mediaAt: now,
    life: "unknown",
    lifeAt: now,
    tickAt: now,
  };
  return chosen(state, choice);
}

export function nextWay(state: WayState, event: WayEvent, now: number): WayState {
  if (event.type === "choose")
    return { ...chosen(state, event.choice), attempt: state.attempt + 1 };
  if (state.way !== "webrtc") return state;
  switch (event.type) {
    case "offered":
      return { ...state, ...CLOSED, offeredAt: now, mediaAt: now, tickAt: now };
    case "connected":
      return state.connected ? state : { ...state, connected: true, mediaAt: now };
    case "closed":
      return { ...state, ...CLOSED };
    case "failed":
      // Where the server itself is away, the way is not to blame.
      return state.life === "gone"
        ? { ...state, ...CLOSED, attempt: state.attempt + 1 }
        : leave(state, state.connected ? "silence" : "unconnected");
    case "ended": {
      // A restarted server, or a source of another format, takes an offer. One that ends sessions as
      // soon as they begin is left.
      const lasted = state.offeredAt !== null && now - state.offeredAt >= LASTED_MS;
      return lasted ? { ...state, ...CLOSED, attempt: state.attempt + 1 } : leave(state, "silence");
    }
    case "refused":
      // Nothing else would do better: say what the server said.
      return state.choice === "auto" ? to(state, "websocket", event.reason) : state;
    case "life":
      return lived(state, event.life, now);
    case "tick":
      return ticked(state, event, now);
  }
}

/** In words, for the menu. */
export function whyNot(reason: Reason | null): string {
  switch (reason) {
    case "unconnected":
      return "WebRTC did not connect. A firewall may block UDP.";
    case "loss":
      return "Too many packets were lost by WebRTC.";
    case "silence":
      return "Nothing more came by WebRTC.";
    case "codec":
      return "This channel's format does not go by WebRTC.";
    case "off":
      return "This server does not offer WebRTC.";
    case "missing":
      return "This browser has no WebRTC.";
    case null:
      return "";
  }
}

function chosen(state: WayState, choice: Choice): WayState {
  const base = { ...state, ...CLOSED, choice, reason: null };
  if (choice !== "auto") return { ...base, way: choice };
  return state.can.webrtc
    ? { ...base, way: "webrtc" }
    : { ...base, way: "websocket", reason: "missing" };
}

function to(state: WayState, way: Way, reason: Reason): WayState {
  return { ...state, ...CLOSED, way, reason, attempt: state.attempt + 1 };
}

/** Change to WebSocket where it may and can, else open WebRTC anew. */
function leave(state: WayState, reason: Reason): WayState {
  if (state.choice === "auto" && state.can.websocket) return to(state, "websocket", reason);
  return { ...state, ...CLOSED, attempt: state.attempt + 1 };
}

function lived(state: WayState, life: Life, now: number): WayState {
  // A server that was away knows nothing of this session.
  const back = state.life === "gone" && life !== "gone" && life !== "unknown";
  if (back && state.offeredAt !== null && now - state.mediaAt > 1_000) {
    return { ...state, ...CLOSED, life, lifeAt: now, attempt: state.attempt + 1 };
  }
  return { ...state, life, lifeAt: now };
}

function ticked(
  state: WayState,
  counters: { readonly bytes: number; readonly packets: number; readonly lost: number },
  now: number,
): WayState {
  if (state.offeredAt === null) return { ...state, tickAt: now };
  const slept = now - state.tickAt > SLEPT_MS;
  const moved = counters.bytes !== state.bytes || slept;
  const sample = { at: now, packets: counters.packets, lost: counters.lost };
  const samples = slept ? [sample] : within([...state.samples, sample], now);
  const next: WayState = {
    ...state,
    tickAt: now,
    bytes: counters.bytes,
    mediaAt: moved ? now : state.mediaAt,
    offeredAt: slept ? now : state.offeredAt,
    samples,
  };
  if (!next.connected) {
    const late = next.offeredAt !== null && now - next.offeredAt >= CONNECT_MS;
    // Without a server no way connects; and what is not on air is not waited for.
    return late && next.life !== "gone" ? leave(next, "unconnected") : next;
  }
  const explained = next.life !== "flowing" || next.lifeAt <= next.mediaAt;
  if (now - next.mediaAt >= SILENCE_MS && !explained) return leave(next, "silence");
  const share = lossShare(samples);
  if (share !== null && share > LOSS_SHARE && next.choice === "auto" && next.can.websocket) {
    return to(next, "websocket", "loss");
  }
  return next;
}

/** The samples of the window, and the one at its begin. */
function within(samples: readonly Sample[], now: number): readonly Sample[] {
  const first = samples.findLastIndex((s) => now - s.at >= LOSS_WINDOW_MS);
  return samples.slice(Math.max(0, first));
}

/** Share of packets lost over the window, null before it is full. */
export function lossShare(samples: readonly Sample[]): number | null {
  const first = samples[0];
  const last = samples.at(-1);
  if (!first || !last || last.at - first.at < LOSS_WINDOW_MS) return null;
  // Packets that come late take losses back.
  const lost = Math.max(0, last.lost - first.lost);
  const all = lost + Math.max(0, last.packets - first.packets);
  return all < LOSS_PACKETS ? null : lost / all;
}

const KEY = "heliograph.way";
const CHOICES: readonly string[] = ["auto", "webrtc", "websocket"];

/** What the person chose before. */
export function remembered(asked: string | null, storage: Storage | null): Choice {
  try {
    const found = asked ?? storage?.getItem(KEY) ?? "";
    return CHOICES.includes(found) ? (found as Choice) : "auto";
  } catch {
    // Storage is forbidden here.
    return "auto";
  }
}

export function remember(choice: Choice, storage: Storage | null): void {
  try {
    storage?.setItem(KEY, choice);
  } catch {
    // It is asked again at the next visit.
  }
}
