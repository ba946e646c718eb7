/**
 * What the page `/watch/NAME` does first: it asks for the channel by WebRTC. The page itself is made
 * after that: making it keeps the browser from hearing the answer.
 */

import { permitOf, resolve } from "../player/address";
import { firstWay, remembered } from "../player/way";
import { storage } from "../ui/storage";
import { begin } from "../webrtc/early";

/** An answer from near by is there by then, after the offer went out; others come while the page is made. */
const NEAR_MS = 50;

function early(): Promise<unknown> {
  const permit = permitOf(location.search);
  const address = resolve(location.pathname + permit, location.href);
  const choice = remembered(new URLSearchParams(location.search).get("way") || null, storage());
  const webrtc = typeof RTCPeerConnection !== "undefined";
  const { way } = firstWay(choice, { webrtc, websocket: true, hls: true });
  // A link for one use opens the page by the first answer, and only then what plays on it.
  if (!address || !webrtc || way !== "webrtc" || permit.includes("token="))
    return Promise.resolve();
  const { offered, answered } = begin(address.whep);
  const far = offered.then(() => new Promise((resolve) => setTimeout(resolve, NEAR_MS)));
  return Promise.race([answered, far]).catch(() => undefined);
}

void early().then(() => import("./watch"));
