/** WebRTC by WHEP, shown by a video element. */

import { take } from "../webrtc/early";
import { listed, type ReceivedFigures, ReceivedMeter } from "../webrtc/figures";
import { SignalError } from "../webrtc/signal";
import { WhepSession } from "../webrtc/whep";
import { ElementPlayer } from "./element-player";
import type { EngineEvents } from "./engine";
import { afterRefusal, ask, lifeOf } from "./life";
import { Standstill } from "./standstill";
import type { PlayerStats } from "./stats";
import { Vigil } from "./vigil";
import { LASTED_MS, type Life, type WayEvent } from "./way";

/** Silence is noticed so much late; a viewer counts the moments. */
const TICK_MS = 125;
/** Nothing received for so long: ask the server whether the channel is on air. */
const ASK_AFTER_MS = 1_000;
const ASK_EVERY_MS = 1_000;
/** Nothing received for so long: say that we wait. */
const STALL_MS = 1_500;
/** Sound of the next session waits so long for its picture before it is heard. */
const SOUND_FIRST_MS = 300;
/** A shared screen on which nothing moves sends a picture a second. */
const STILL_MS = 3_000;

export class WhepPlayer extends ElementPlayer {
  private session: WhepSession | null = null;
  /** The session before, whose last picture stays until this one has any. */
  private former: WhepSession | null = null;
  /** Who served it, where it was lost. */
  private origin = "";
  /** Told with the answer before; the next session looks for paths by them, too. */
  private servers: RTCIceServer[] = [];
  private vigil = new Vigil(Math.random());
  private meter = new ReceivedMeter();
  private figures: ReceivedFigures | null = null;
  private timer = 0;
  private mediaAt = 0;
  private openedAt = 0;
  private askedAt = 0;
  private life: Life = "unknown";
  private readonly standstill = new Standstill(STILL_MS);
  private wasBehind = false;
  override readonly unsupportedCodec = "";

  constructor(video: HTMLVideoElement, events: EngineEvents, report: (event: WayEvent) => void) {
    super(video, events, report);
    const { signal } = this.ears;
    video.addEventListener("loadeddata", () => this.moved(), { signal });
    window.addEventListener("pagehide", () => this.halt(), { signal });
    // A page taken from the browser's memory plays on.
    const back = ({ persisted }: PageTransitionEvent): void => {
      if (persisted && this.state !== "idle" && this.state !== "paused") this.resume();
    };
    window.addEventListener("pageshow", back, { signal });
  }

  override get stats(): PlayerStats {
    const f = this.figures;
    const buffer = f?.bufferMs ?? null;
    return {
      way: "WebRTC",
      state: this.state,
      width: this.video.videoWidth,
      height: this.video.videoHeight,
      fps: f?.fps ?? 0,
      framesDecoded: f?.decoded ?? 0,
      framesDropped: f?.dropped ?? 0,
      // Half the round trip, the jitter buffer and the decoder: the browser tells no more.
      delayMs:
        buffer === null || f === null ? null : buffer + f.decodeMs + (f.roundTripMs ?? 0) / 2,
      bufferMs: buffer ?? 0,
      targetMs: f?.targetMs ?? 0,
      avSkewMs: null,
      avSkewPeakMs: null,
      bitrate: f?.bitrate ?? 0,
      roundTripMs: f?.roundTripMs ?? null,
      codec: f?.codec ?? "",
      audioCodec: f?.audioCodec ?? "",
      behind: this.wasBehind,
      decoderErrors: 0,
      reconnects: Math.max(0, this.sessions - 1),
    };
  }

  override retryNow(): void {
    if (!this.address || this.session || this.state === "paused" || this.state === "idle") return;
    this.resume();
  }

  override unfit(): void {
    this.halt();
    this.become("unfit");
  }

  protected override begin(): void {
    if (typeof RTCPeerConnection === "undefined") this.become("unfit");
    else super.begin();
  }

  protected override async connect(): Promise<void> {
    const address = this.address;
    if (!address) return;
    const generation = ++this.generation;
    if (!this.former && this.state !== "reconnecting" && this.state !== "waiting") {
      this.become("connecting");
    }
    const url = after(address.whep, this.origin);
    const session = take(url) ?? new WhepSession(url, this.servers);
    this.session = session;
    try {
      await session.offered;
      if (generation !== this.generation) return;
      this.report({ type: "offered" });
      await session.answered;
      if (generation !== this.generation) return;
      this.servers = session.servers;
      this.origin = "";
      this.sessions++;
      this.mediaAt = this.openedAt = performance.now();
      this.follow(session, generation);
      this.timer = window.setInterval(() => void this.tick(generation), TICK_MS);
    } catch (error) {
      if (generation === this.generation) await this.refused(error, generation);
    }
  }

  /** The server ended the session: for good, or for a reason that another offer mends. */
  private async over(generation: number): Promise<void> {
    if (generation !== this.generation) return;
    const kicked = await this.session?.resource?.kicked();
    if (generation !== this.generation) return;
    if (kicked) {
      this.halt();
      this.become("kicked");
      return;
    }
    if (performance.now() - this.openedAt >= LASTED_MS) this.renew();
    else this.report({ type: "ended" });
  }

  /** Nothing comes any more: ask whether the session lives, and open another where it does not. */
  private async watchOver(generation: number): Promise<void> {
    const askedAt = performance.now();
    const look = (await this.session?.resource?.look()) ?? "unknown";
    if (generation !== this.generation) return;
    const lost = this.vigil.answered(look, askedAt, performance.now());
    if (look === "kicked") await this.over(generation);
    else if (lost) this.renew();
  }

