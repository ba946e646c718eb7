/** Texts for the page: links found in them, and colours for names. Nothing here makes markup. */

export type Part = { readonly text: string; readonly href: string | null };

/** Web addresses only; what comes before the host is written out, so that nothing else is a link. */
const LINK = /\bhttps?:\/\/[^\s<>"'`\\]+/giu;
/** What ends a sentence rather than an address. */
const TRAILING = /[.,;:!?…)\]}»”’]+$/u;
/** Longer ones are left as text. */
const MAX_HREF = 400;

export function parts(text: string): Part[] {
  const found: Part[] = [];
  let from = 0;
  for (const match of text.matchAll(LINK)) {
    const raw = match[0].replace(TRAILING, "");
    const href = address(raw);
    if (href === null) continue;
    if (match.index > from) found.push({ text: text.slice(from, match.index), href: null });
    found.push({ text: raw, href });
    from = match.index + raw.length;
  }
  if (from < text.length) found.push({ text: text.slice(from), href: null });
  return found;
}

function address(text: string): string | null {
  if (text.length > MAX_HREF) return null;
  try {
    const url = new URL(text);
    // A name before the host makes “https://bank.example@evil.example” look like the bank's.
    const plain = (url.protocol === "https:" || url.protocol === "http:") && !url.username;
    return plain && !url.password ? url.href : null;
  } catch {
    return null;
  }
}

/** A hue of 0 to 359, the same for one author everywhere. */
export function hue(author: string): number {
  let hash = 2_166_136_261; // FNV-1a
  for (let i = 0; i < author.length; i++) {
    hash = Math.imul(hash ^ author.charCodeAt(i), 16_777_619);
  }
  return (hash >>> 0) % 360;
}

/** Whether a text is a few emoji and nothing else, to be shown larger. */
export const onlyEmoji = (text: string): boolean =>
  text.length <= 24 &&
  /^(?:\p{Extended_Pictographic}|\p{Emoji_Modifier}|\p{Regional_Indicator}|\u200d|\ufe0f|\s)+$/u.test(
    text,
  );

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

/** Time of day; with the day where that is not today. */
export function clockTime(at: number, nowMs: number): string {
  const date = new Date(at * 1000);
  const time = TIME.format(date);
  return date.toDateString() === new Date(nowMs).toDateString()
    ? time
    : `${DAY.format(date)}, ${time}`;
}
