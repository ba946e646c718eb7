/** A viewer's session by WHEP, from its offer on. */

import { useServers } from "./ice";
import { withStereo } from "./sdp";
import { open, type Resource } from "./signal";

export class WhepSession {
  readonly peer: RTCPeerConnection;
  /** What comes by it; all its tracks are in it once the answer is. */
  readonly stream = new MediaStream();
  /** Resolves when the offer goes out. */
  readonly offered: Promise<void>;
  /** Resolves when the answer is taken. */
  readonly answered: Promise<void>;
  /** The session at the server; null before the answer. */
  resource: Resource | null = null;
  /** STUN and TURN servers, with the answer those told by it. */
  servers: RTCIceServer[];
  private ended = false;

  constructor(
    /** Where it was offered. */
    readonly url: string,
    servers: RTCIceServer[],
  ) {
    this.servers = servers;
    this.peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers: servers });
    this.peer.addTransceiver("video", { direction: "recvonly" });
    this.peer.addTransceiver("audio", { direction: "recvonly" });
    this.peer.ontrack = ({ track }) => this.stream.addTrack(track);
    const made = this.peer.createOffer().then(({ sdp = "" }) => withStereo(sdp));
    this.offered = made.then(() => undefined);
    this.answered = made.then((offer) => this.open(offer));
    // Who waits for them hears of failures, if anybody does.
    this.offered.catch(() => undefined);
    this.answered.catch(() => undefined);
  }

  /** Whether nothing can come by it any more. */
  get over(): boolean {
    const { connectionState } = this.peer;
    return this.ended || connectionState === "failed" || connectionState === "closed";
  }

  /** End it, also at the server, which may be about to open it. */
  end(): void {
    this.ended = true;
    this.peer.close();
    void this.resource?.end();
  }

  private async open(offer: string): Promise<void> {
    // The way to the server and back takes longer than the browser with its own offer.
    const [opened] = await Promise.all([
      open(this.url, offer, ""),
      this.peer.setLocalDescription({ type: "offer", sdp: offer }),
    ]);
    this.resource = opened.resource;
    if (this.ended) {
      // The place is free for somebody else.
      void opened.resource.end();
      return;
    }
    this.servers = opened.servers;
    useServers(this.peer, opened.servers);
    await this.peer.setRemoteDescription({ type: "answer", sdp: opened.sdp });
  }
}
