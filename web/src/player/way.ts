/**
 * Which way pictures come: WebRTC first, frames over WebSocket where that does not do, HLS last. Pure:
 * what happened and when goes in, what to do comes out.
 */

export type Way = "webrtc" | "websocket" | "hls";
export type Choice = "auto" | Way;

/** In the order in which they are tried: the least delay first, what gets through anywhere last. */
export const WAYS: readonly Way[] = ["webrtc", "websocket", "hls"];

/** Why automatic choice left a better way. */
export type Reason =
  | "unconnected"
  | "loss"
  | "silence"
  | "codec"
  | "off"
  | "missing"
  /** No upgrade to WebSocket comes through. */
  | "blocked"
  /** No decoder for frames, or none that takes the channel's. */
  | "decoder";

/** ICE and DTLS take 0.2 s on a good path; who waits longer has a firewall in between. */
export const CONNECT_MS = 3_000;
/** With the time that the next way takes to begin it stays below three seconds. */
export const SILENCE_MS = 2_200;
/** Above it retransmission no longer repairs a picture in time. */
export const LOSS_SHARE = 0.1;
/** A burst is shorter. */
export const LOSS_WINDOW_MS = 5_000;
/** Fewer packets say nothing about a share. */
const LOSS_PACKETS = 50;
/** Ticks come several times a second; a longer pause means that the machine slept, not that the network did. */
const SLEPT_MS = 2_000;

/** A session that lasted so long was a good one. */
export const LASTED_MS = 5_000;

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
  /** Why it is not the first way though the choice is automatic. */
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
  /** This way does not do for the channel, which is there: its format does not fit, or the server or
   * the browser lacks something. */
  | { readonly type: "refused"; readonly reason: "codec" | "off" | "decoder" }
  /** Nothing gets through on this way, though the channel is there. */
  | { readonly type: "blocked" }
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
  // What was chosen elsewhere may not go here.
  return chosen(state, choice === "auto" || can[choice] ? choice : "auto");
}

export function nextWay(state: WayState, event: WayEvent, now: number): WayState {
  if (event.type === "choose")
    return { ...chosen(state, event.choice), attempt: state.attempt + 1 };
  if (event.type === "refused" || event.type === "blocked") {
    // Where nothing else would do better the way says what the trouble is.
    const next = state.choice === "auto" ? after(state) : null;
    return next ? to(state, next, event.type === "blocked" ? "blocked" : event.reason) : state;
  }
  // The others watch over themselves.
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
      return "The server takes no WebRTC at the moment.";
    case "missing":
      return "This browser has no WebRTC.";
    case "blocked":
      return "No WebSocket came through. A proxy on the way may block it.";
    case "decoder":
      return "This browser cannot decode the channel's frames one by one.";
    case null:
      return "";
  }
}

function chosen(state: WayState, choice: Choice): WayState {
  const base = { ...state, ...CLOSED, choice, reason: null };
  if (choice !== "auto") return { ...base, way: choice };
  const way = WAYS.find((one) => state.can[one]) ?? "websocket";
  return way === "webrtc" ? { ...base, way } : { ...base, way, reason: "missing" };
}

/** The next way that this browser can; null behind the last. */
const after = (state: WayState): Way | null =>
  WAYS.slice(WAYS.indexOf(state.way) + 1).find((way) => state.can[way]) ?? null;

function to(state: WayState, way: Way, reason: Reason): WayState {
  return { ...state, ...CLOSED, way, reason, attempt: state.attempt + 1 };
}

/** Change to the next way where that is allowed, else open this one anew. */
function leave(state: WayState, reason: Reason): WayState {
  const next = state.choice === "auto" ? after(state) : null;
  return next ? to(state, next, reason) : { ...state, ...CLOSED, attempt: state.attempt + 1 };
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
  // Another session on the same path would lose as much.
  const better = next.choice === "auto" && after(next) !== null;
  return better && share !== null && share > LOSS_SHARE ? leave(next, "loss") : next;
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
const CHOICES: readonly string[] = ["auto", ...WAYS];

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
