/** Who may watch, as one choice: the API has it as two values. Pure. */

import type { ViewAccess } from "../api/client";

export type Watchers = ViewAccess | "private";

export const WATCHERS: readonly {
  readonly value: Watchers;
  readonly name: string;
  readonly text: string;
}[] = [
  {
    value: "everyone",
    name: "Everybody",
    text: "It stands in the list, and whoever finds it watches.",
  },
  {
    value: "accounts",
    name: "Who is signed in",
    text: "All see it in the list; people with an account here watch.",
  },
  {
    value: "invited",
    name: "Who has a link",
    text: "All see it in the list; people whom you give a link watch.",
  },
  {
    value: "private",
    name: "Who has a link, and nobody else knows of it",
    text: "A private channel: it is in nobody's list but yours and the administrators'.",
  },
];

export const watchersOf = (channel: {
  readonly private: boolean;
  readonly view_access: ViewAccess;
}): Watchers => (channel.private ? "private" : channel.view_access);

export const valuesOf = (
  watchers: Watchers,
): { readonly private: boolean; readonly view_access: ViewAccess } =>
  watchers === "private"
    ? { private: true, view_access: "invited" }
    : { private: false, view_access: watchers };

/** Letters that are no other letter with a mark. */
const PLAIN: Readonly<Record<string, string>> = {
  ß: "ss",
  æ: "ae",
  œ: "oe",
  ø: "o",
  ł: "l",
  đ: "d",
  ı: "i",
};

/** A channel's name made of what people call it; empty where nothing of it can stand in an address. */
export function suggestName(title: string): string {
  return title
    .toLowerCase()
    .normalize("NFKD")
    .replace(/\p{Mark}/gu, "")
    .replace(/[ßæœøłđı]/g, (letter) => PLAIN[letter] ?? letter)
    .replace(/[^a-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 64)
    .replace(/-+$/, "");
}
