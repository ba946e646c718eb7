/** What the player of films says in each state. */

export type FilmState =
  | "idle"
  | "loading"
  | "playing"
  | "paused"
  | "buffering"
  | "ended"
  /** No answer; it tries again by itself. */
  | "reconnecting"
  | "unknown"
  | "refused"
  /** Nothing of a recording is there yet; it tries again by itself. */
  | "beginning"
  | "unsupported"
  /** The server has too much to do; it tries again by itself. */
  | "full";

export interface FilmWords {
  readonly title: string;
  readonly text: string;
  readonly busy: boolean;
  readonly action: "" | "Try now";
}

/** Null where the picture speaks for itself. */
export function describe(state: FilmState): FilmWords | null {
  switch (state) {
    case "idle":
    case "playing":
    case "paused":
    case "ended":
      return null;
    case "loading":
    case "buffering":
      return { title: "", text: "", busy: true, action: "" };
    case "beginning":
      return {
        title: "The recording has just begun",
        text: "It starts here by itself in a few seconds.",
        busy: true,
        action: "",
      };
    case "reconnecting":
      return {
        title: "The server does not answer",
        text: "Trying again every few seconds. It goes on where you are.",
        busy: true,
        action: "Try now",
      };
    case "full":
      return {
        title: "The server has too much to do",
        text: "Trying again every few seconds. It goes on where you are.",
        busy: true,
        action: "Try now",
      };
    case "unknown":
      return {
        title: "There is no such title",
        text: "Check the address. It may have been removed.",
        busy: false,
        action: "Try now",
      };
    case "refused":
      return {
        title: "This title is not for everybody",
        text: "Sign in, or open the link that its owner gave you. A link may have run out.",
        busy: false,
        action: "Try now",
      };
    case "unsupported":
      return {
        title: "This browser cannot play this title",
        text: "Its codec does not fit. Try another browser, or open the RTSP address in mpv or VLC.",
        busy: false,
        action: "",
      };
  }
}

/** What a refusal by HTTP means; 0: no answer. */
export function refusedBy(status: number, live: boolean): FilmState {
  if (status === 401 || status === 403) return "refused";
  if (status === 404 || status === 410) return live ? "beginning" : "unknown";
  if (status === 406 || status === 415) return "unsupported";
  return status === 429 || status === 503 ? "full" : "reconnecting";
}

/** A language as people call it where they are. */
export function languageName(code: string, locale?: string): string {
  try {
    return new Intl.DisplayNames(locale, { type: "language" }).of(code) ?? code;
  } catch {
    return code;
  }
}
