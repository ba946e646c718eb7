/** Sends tracks to a channel by WHIP, and sends on over lost connections. */

import { backoff } from "../player/backoff";
import { type After, browserAfter, Timers } from "../player/timers";
import { listed, type SentFigures, SentMeter } from "../webrtc/figures";
import { useServers } from "../webrtc/ice";
import { iceNames, renamed, restartFragment } from "../webrtc/sdp";
import { type Fetch, open, type Resource, SignalError } from "../webrtc/signal";
import { type AirEvent, type AirState, CONNECT_MS, nextAir, QUIET_MS, worthRetry } from "./air";
import { byPreference, degradation, dividable, encodings, type Size, type Source } from "./quality";
import { noPath, serverTrouble, type Trouble, takenOver } from "./words";

const FIGURES_MS = 1_000;
/** A restart that has not brought the path back by then will not. */
const RESTART_MS = 5_000;
const ASK_TIMEOUT_MS = 3_000;

export interface Sent {
  readonly video: MediaStreamTrack | null;
  readonly audio: MediaStreamTrack | null;
  readonly source: Source;
  readonly size: Size;
  /** Half the size as well where there is room for it, for viewers on narrow paths. */
  readonly smaller: boolean;
}

export interface PublisherEvents {
  state(state: AirState): void;
  /** It ended against the person's will. */
  trouble(trouble: Trouble): void;
  figures(figures: SentFigures): void;
}

/** What a publisher uses of the browser, so that tests bring their own. */
export interface Surroundings {
  peer(iceServers: RTCIceServer[]): RTCPeerConnection;
  fetch: Fetch;
  now(): number;
  random(): number;
  readonly after: After;
}

const browser: Surroundings = {
  peer: (iceServers) => new RTCPeerConnection({ bundlePolicy: "max-bundle", iceServers }),
  fetch: (url, init) => fetch(url, init),
  now: () => performance.now(),
  random: () => Math.random(),
  after: browserAfter,
};

export class Publisher {
  private current: AirState = "off";
  private peer: RTCPeerConnection | null = null;
  private resource: Resource | null = null;
  private answer = "";
  /** Told with the last answer. */
  private servers: RTCIceServer[] = [];
  /** Whether they are news to the session that runs: it has not looked for paths by them. */
  private untried = false;
  private sent: Sent | null = null;
  private key = "";
  private generation = 0;
  private failures = 0;
  /** When the connection was lost; null while there was none, or it is back. */
  private lostAt: number | null = null;
  private meter = new SentMeter();
  private readonly timers: Timers;
  /** When it was first live, for the clock; null while off. */
  liveSince: number | null = null;
  reconnects = 0;

  constructor(
    private readonly channel: string,
    private readonly events: PublisherEvents,
    private readonly around: Surroundings = browser,
  ) {
    this.timers = new Timers(around.after);
  }

  get state(): AirState {
    return this.current;
  }

  async start(sent: Sent, key: string): Promise<void> {
    if (this.current !== "off") return;
    this.sent = sent;
    this.key = key;
    this.failures = 0;
    this.lostAt = null;
    this.reconnects = 0;
    this.happened("start");
    await this.connect();
  }

  stop(): void {
    this.closeSession();
    this.liveSince = null;
    this.happened("stop");
  }

  /** Other tracks, without leaving the air where the session has room for them. */
  async change(sent: Sent): Promise<void> {
    const before = this.sent;
    this.sent = sent;
    if (!this.peer || this.current === "off") return;
    const kinds = this.senders().map((sender) => sender.kind);
    const fits =
      (!sent.video || kinds.includes("video")) && (!sent.audio || kinds.includes("audio"));
    if (!fits || sent.smaller !== before?.smaller) {
      // Another kind of track, or another number of pictures, needs another session; viewers wait a moment.
      this.lose();
      return;
    }
    for (const sender of this.senders()) {
      await sender.sender.replaceTrack(sender.kind === "video" ? sent.video : sent.audio);
    }
    await this.tune();
  }

