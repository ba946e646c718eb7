/** What a chat shows and what is on its way: lines, one's own messages, who one is. No page in here. */

import { browserSurroundings, type Surroundings } from "../player/connection";
import { Link } from "./link";
import type { Memory } from "./memory";
import type { Act, ClientMessage, End, Entry, Message, Muted, ServerMessage, You } from "./wire";
import { lasting, refusalWords } from "./words";

/** Lines kept on the page; the server keeps 200 for late comers. */
export const MAX_LINES = 500;
/** Messages that may wait for the connection. */
export const MAX_OUTBOX = 20;
/** A message unconfirmed for so long, though connected, has failed. */
export const CONFIRM_MS = 15_000;
/** Tries for one that was refused because too much was sent, as after a lost connection. */
const MAX_TRIES = 4;

/** Something that is told rather than said. */
export interface Notice {
  readonly type: "notice";
  readonly key: string;
  readonly text: string;
}

export type Line = Message | Notice;

/** A message of one's own until it is safe. */
export interface Own {
  readonly nonce: string;
  readonly text: string;
  state: "pending" | "sent" | "failed";
  /** Number of its entry once it is safe. */
  id: number | null;
  /** Why it failed, in words. */
  why: string;
  tries: number;
}

export type State = "connecting" | "open" | "reconnecting" | "refused";

export class ChatModel {
  state: State = "connecting";
  lines: readonly Line[] = [];
  you: You | null = null;
  refusal: End | null = null;
  slow = 0;
  muted: Muted | null = null;
  /** Why the name cannot be had, in words; empty: nothing is wrong. */
  nameTrouble = "";
  maxText = 500;
  maxName = 32;
  /** Rises with each line of others, for who counts what is new. */
  arrived = 0;

  private readonly link: Link;
  private readonly own: Own[] = [];
  private epoch = "";
  private last = 0;
  private notices = 0;
  /** Unix ms from which on slow mode lets one write again. */
  private slowUntil = 0;
  private readonly asked = new Map<string, "name" | "act">();
  private readonly names = new Map<string, string>();
  private readonly mutes = new Map<string, number | null>();

  constructor(
    url: string,
    private readonly changed: () => void,
    private readonly memory: Memory,
    private readonly around: Surroundings = browserSurroundings,
    private readonly wallMs: () => number = Date.now,
  ) {
    this.link = new Link(
      url,
      {
        hello: () => this.hello(),
        message: (message) => this.take(message),
        down: () => this.down(),
        refused: (end) => {
          this.refusal = end;
          this.state = "refused";
          this.changed();
        },
      },
      around,
    );
  }

  start(): void {
    this.state = this.epoch ? "reconnecting" : "connecting";
    this.refusal = null;
    this.link.start();
    this.changed();
  }

  stop(): void {
    this.link.stop();
  }

  retryNow(): void {
    if (this.state === "refused") this.start();
    else this.link.retryNow();
  }

  // ── what is shown

  /** Own messages that are not among the lines yet. */
  get outbox(): readonly Own[] {
    if (this.own.length === 0) return [];
    const there = new Set(
      this.lines.flatMap((line) =>
        line.type === "message" && line.author === this.you?.author ? [line.nonce] : [],
      ),
    );
    return this.own.filter((own) => !there.has(own.nonce));
  }

  nameOf(author: string): string {
    return this.names.get(author) ?? "Somebody";
  }

  /** Whether an author is muted, as far as this page heard. */
  isMuted(author: string): boolean {
    const until = this.mutes.get(author);
    return until === null || (until !== undefined && until > this.wallMs() / 1000);
  }

  get mutedAuthors(): readonly string[] {
    return [...this.mutes.keys()].filter((author) => this.isMuted(author));
  }

  /** The name a guest asked for last. */
  get wantedName(): string {
    return this.memory.name;
  }

  /** Seconds until one may write again; infinity: until unmuted; 0: now. */
  get mutedFor(): number {
    if (!this.muted) return 0;
    if (this.muted.until === null) return Number.POSITIVE_INFINITY;
    return Math.max(0, this.muted.until - this.wallMs() / 1000);
  }

  /** Seconds of slow mode that are left for oneself. */
  get slowFor(): number {
    if (this.slow <= 0 || this.you?.moderator) return 0;
    return Math.max(0, Math.ceil((this.slowUntil - this.wallMs()) / 1000));
  }

  // ── what a person does

  /** False where nothing more can be taken. */
  say(text: string): boolean {
    if (this.own.length >= MAX_OUTBOX || text.trim() === "") return false;
    const own: Own = { nonce: newNonce(), text, state: "pending", id: null, why: "", tries: 0 };
    this.own.push(own);
    this.slowUntil = this.wallMs() + this.slow * 1000;
    this.dispatch(own);
    this.changed();
    return true;
  }

  retry(nonce: string): void {
    const own = this.own.find((one) => one.nonce === nonce);
    if (own?.state !== "failed") return;
    own.tries = 0;
    this.dispatch(own);
    this.changed();
  }

  /** Give up one that failed. */
  discard(nonce: string): void {
    const at = this.own.findIndex((one) => one.nonce === nonce);
    if (at >= 0) this.own.splice(at, 1);
    this.changed();
  }

  chooseName(name: string): void {
    const nonce = newNonce();
    this.nameTrouble = "";
    this.memory.name = name;
    this.asked.set(nonce, "name");
    if (!this.link.send({ type: "name", nonce, name })) this.asked.delete(nonce);
    this.changed();
  }

