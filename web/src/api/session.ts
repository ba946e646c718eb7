/** Who is signed in: asked once a page, told to whatever shows it. */

import type { ReactiveController, ReactiveControllerHost } from "lit";
import { ApiError, request } from "./client";

export type Role = "viewer" | "broadcaster" | "administrator";

export interface Person {
  readonly name: string;
  readonly display_name: string;
  readonly role: Role;
}

export interface Session {
  readonly account: Person | null;
  readonly administrator: boolean;
  /** Groups of units that the account administers besides. */
  readonly domains: readonly string[];
  /** No account exists yet. */
  readonly setup: boolean;
}

const NOBODY: Session = { account: null, administrator: false, domains: [], setup: false };

export class SessionStore {
  /** Null until the server said. */
  current: Session | null = null;
  private readonly hearers = new Set<() => void>();
  private asked: Promise<Session> | null = null;

  /** Ask the server, once for all who ask. Without an answer nobody is signed in. */
  load(): Promise<Session> {
    this.asked ??= request<Session>("GET", "/session").then(
      (session) => this.take(session),
      () => {
        this.asked = null;
        return this.take(NOBODY);
      },
    );
    return this.asked;
  }

  async signIn(name: string, password: string): Promise<Session> {
    return this.take(await request<Session>("POST", "/session", { name, password }));
  }

  async setUp(values: {
    readonly key: string;
    readonly name: string;
    readonly password: string;
    readonly display_name?: string;
  }): Promise<Session> {
    return this.take(await request<Session>("POST", "/setup", values));
  }

  async signOut(): Promise<void> {
    await request("DELETE", "/session");
    this.take(NOBODY);
  }

  async changePassword(old: string, fresh: string): Promise<void> {
    await request("POST", "/session/password", { old, new: fresh });
  }

  hear(hearer: () => void): () => void {
    this.hearers.add(hearer);
    return () => this.hearers.delete(hearer);
  }

  private take(session: Session): Session {
    this.current = session;
    for (const hearer of this.hearers) hearer();
    return session;
  }
}

export const session = new SessionStore();

/** Whether somebody may have channels of their own. */
export const broadcasts = (who: Session | null): boolean =>
  who?.administrator === true || (who?.account != null && who.account.role !== "viewer");

/** Whether somebody administers the cluster, or a part of it. */
export const oversees = (who: Session | null): boolean =>
  who !== null && (who.administrator || who.domains.length > 0);

/** Renders its host anew when somebody signs in or out. */
export class WithSession implements ReactiveController {
  private deaf: (() => void) | null = null;

  constructor(private readonly host: ReactiveControllerHost) {
    host.addController(this);
  }

  get current(): Session | null {
    return session.current;
  }

  hostConnected(): void {
    this.deaf = session.hear(() => this.host.requestUpdate());
    void session.load();
  }

  hostDisconnected(): void {
    this.deaf?.();
  }
}

/** Where to go after signing in: a path of this server and nothing else. */
export function nextPath(query: string, fallback = "/"): string {
  const asked = new URLSearchParams(query).get("next") ?? "";
  // A second slash, or a backslash that browsers take for one, would name another host.
  return /^\/(?![/\\])[^\\]*$/.test(asked) ? asked : fallback;
}

/** Address of the sign-in page that comes back to `from`. */
export const signInPath = (from: string): string => `/sign-in?next=${encodeURIComponent(from)}`;

/** What went wrong with a form, for the person in front of it. */
export function explain(error: unknown): string {
  if (!(error instanceof ApiError)) {
    console.error(error);
    return "Something went wrong on this page. Load it again and try once more.";
  }
  if (error.status === 429 || (error.status === 503 && error.retryAfterS !== null)) {
    const wait = error.retryAfterS;
    return wait
      ? `Too many attempts. Wait ${wait < 90 ? `${wait} s` : `${Math.ceil(wait / 60)} min`} and try again.`
      : "Too many attempts. Wait a minute and try again.";
  }
  if (error.status >= 500)
    return "The server made a mistake. Try again; if it stays, tell whoever runs it.";
  // The API's messages begin small, as parts of log lines.
  const { message } = error;
  const sentence = message.charAt(0).toUpperCase() + message.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}