  /** The network came back or the person asked. */
  retryNow(): void {
    if (this.current === "reconnecting" && !this.peer) {
      this.timers.clear();
      void this.connect();
    } else if (this.current === "shaky") void this.restart(this.generation);
  }

  private senders(): { kind: string; sender: RTCRtpSender }[] {
    return (this.peer?.getTransceivers() ?? []).map((transceiver) => ({
      kind: transceiver.receiver.track.kind,
      sender: transceiver.sender,
    }));
  }

  private async connect(): Promise<void> {
    const sent = this.sent;
    if (!sent) return;
    const generation = ++this.generation;
    const current = (): boolean => generation === this.generation;
    const peer = this.makePeer(sent, current);
    this.peer = peer;
    try {
      await peer.setLocalDescription(await peer.createOffer());
      if (!current()) return;
      const offer = peer.localDescription?.sdp ?? "";
      const url = `/whip/${encodeURIComponent(this.channel)}`;
      const opened = await open(url, offer, this.key, this.around.fetch);
      if (!current()) {
        void opened.resource.end();
        return;
      }
      this.resource = opened.resource;
      this.answer = opened.sdp;
      this.untried = useServers(peer, opened.servers) && this.servers.length === 0;
      this.servers = opened.servers;
      await peer.setRemoteDescription({ type: "answer", sdp: opened.sdp });
      await this.tune();
      if (!current()) return;
      // A server that ends a session says so by DTLS, long before ICE misses it.
      const transport = this.senders()[0]?.sender.transport;
      transport?.addEventListener("statechange", () => {
        if (transport.state === "closed" && current()) void this.ended(generation);
      });
      this.timers.after(CONNECT_MS, () => {
        if (peer.connectionState !== "connected") this.failed(generation);
      });
    } catch (error) {
      if (current()) this.refused(error);
    }
  }

  private makePeer(sent: Sent, current: () => boolean): RTCPeerConnection {
    const peer = this.around.peer(this.servers);
    for (const track of [sent.video, sent.audio]) {
      if (!track) continue;
      const smaller = sent.smaller && dividable(sent.size, sent.source);
      const transceiver = peer.addTransceiver(track, {
        direction: "sendonly",
        ...(track.kind === "video" ? { sendEncodings: encodings(sent.size, smaller) } : {}),
      });
      if (track.kind === "video") prefer(transceiver);
    }
    peer.onconnectionstatechange = () => {
      if (current()) this.moved(peer.connectionState);
    };
    return peer;
  }

  private moved(state: RTCPeerConnectionState): void {
    const generation = this.generation;
    if (state === "connected") {
      this.timers.clear();
      this.failures = 0;
      if (this.current === "reconnecting") this.reconnects++;
      this.lostAt = null;
      this.liveSince ??= this.around.now();
      this.happened("connected");
      this.measure(generation);
    } else if (state === "disconnected") {
      this.happened("quiet");
      this.timers.after(QUIET_MS, () => void this.restart(generation));
    } else if (state === "connecting") return;
    // Without a pause before it was no lost path: the server ended the session.
    else if (this.current === "live") void this.ended(generation);
    else if (state === "failed") this.failed(generation);
  }

  /** Ended by the server: give way to whoever is on air now, else come back. */
  private async ended(generation: number): Promise<void> {
    const taken = await this.somebodyElse();
    if (generation !== this.generation) return;
    if (taken) this.end(takenOver(this.channel));
    else this.lose();
  }

  private async somebodyElse(): Promise<boolean> {
    try {
      const url = `/api/v1/channels/${encodeURIComponent(this.channel)}`;
      const init = { signal: AbortSignal.timeout(ASK_TIMEOUT_MS) };
      const answer = (await (await this.around.fetch(url, init)).json()) as { state?: unknown };
      return answer.state === "on_air";
    } catch {
      return false;
    }
  }