  /** Open the next session; the last picture of this one stays until that has any. */
  private renew(): void {
    clearInterval(this.timer);
    this.closeFormer();
    this.origin = this.session?.resource?.unit ?? "";
    this.former = this.session;
    this.session = null;
    this.forget();
    void this.connect();
  }

  private closeFormer(): void {
    this.former?.end();
    this.former = null;
  }

  /** Show what comes by a session, and hear how it does; some of it may have happened already. */
  private follow({ peer, stream }: WhepSession, generation: number): void {
    for (const track of stream.getTracks()) {
      const show = (): void => {
        if (generation === this.generation) this.show(stream);
      };
      if (!this.former || !track.muted) show();
      else {
        // Media begin to come.
        const wait = (): void =>
          track.kind === "video" ? show() : void setTimeout(show, SOUND_FIRST_MS);
        track.addEventListener("unmute", wait, { once: true });
      }
    }
    const connection = (): void => {
      if (generation !== this.generation) return;
      if (peer.connectionState === "connected") {
        this.failures = 0;
        this.report({ type: "connected" });
        if (this.state === "connecting" || this.state === "reconnecting") {
          this.become("buffering");
        }
      } else if (peer.connectionState === "failed") this.report({ type: "failed" });
    };
    peer.onconnectionstatechange = connection;
    connection();
    // A server that ends a session says so by DTLS, long before ICE misses it.
    const transport = peer.getTransceivers()[0]?.receiver.transport;
    const ended = (): void => {
      if (transport?.state === "closed") void this.over(generation);
    };
    transport?.addEventListener("statechange", ended);
    ended();
  }

  private show(stream: MediaStream): void {
    if (this.video.srcObject === stream) return;
    this.closeFormer();
    this.video.srcObject = stream;
    void this.loudspeaker.play();
  }

  private async refused(error: unknown, generation: number): Promise<void> {
    const status = error instanceof SignalError ? error.status : 400;
    if (!(error instanceof SignalError)) console.warn("WHEP:", error);
    this.closeSession();
    this.report({ type: "closed" });
    const told = await ask(this.address);
    if (generation !== this.generation) return;
    const why = afterRefusal(status, told);
    if (why === "codec" || why === "off") {
      this.report({ type: "refused", reason: why });
      return;
    }
    const asked = error instanceof SignalError ? error.retryAfterMs : null;
    this.tryLater(why, ASK_EVERY_MS, asked ?? 0);
  }

  private async tick(generation: number): Promise<void> {
    const { session } = this;
    if (!session) return;
    const now = performance.now();
    const figures = this.meter.read(listed(await session.peer.getStats()), now);
    if (generation !== this.generation) return;
    if (figures.bytes !== this.figures?.bytes) {
      this.mediaAt = now;
      if (figures.bytes > 0) this.vigil.heard(now);
    }
    if (this.vigil.due(now)) void this.watchOver(generation);
    this.watchPicture(figures, now);
    this.figures = figures;
    if (figures.bufferMs !== null && (figures.decoded > 0 || !figures.codec)) this.moved();
    this.settle(now);
    const { bytes, packets, lost } = figures;
    if (now - this.mediaAt > ASK_AFTER_MS && now - this.askedAt > ASK_EVERY_MS) {
      void this.askLife(generation);
    }
    this.report({ type: "tick", bytes, packets, lost });
  }

  /** The server leaves out pictures for a viewer whose way is too slow for them. */
  private watchPicture(figures: ReceivedFigures, now: number): void {
    if (figures.decoded !== this.figures?.decoded) this.standstill.picture(now);
    if (figures.bytes !== this.figures?.bytes) this.standstill.sound(now, null);
    this.setBehind(figures.decoded > 0 && this.standstill.behind(now));
  }

  private setBehind(behind: boolean): void {
    if (behind === this.wasBehind) return;
    this.wasBehind = behind;
    this.events.behind(behind);
  }

  /** Say what silence means. */
  private settle(now: number): void {
    if (now - this.mediaAt < STALL_MS) return;
    if (this.life === "waiting") this.become("waiting");
    else if (this.life === "gone") this.become("reconnecting");
    else if (this.state === "playing") this.become("buffering");
  }

  private moved(): void {
    const silent = performance.now() - this.mediaAt > STALL_MS;
    if (this.session?.resource && !silent) this.become("playing");
  }

  private async askLife(generation: number): Promise<void> {
    this.askedAt = performance.now();
    const life = lifeOf(await ask(this.address));
    if (generation !== this.generation) return;
    this.life = life;
    this.report({ type: "life", life });
  }

  protected override rest(state: "paused" | "idle"): void {
    // Not with every halt: while it connects anew the element plays on.
    this.video.pause();
    super.rest(state);
  }

  protected override halt(): void {
    super.halt();
    this.closeSession();
    this.report({ type: "closed" });
  }

  protected override release(): void {
    this.video.srcObject = null;
  }

  private closeSession(): void {
    clearInterval(this.timer);
    this.closeFormer();
    this.session?.end();
    this.session = null;
    this.forget();
  }

  /** What was measured of a session says nothing of the next. */
  private forget(): void {
    this.meter = new ReceivedMeter();
    this.figures = null;
    this.vigil = new Vigil(Math.random());
    this.standstill.reset();
    this.setBehind(false);
  }
}

/** Where to offer, naming the unit by which the session before was served. */
function after(url: string, unit: string): string {
  if (!unit) return url;
  const next = new URL(url);
  next.searchParams.set("from", unit);
  return next.href;
}
