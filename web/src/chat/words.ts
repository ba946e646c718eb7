/** What the server says in words for people. */

/** How long, in words: `90` → `90 seconds`. */
export function lasting(seconds: number): string {
  const s = Math.max(1, Math.round(seconds));
  const of = (n: number, one: string): string => `${n} ${one}${n === 1 ? "" : "s"}`;
  if (s < 120) return of(s, "second");
  if (s < 7200) return of(Math.round(s / 60), "minute");
  if (s < 172_800) return of(Math.round(s / 3600), "hour");
  return of(Math.round(s / 86_400), "day");
}

const WORDS: Readonly<Record<string, string>> = {
  rate: "You write too fast.",
  slow: "Slow mode: wait a little.",
  muted: "You are muted here.",
  name: "Choose a name first.",
  name_taken: "Somebody here has this name. Choose another one.",
  name_bad: "This name cannot be used. Choose another one.",
  sign_in: "Sign in to write here.",
  forbidden: "You may not write here.",
  moderate: "Only a moderator may do this.",
  moderator: "A moderator cannot be muted.",
  account: "Your name is that of your account.",
  unknown: "It is no longer there.",
  too_large: "It is too long.",
};

/** Why something asked for is not done. */
export function refusalWords(reason: string, message: string, after: number | null): string {
  const words =
    WORDS[reason] ?? (message ? `${message[0]?.toUpperCase()}${message.slice(1)}.` : "");
  return after && reason === "slow" ? `Slow mode: wait ${lasting(after)}.` : words;
}

/** Why the chat cannot be read: a title, and what to do. */
export function endWords(reason: string): { readonly title: string; readonly text: string } {
  if (reason === "unknown") return { title: "No chat here", text: "There is no such channel." };
  if (reason === "sign_in")
    return { title: "Sign in to read the chat", text: "This channel is not for everybody." };
  if (reason === "forbidden")
    return { title: "The chat is not for you", text: "You may not see this channel." };
  return { title: "The chat ended", text: "The server closed the connection." };
}
