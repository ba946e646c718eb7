/** The chat's WebSocket: says hello, comes back by itself, and notices when the other end is dead. */

import { backoff } from "../player/backoff";
import { browserSurroundings, hangUp, type Surroundings } from "../player/connection";
import { Timers } from "../player/timers";
import {
  type ClientMessage,
  type End,
  parseMessage,
  type ServerMessage,
  SUBPROTOCOL,
} from "./wire";

/** After so long without a word the server is asked for one; it keeps middle boxes awake as well. */
export const QUIET_MS = 25_000;
/** A question unanswered for so long means that the connection is dead. */
export const ANSWER_MS = 8_000;
/** The server closes with 4000 and the HTTP status of why. */
const REASONS = 4000;

/** Statuses after which asking again by itself is no use: a person has to do something first. */
const FINAL = new Set([400, 401, 403, 404, 413]);

export interface LinkEvents {
  /** What to say first. */
  hello(): ClientMessage;
  message(message: ServerMessage): void;
  /** The connection is gone or was never made; it is tried again. */
  down(): void;
  /** The server refuses, and it is not tried again. */
  refused(end: End): void;
}

export class Link {
  private socket: WebSocket | null = null;
  private failures = 0;
  private welcome = false;
  private heardAt = 0;
  private end: End | null = null;
  private closed = true;
  private readonly timers: Timers;
  /** Messages that broke the format. */
  malformed = 0;

  constructor(
    readonly url: string,
    private readonly events: LinkEvents,
    private readonly around: Surroundings = browserSurroundings,
  ) {
    this.timers = new Timers(around.after);
  }

  /** Whether what is sent now goes out. */
  get open(): boolean {
    return this.welcome && this.socket?.readyState === 1;
  }

  start(): void {
    this.closed = false;
    this.drop();
    this.connect();
  }

  stop(): void {
    this.closed = true;
    this.drop();
  }

  /** Do not wait: the person asked, or the network came back. */
  retryNow(): void {
    if (!this.closed && !this.welcome) this.start();
  }

  /** False where it could not be sent. */
  send(message: ClientMessage): boolean {
    if (this.socket?.readyState !== 1) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  private connect(): void {
    this.welcome = false;
    this.end = null;
    let socket: WebSocket;
    try {
      socket = this.around.socket(this.url, SUBPROTOCOL);
    } catch {
      this.lost(null);
      return;
    }
    this.socket = socket;
    socket.onopen = () => {
      this.heardAt = this.around.now();
      this.send(this.events.hello());
      this.watch();
    };
    socket.onmessage = (event) => this.received(event.data);
    socket.onclose = (event: CloseEvent) => this.lost(event.code);
    // An attempt that neither opens nor fails (a frozen server) ends too.
    this.timers.after(ANSWER_MS * 2, () => {
      if (this.socket === socket && !this.welcome) this.lost(null);
    });
  }

  private received(data: unknown): void {
    this.heardAt = this.around.now();
    if (typeof data !== "string") return;
    let message: ServerMessage | null;
    try {
      message = parseMessage(data);
    } catch (error) {
      this.malformed++;
      if (this.malformed === 1) console.warn(error);
      return;
    }
    if (message?.type === "end") this.end = message;
    else if (message?.type === "welcome") {
      this.welcome = true;
      this.failures = 0;
    }
    if (message) this.events.message(message);
  }

  private watch(): void {
    const socket = this.socket;
    this.timers.after(QUIET_MS, () => {
      if (this.socket !== socket) return;
      const sent = this.around.now();
      if (sent - this.heardAt < QUIET_MS * 1000) {
        this.watch();
        return;
      }
      this.send({ type: "ping" });
      this.timers.after(ANSWER_MS, () => {
        if (this.socket !== socket) return;
        if (this.heardAt < sent) this.lost(null);
        else this.watch();
      });
    });
  }

  private lost(code: number | null): void {
    const end = this.end ?? told(code);
    this.drop();
    this.welcome = false;
    if (this.closed) return;
    if (end && FINAL.has(end.status)) {
      this.closed = true;
      this.events.refused(end);
      return;
    }
    const retryMs = Math.max(
      backoff(this.failures, this.around.random()),
      // Not all at the same second.
      (end?.retry_after ?? 0) * 1000 * (1 + this.around.random()),
    );
    this.failures++;
    this.timers.after(retryMs, () => {
      if (!this.closed) this.connect();
    });
    this.events.down();
  }

  private drop(): void {
    this.timers.clear();
    hangUp(this.socket);
    this.socket = null;
  }
}

/** The reason in a close code, where the message about it was lost. */
function told(code: number | null): End | null {
  if (code === null || code < REASONS + 400 || code > REASONS + 599) return null;
  const status = code - REASONS;
  const reason = { 401: "sign_in", 403: "forbidden", 404: "unknown" }[status] ?? "busy";
  return { type: "end", status, reason, message: "", retry_after: null };
}
