/** The messages of `helio.chat.v1` (docs/wire/chat.md). Texts and names are plain, never markup. */

export const SUBPROTOCOL = "helio.chat.v1";

export type Badge = "" | "guest" | "moderator" | "owner";

export interface Message {
  readonly type: "message";
  readonly id: number;
  readonly author: string;
  readonly name: string;
  readonly text: string;
  /** Unix time in seconds. */
  readonly at: number;
  readonly nonce: string;
  readonly badge: Badge;
}

export type Entry =
  | Message
  | { readonly type: "deleted"; readonly id: number; readonly message: number }
  | { readonly type: "cleared"; readonly id: number }
  | {
      readonly type: "muted";
      readonly id: number;
      readonly author: string;
      readonly until: number | null;
    }
  | { readonly type: "unmuted"; readonly id: number; readonly author: string }
  | { readonly type: "slow"; readonly id: number; readonly seconds: number };

/** Until when somebody may not write, Unix time in seconds; null: until unmuted. */
export interface Muted {
  readonly until: number | null;
}

export type Write = "yes" | "name" | "sign_in" | "no";

export interface You {
  readonly type: "you";
  readonly author: string;
  readonly name: string;
  readonly badge: Badge;
  readonly moderator: boolean;
  readonly write: Write;
}

export interface End {
  readonly type: "end";
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  readonly retry_after: number | null;
}

export type ServerMessage =
  | Entry
  | You
  | End
  | {
      readonly type: "welcome";
      readonly guest: string;
      readonly max_text: number;
      readonly max_name: number;
    }
  | {
      readonly type: "history";
      readonly entries: readonly Entry[];
      readonly cursor: string;
      readonly whole: boolean;
      readonly slow: number;
      readonly muted: Muted | null;
    }
  | { readonly type: "done"; readonly nonce: string; readonly id: number | null }
  | {
      readonly type: "refused";
      readonly nonce: string;
      readonly reason: string;
      readonly message: string;
      readonly retry_after: number | null;
    }
  | { readonly type: "pong" };

export type ClientMessage =
  | {
      readonly type: "hello";
      readonly guest: string;
      readonly name: string;
      readonly cursor: string;
    }
  | { readonly type: "say"; readonly nonce: string; readonly text: string }
  | { readonly type: "name"; readonly nonce: string; readonly name: string }
  | { readonly type: "ping" }
  | ({ readonly nonce: string } & Act);

/** What a moderator asks for; deleting one's own is for everybody. */
export type Act =
  | { readonly type: "delete"; readonly message: number }
  | { readonly type: "mute"; readonly author: string; readonly seconds: number | null }
  | { readonly type: "unmute"; readonly author: string }
  | { readonly type: "slow"; readonly seconds: number }
  | { readonly type: "clear" };

const ENTRIES: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  message: [
    ["author", "string"],
    ["name", "string"],
    ["text", "string"],
    ["at", "number"],
    ["nonce", "string"],
  ],
  deleted: [["message", "number"]],
  cleared: [],
  muted: [["author", "string"]],
  unmuted: [["author", "string"]],
  slow: [["seconds", "number"]],
};

const OTHERS: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  welcome: [
    ["guest", "string"],
    ["max_text", "number"],
    ["max_name", "number"],
  ],
  you: [
    ["author", "string"],
    ["name", "string"],
    ["moderator", "boolean"],
    ["write", "string"],
  ],
  history: [
    ["cursor", "string"],
    ["whole", "boolean"],
    ["slow", "number"],
  ],
  done: [["nonce", "string"]],
  refused: [
    ["nonce", "string"],
    ["reason", "string"],
  ],
  end: [
    ["status", "number"],
    ["reason", "string"],
  ],
  pong: [],
};

type Fields = Record<string, unknown>;

const fits = (value: Fields, fields: readonly (readonly [string, string])[]): boolean =>
  fields.every(([name, type]) => typeof value[name] === type);

function isEntry(value: unknown): value is Entry {
  if (typeof value !== "object" || value === null) return false;
  const fields = ENTRIES[String((value as Fields).type)];
  return fields !== undefined && fits(value as Fields, [["id", "number"], ...fields]);
}

/** Null for what this version does not know; throws for what breaks the format. */
export function parseMessage(text: string): ServerMessage | null {
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null) throw new Error("not an object");
  if (isEntry(value)) return value;
  const message = value as Fields;
  const type = String(message.type);
  const fields = OTHERS[type];
  if (!fields) {
    if (type in ENTRIES) throw new Error(`malformed ${type}`);
    return null;
  }
  if (!fits(message, fields)) throw new Error(`malformed ${type}`);
  if (type === "history") {
    const { entries } = message;
    if (!Array.isArray(entries)) throw new Error("malformed history");
    return { ...message, entries: entries.filter(isEntry) } as unknown as ServerMessage;
  }
  return message as unknown as ServerMessage;
}
