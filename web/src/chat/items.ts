/** What may be done with a message, and with the chat as a whole. */

import type { Item } from "./chat-menu";
import type { ChatModel } from "./model";
import type { Act, Message } from "./wire";
import { lasting } from "./words";

const MUTES: readonly (readonly [string, number | null])[] = [
  ["for 1 minute", 60],
  ["for 10 minutes", 600],
  ["for 1 day", 86_400],
  ["until unmuted", null],
];
const SLOW_MODES: readonly number[] = [0, 5, 15, 30, 60];

export function messageItems(model: ChatModel, message: Message): Item[] {
  const { author } = message;
  const act = (what: Act) => () => model.act(what);
  const items: Item[] = [
    { text: "Delete this message", do: act({ type: "delete", message: message.id }) },
  ];
  if (!model.you?.moderator || author === model.you.author) return items;
  if (model.isMuted(author)) {
    items.push({ text: "Let write again", do: act({ type: "unmute", author }) });
    return items;
  }
  for (const [words, seconds] of MUTES) {
    items.push({ text: `Mute ${words}`, do: act({ type: "mute", author, seconds }) });
  }
  return items;
}

export function roomItems(model: ChatModel): Item[] {
  const items: Item[] = SLOW_MODES.map((seconds) => ({
    text: seconds ? `Slow mode: ${lasting(seconds)}` : "Slow mode off",
    checked: model.slow === seconds,
    do: () => model.act({ type: "slow", seconds }),
  }));
  for (const author of model.mutedAuthors) {
    items.push({
      text: `Let ${model.nameOf(author)} write again`,
      do: () => model.act({ type: "unmute", author }),
    });
  }
  items.push({
    text: "Delete all messages",
    sure: "Press again to delete all",
    do: () => model.act({ type: "clear" }),
  });
  return items;
}
