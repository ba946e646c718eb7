/** A WebSocket that comes back: back-off, pings for the clock, and a watch over dead connections. */

import { backoff } from "./backoff";
import { type After, browserAfter, Timers } from "./timers";
import { type MediaFrame, parseFrame, parseMessage, type ServerMessage, SUBPROTOCOL } from "./wire";

/** Keeps the clock within a millisecond of the server's and middle boxes awake. */
export const PING_MS = 10_000;
/** The first pings follow faster (the server allows one in 2 s) until the clock is known well. */
export const EARLY_PING_MS = 2_200;
const EARLY_PINGS = 3;
/** A ping unanswered for so long, with nothing else heard, means the connection is dead. */
export const SILENCE_MS = 4_000;

/** What the connection needs of its surroundings; tests pass their own. */
export interface Surroundings {
  socket(url: string, protocol: string): WebSocket;
  /** Steady local time in µs. */
  now(): number;
  readonly after: After;
  random(): number;
}

export const browserSurroundings: Surroundings = {
  socket: (url, protocol) => new WebSocket(url, protocol),
  now: () => performance.now() * 1000,
  after: browserAfter,
  random: Math.random,
};

/** Close a socket and hear no more of it: its own end would count as a lost connection. */
export function hangUp(socket: WebSocket | null): void {
  if (!socket) return;
  socket.onmessage = socket.onopen = socket.onclose = null;
  socket.close();
}

export interface ConnectionEvents {
  message(message: ServerMessage, nowUs: number): void;
  frame(frame: MediaFrame, nowUs: number): void;
  pong(serverTimeUs: number, sentUs: number, receivedUs: number): void;
  /** The connection is gone or was never made; the next attempt follows in `retryMs`. */
  down(started: boolean, retryMs: number): void;
}

export class Connection {
  private socket: WebSocket | null = null;
  private failures = 0;
  private started = false;
  private heardAt = 0;
  private pings = 0;
  private readonly timers: Timers;
  private closed = true;
  /** Messages that broke the format, for the statistics. */
  malformed = 0;
  bytes = 0;

  constructor(
    readonly url: string,
    private readonly events: ConnectionEvents,
    private readonly around: Surroundings = browserSurroundings,
  ) {
    this.timers = new Timers(around.after);
  }

  open(): void {
    this.closed = false;
    this.connect();
  }

  close(): void {
    this.closed = true;
    this.drop();
  }

  /** Do not wait for the back-off: the person asked, or the network came back. */
  retryNow(): void {
    if (this.closed || this.started) return;
    this.drop();
    this.connect();
  }

  private connect(): void {
    this.started = false;
    this.pings = 0;
    let socket: WebSocket;
    try {
      socket = this.around.socket(this.url, SUBPROTOCOL);
    } catch {
      this.lost();
      return;
    }
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.onmessage = (event) => this.received(event.data);
    socket.onopen = () => {
      this.heardAt = this.around.now();
      this.ping();
    };
    socket.onclose = () => this.lost();
    // An attempt that neither opens nor fails (a frozen server) ends too.
    this.timers.after(SILENCE_MS * 2, () => {
      if (this.socket === socket && !this.started) this.lost();
    });
  }

  private received(data: unknown): void {
    const now = this.around.now();
    this.heardAt = now;
    try {
      if (typeof data === "string") {
        const message = parseMessage(data);
        if (message.type === "start") {
          this.started = true;
          this.failures = 0;
        }
        if (message.type === "pong") this.events.pong(message.serverTimeUs, message.t, now);
        else this.events.message(message, now);
      } else if (data instanceof ArrayBuffer) {
        this.bytes += data.byteLength;
        this.events.frame(parseFrame(data), now);
      }
    } catch (error) {
      this.malformed++;
      if (this.malformed === 1) console.warn(error);
    }
  }

  private ping(): void {
    const socket = this.socket;
    if (socket?.readyState !== 1) return;
    const sent = this.around.now();
    socket.send(JSON.stringify({ type: "ping", t: sent }));
    this.pings++;
    this.timers.after(SILENCE_MS, () => {
      if (this.socket === socket && this.heardAt <= sent) this.lost();
    });
    this.timers.after(this.pings <= EARLY_PINGS ? EARLY_PING_MS : PING_MS, () => {
      if (this.socket === socket) this.ping();
    });
  }

  private lost(): void {
    this.drop();
    if (this.closed) return;
    const retryMs = backoff(this.failures, this.around.random());
    this.failures++;
    const started = this.started;
    this.started = false;
    this.timers.after(retryMs, () => {
      if (!this.closed) this.connect();
    });
    this.events.down(started, retryMs);
  }

  private drop(): void {
    this.timers.clear();
    hangUp(this.socket);
    this.socket = null;
  }
}