  /** The path is gone: first another one for the same session, so that viewers notice least. */
  private async restart(generation: number): Promise<void> {
    const { peer, resource } = this;
    if (!peer || !resource || generation !== this.generation || this.current !== "shaky") return;
    try {
      this.timers.after(RESTART_MS, () => this.failed(generation));
      await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
      const fragment = await resource.restart(restartFragment(peer.localDescription?.sdp ?? ""));
      const names = iceNames(fragment);
      if (generation !== this.generation) return;
      if (!names) throw new SignalError(200, "a restart without ICE names");
      this.answer = renamed(this.answer, names);
      await peer.setRemoteDescription({ type: "answer", sdp: this.answer });
    } catch {
      this.failed(generation);
    }
  }

  /** No path, but perhaps one by the servers we were told of. Once on air it is looked for again; else the person hears of it. */
  private failed(generation: number): void {
    if (generation !== this.generation) return;
    if (this.current === "starting" && this.untried) {
      this.closeSession();
      void this.connect();
    } else if (this.current === "starting") this.end(noPath());
    else this.lose();
  }

  private lose(): void {
    this.closeSession();
    this.lostAt ??= this.around.now();
    this.happened("lost");
    this.later(0);
  }

  private refused(error: unknown): void {
    const status = error instanceof SignalError ? error.status : 500;
    if (!(error instanceof SignalError)) console.warn("WHIP:", error);
    const lostMs = this.lostAt === null ? null : this.around.now() - this.lostAt;
    this.closeSession();
    if (!worthRetry(status, lostMs)) {
      this.end(serverTrouble(status, this.channel, this.key !== ""));
      return;
    }
    this.later(error instanceof SignalError ? (error.retryAfterMs ?? 0) : 0);
  }

  private later(atLeastMs: number): void {
    const wait = Math.max(atLeastMs, backoff(this.failures++, this.around.random()));
    this.timers.after(wait, () => void this.connect());
  }

  private end(trouble: Trouble): void {
    this.closeSession();
    this.liveSince = null;
    this.happened("refused");
    this.events.trouble(trouble);
  }

  private async tune(): Promise<void> {
    const sent = this.sent;
    const video = this.senders().find((s) => s.kind === "video")?.sender;
    if (!sent || !video) return;
    const parameters = video.getParameters();
    parameters.degradationPreference = degradation(sent.source);
    // A server that takes one picture only leaves one encoding.
    const wanted = encodings(sent.size, parameters.encodings.length > 1);
    parameters.encodings.forEach((encoding, at) => {
      Object.assign(encoding, wanted[at]);
    });
    // A browser that does not know a parameter sends all the same.
    await video.setParameters(parameters).catch((error: unknown) => console.warn(error));
  }

  private measure(generation: number): void {
    this.timers.after(FIGURES_MS, () => {
      const { peer } = this;
      if (!peer || generation !== this.generation) return;
      void peer.getStats().then((report) => {
        if (generation !== this.generation) return;
        this.events.figures(this.meter.read(listed(report), this.around.now()));
        if (this.current === "live") this.measure(generation);
      });
    });
  }

  private closeSession(): void {
    this.generation++;
    this.timers.clear();
    this.peer?.close();
    this.peer = null;
    void this.resource?.end();
    this.resource = null;
    this.untried = false;
    this.meter = new SentMeter();
  }

  private happened(event: AirEvent): void {
    const next = nextAir(this.current, event);
    if (next === this.current) return;
    this.current = next;
    this.events.state(next);
  }
}

function prefer(transceiver: RTCRtpTransceiver): void {
  const codecs = globalThis.RTCRtpSender?.getCapabilities?.("video")?.codecs;
  // Browsers without the function choose themselves.
  if (codecs?.length) transceiver.setCodecPreferences?.(byPreference(codecs));
}
