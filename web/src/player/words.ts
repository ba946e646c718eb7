/** What the player says in each state. Pure, so that every state has its words. */

import type { PlayerState } from "./stats";

export interface Words {
  readonly title: string;
  readonly text: string;
  /** The player goes on trying and will leave this state by itself. */
  readonly busy: boolean;
  /** A button to press, where there is something to do. */
  readonly action: "" | "Try now" | "Watch again";
}

const words = (
  title: string,
  text: string,
  busy: boolean,
  action: Words["action"] = "",
): Words => ({
  title,
  text,
  busy,
  action,
});

/** Null where the picture speaks for itself. */
export function describe(state: PlayerState, codec: string): Words | null {
  switch (state) {
    case "idle":
    case "playing":
    case "paused":
      return null;
    case "connecting":
      return words("Connecting", "", true);
    case "buffering":
      return words("Waiting for pictures", "", true);
    case "waiting":
      return words("Nothing on air right now", "It starts here by itself as soon as it is.", true);
    case "reconnecting":
      return words(
        "The server does not answer",
        "Trying again every few seconds. Nothing to do on your side.",
        true,
        "Try now",
      );
    case "unknown":
      return words(
        "There is no such channel",
        "Check the address. If the channel is private, sign in or open its owner's link. If it opens, it starts here by itself.",
        true,
      );
    case "full":
      return words(
        "All places are taken",
        "This channel has as many viewers as it allows. You get the next free place.",
        true,
        "Try now",
      );
    case "refused":
      return words(
        "This channel is not for everybody",
        "Sign in, or open the link that its owner gave you. A link may have run out.",
        false,
      );
    case "kicked":
      return words("The operator ended this viewing", "", false, "Watch again");
    case "unfit":
      return words(
        "This channel cannot come this way here",
        "Its format does not fit, or the server or this browser lacks it. Choose Automatic in the menu of ways below.",
        false,
      );
    case "unsupported":
      return codec
        ? words(
            `This browser cannot decode ${codec}`,
            "Try another browser, or open the RTSP address in mpv or VLC.",
            false,
          )
        : words(
            "This browser is too old to play this",
            "It lacks what this way needs. Current Chrome, Edge, Firefox and Safari have it, and mpv and VLC play the RTSP address.",
            false,
          );
    case "insecure":
      return words(
        "The browser allows this way on secure pages only",
        "Choose Automatic in the menu of ways below, or open this page by HTTPS, or as localhost on the server itself. mpv and VLC play the RTSP address as it is.",
        false,
      );
  }
}
