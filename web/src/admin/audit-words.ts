/** Lines of the audit log, in words. Pure. */

const ACTIONS: Readonly<Record<string, string>> = {
  "account.create": "made the account",
  "account.delete": "deleted the account",
  "account.edit": "changed the account",
  "account.first": "set up the server as",
  "account.password": "set a new password for",
  "channel.close": "closed the channel",
  "channel.create": "made the channel",
  "channel.delete": "deleted the channel",
  "channel.edit": "changed the channel",
  "channel.forget": "forgot the groups and the closing of",
  "channel.give": "gave away the channel",
  "channel.keep": "changed the groups kept for",
  "channel.move": "moved the source of",
  "channel.open": "opened the channel",
  "chat.delete": "deleted a message in the chat of",
  "chat.mute": "muted somebody in the chat of",
  "chat.unmute": "let somebody write again in the chat of",
  "key.create": "made a stream key for",
  "key.revoke": "revoked a stream key of",
  "order.refused": "was refused an order about",
  "session.close": "signed out as",
  "session.open": "signed in as",
  "session.refuse": "was refused as",
  "session.revoke": "ended a session of",
  "token.issue": "made a link for",
  "token.revoke": "withdrew a link of",
  "token.revoke-all": "withdrew all links of",
  "token.rotate": "changed the key that signs links:",
  "unit.drain": "drained the unit",
  "unit.remove": "removed the unit",
  "unit.return": "returned the unit",
};

/** Words for what somebody does to the own account. */
const ONESELF: Readonly<Record<string, string>> = {
  "account.first": "set up the server",
  "account.password": "changed the password",
  "session.close": "signed out",
  "session.open": "signed in",
  "session.refuse": "was refused",
};

/** What was done, also to oneself; actions without words keep their name. */
export const actionWords = (action: string, oneself = false): string =>
  (oneself ? ONESELF[action] : undefined) ?? ACTIONS[action] ?? action;

/** The details as one line: `title: The yard, private: yes`. */
export function detailWords(detail: Readonly<Record<string, unknown>>): string {
  return Object.entries(detail)
    .filter(([, value]) => value !== null && value !== "")
    .map(([name, value]) => `${name.replaceAll("_", " ")}: ${plain(value)}`)
    .join(", ");
}

function plain(value: unknown): string {
  if (value === true) return "yes";
  if (value === false) return "no";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
