/** What the page says of trouble: what happened, and what to do. Pure. */

export interface Trouble {
  readonly title: string;
  readonly text: string;
  /** What the person corrects here: the form shows it. */
  readonly at: "page" | "device" | "key" | "channel" | "start";
}

const trouble = (at: Trouble["at"], title: string, text: string): Trouble => ({ at, title, text });

/** No `mediaDevices`: the page is not secure, or the browser is old. */
export function noDevices(secure: boolean, host: string): Trouble {
  return secure
    ? trouble(
        "page",
        "This browser cannot use a camera",
        "Open the page in a current Chrome, Edge, Firefox or Safari.",
      )
    : trouble(
        "page",
        "The browser gives cameras to secure pages only",
        `Open this page by HTTPS, or as localhost on the server itself. ${host} by plain HTTP is not secure.`,
      );
}

/** A refused request for camera, microphone or screen, by the name of its exception. */
export function deviceTrouble(name: string, what: "camera" | "microphone" | "screen"): Trouble {
  switch (name) {
    case "NotAllowedError":
    case "PermissionDeniedError":
      return what === "screen"
        ? trouble(
            "device",
            "The screen is not shared",
            "You closed the choice, or the browser may not record the screen. Press Screen again and choose a window; on a Mac allow the browser under Privacy, Screen Recording.",
          )
        : trouble(
            "device",
            `The browser may not use the ${what}`,
            "Press the camera or lock sign beside the address, allow camera and microphone for this page, then try again. If there is no sign, the system's privacy settings forbid it to the browser.",
          );
    case "NotFoundError":
    case "DevicesNotFoundError":
      return trouble(
        "device",
        `No ${what} was found`,
        `Plug one in or switch it on, then try again. You can also go on air with ${
          what === "microphone" ? "the picture only" : "your screen or with sound only"
        }.`,
      );
    case "NotReadableError":
    case "TrackStartError":
    case "AbortError":
      return trouble(
        "device",
        `The ${what} is in use elsewhere`,
        "Another program or page holds it. Close that one, then try again.",
      );
    case "OverconstrainedError":
      return trouble(
        "device",
        `The chosen ${what} is not there any more`,
        "Choose another one from the list.",
      );
    case "SecurityError":
      return trouble(
        "device",
        `This page is not allowed to use the ${what}`,
        "The server, or a page around this one, forbids it. Tell whoever runs the server.",
      );
    default:
      return trouble(
        "device",
        `The ${what} does not start`,
        "Try again, or choose another one. Unplugging it and plugging it in often helps.",
      );
  }
}

/** A refused or lost session, by HTTP status; 0 without an answer. */
export function serverTrouble(status: number, channel: string, hadKey: boolean): Trouble {
  switch (status) {
    case 0:
      return trouble(
        "start",
        "The server does not answer",
        "Check your network, then press Start again.",
      );
    case 401:
      return hadKey
        ? trouble(
            "key",
            "This key is not right",
            `Look for the stream key of “${channel}” and type it again. Capital letters count.`,
          )
        : trouble(
            "key",
            "This channel wants its key",
            "Whoever runs the server can tell you; it is the stream key also used by other programs.",
          );
    case 403:
      return trouble(
        "start",
        "Not from this network",
        `“${channel}” takes broadcasts from certain addresses only, and yours is not one of them.`,
      );
    case 404:
    case 405:
      return trouble(
        "channel",
        `There is no channel “${channel}”`,
        "Check the name, or ask whoever runs the server to make it.",
      );
    case 406:
      return trouble(
        "start",
        "No format in common",
        "The server takes none of the codecs of this browser. Try Chrome, Edge, Firefox or Safari.",
      );
    case 409:
      return trouble(
        "start",
        "This channel is taken, or closed",
        `“${channel}” has a broadcast already, or is closed. Wait until that ends, or use another channel.`,
      );
    case 429:
      return trouble("start", "Too many attempts", "Wait a minute, then press Start again.");
    case 503:
      return trouble(
        "start",
        "The server is full",
        "It takes no more broadcasts at the moment, or none from browsers. Try again later.",
      );
    default:
      return trouble(
        "start",
        "The server made a mistake",
        `It answered with ${status}. Press Start again; if it stays, tell whoever runs the server.`,
      );
  }
}

/** Connected by HTTP, not by ICE. */
export const noPath = (): Trouble =>
  trouble(
    "start",
    "No way through to the server",
    "The server answers, but sound and picture do not reach it: a firewall probably blocks them. Try another network, or a phone's.",
  );

/** The server ended the session, and another one is on air. */
export const takenOver = (channel: string): Trouble =>
  trouble(
    "start",
    "Somebody else took over",
    `Another broadcast runs on “${channel}” now, and yours was ended for it.`,
  );