  act(act: Act): void {
    const nonce = newNonce();
    this.asked.set(nonce, "act");
    if (!this.link.send({ ...act, nonce })) {
      this.asked.delete(nonce);
      this.notice("Not done: there is no connection.");
    }
    this.changed();
  }

  // ── what the server says

  private hello(): ClientMessage {
    const { guest, name } = this.memory;
    const cursor = this.epoch ? `${this.epoch}.${this.last}` : "";
    return { type: "hello", guest, name, cursor };
  }

  private down(): void {
    this.state = this.epoch ? "reconnecting" : "connecting";
    this.asked.clear();
    this.changed();
  }

  private take(message: ServerMessage): void {
    switch (message.type) {
      case "welcome":
        this.maxText = message.max_text;
        this.maxName = message.max_name;
        if (message.guest) this.memory.guest = message.guest;
        break;
      case "you":
        this.you = message;
        if (message.name) this.nameTrouble = "";
        break;
      case "history":
        this.history(message);
        break;
      case "done":
        this.done(message.nonce, message.id);
        break;
      case "refused":
        this.refused(message.nonce, message.reason, message.message, message.retry_after);
        break;
      case "end":
      case "pong":
        return;
      default:
        if (message.id <= this.last) return; // a copy
        this.entry(message, true);
        this.last = message.id;
        this.settle();
    }
    this.changed();
  }

  private history(message: Extract<ServerMessage, { type: "history" }>): void {
    const [epoch = "", last = "0"] = message.cursor.split(".");
    if (message.whole) {
      this.lines = [];
      this.last = 0;
    }
    for (const entry of message.entries) {
      if (entry.id > this.last) this.entry(entry, !message.whole);
    }
    this.epoch = epoch;
    this.last = Number(last);
    this.slow = message.slow;
    this.muted = message.muted;
    this.state = "open";
    this.settle();
    for (const own of this.own) if (own.state === "pending") this.dispatch(own);
  }

  private entry(entry: Entry, live: boolean): void {
    switch (entry.type) {
      case "message":
        this.names.set(entry.author, entry.name);
        this.add(entry);
        if (live && entry.author !== this.you?.author) this.arrived++;
        return;
      case "deleted":
        this.lines = this.lines.filter(
          (line) => !(line.type === "message" && line.id === entry.message),
        );
        return;
      case "cleared":
        this.lines = [];
        if (live) this.notice("The chat was cleared.");
        return;
      case "muted": {
        this.mutes.set(entry.author, entry.until);
        const forHow =
          entry.until === null ? "" : ` for ${lasting(entry.until - this.wallMs() / 1000)}`;
        if (entry.author === this.you?.author) this.muted = { until: entry.until };
        else if (live) this.notice(`${this.nameOf(entry.author)} was muted${forHow}.`);
        return;
      }
      case "unmuted":
        this.mutes.delete(entry.author);
        if (entry.author === this.you?.author) this.muted = null;
        if (live) this.notice(`${this.called(entry.author)} may write again.`);
        return;
      case "slow":
        this.slow = entry.seconds;
        if (live) {
          this.notice(
            entry.seconds > 0
              ? `Slow mode: one message every ${lasting(entry.seconds)}.`
              : "Slow mode is off.",
          );
        }
    }
  }

  private done(nonce: string, id: number | null): void {
    if (this.asked.delete(nonce)) return;
    const own = this.own.find((one) => one.nonce === nonce);
    if (!own) return;
    own.state = "sent";
    own.id = id;
    this.settle();
  }

  private refused(nonce: string, reason: string, message: string, after: number | null): void {
    const words = refusalWords(reason, message, after);
    const kind = nonce === "hello" ? "name" : this.asked.get(nonce);
    this.asked.delete(nonce);
    if (kind === "name") {
      this.nameTrouble = words;
      return;
    }
    if (kind === "act") {
      this.notice(`Not done: ${words}`);
      return;
    }
    const own = this.own.find((one) => one.nonce === nonce);
    if (!own) return;
    if (reason === "muted") this.muted ??= { until: null };
    if (reason === "slow" && after) this.slowUntil = this.wallMs() + after * 1000;
    if (reason === "rate" && own.tries < MAX_TRIES) {
      this.around.after((after ?? 1) * 1000, () => {
        if (own.state === "pending") this.dispatch(own);
      });
      return;
    }
    own.state = "failed";
    own.why = words;
  }

  /** Own messages that the history has, or had until they were deleted, are on their way no more. */
  private settle(): void {
    for (let i = this.own.length - 1; i >= 0; i--) {
      const own = this.own[i];
      if (own?.state === "sent" && own.id !== null && own.id <= this.last) this.own.splice(i, 1);
    }
  }

  private dispatch(own: Own): void {
    own.state = "pending";
    own.why = "";
    if (!this.link.open) return; // it goes out with the next history
    own.tries++;
    const tries = own.tries;
    this.link.send({ type: "say", nonce: own.nonce, text: own.text });
    this.around.after(CONFIRM_MS, () => {
      if (own.state !== "pending" || own.tries !== tries || this.state !== "open") return;
      own.state = "failed";
      own.why = "The server did not confirm it.";
      this.changed();
    });
  }

  private called(author: string): string {
    return author === this.you?.author ? "You" : this.nameOf(author);
  }

  private notice(text: string): void {
    this.notices++;
    this.add({ type: "notice", key: `n${this.notices}`, text });
  }

  private add(line: Line): void {
    this.lines = [...this.lines.slice(-(MAX_LINES - 1)), line];
  }
}

/** An id that no other message of this person has. */
function newNonce(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
