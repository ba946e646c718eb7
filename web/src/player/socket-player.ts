/** Ties connection, clocks, picture and sound of one way together, and says in one word how it goes. */

import type { Address } from "./address";
import { Apart } from "./apart";
import { AudioOutput, AudioPipe } from "./audio";
import { ServerClock } from "./clock";
import { codecName } from "./codecs";
import { Connection } from "./connection";
import type { Engine, EngineEvents } from "./engine";
import { ask, refusal } from "./life";
import { Standstill } from "./standstill";
import { type PlayerState, type PlayerStats, Rate, Recent } from "./stats";
import { PlayoutClock } from "./sync";
import { VideoPipe } from "./video";
import type { WayEvent } from "./way";
import type { MediaFrame, ServerMessage, Track } from "./wire";

/** Nothing received for so long while on air: say that we wait. */
const STALL_US = 1_500_000;
/** A new audio context is suspended for a moment also where sound is allowed. */
const SOUND_GRACE_US = 600_000;
/** Timer that works on where screen refreshes stop (hidden tabs). */
const HEARTBEAT_MS = 250;

/** So many upgrades in a row fail by chance no more, while HTTP says that the channel is there. */
const BLOCKED_AFTER = 2;

const nowUs = (): number => performance.now() * 1000;

/** Frames over WebSocket, decoded here and drawn into a canvas. */
export class SocketPlayer implements Engine {
  private address: Address | null = null;
  private connection: Connection | null = null;
  private readonly clock = new ServerClock();
  private readonly playout = new PlayoutClock();
  private video: VideoPipe | null = null;
  private audio: AudioPipe | null = null;
  private output: AudioOutput | null = null;
  private tracks: readonly Track[] = [];
  private current: PlayerState = "idle";
  private onAir = false;
  private lastFrameAt = 0;
  private refresh = 0;
  private heartbeat = 0;
  private volume = 1;
  private muted = false;
  private blocked = false;
  private soundAskedAt = 0;
  private hidden = false;
  private generation = 0;

  private readonly bitrate = new Rate();
  private readonly shown = new Rate(2_000_000);
  private readonly skews = new Recent(60);
  private delayUs: number | null = null;
  private width = 0;
  private height = 0;
  private reconnects = 0;
  /** Counts of pipes that are gone. */
  private decodedBefore = 0;
  private droppedBefore = 0;
  private errorsBefore = 0;
  private readonly standstill = new Standstill();
  private wasBehind = false;
  private readonly apart: Apart;
  /** Upgrades in a row that failed without a reason that HTTP knows. */
  private unclear = 0;
  /** Codec string of what cannot be decoded. */
  unsupportedCodec = "";

  constructor(
    private readonly canvas: HTMLCanvasElement,
    copy: HTMLVideoElement,
    private readonly events: EngineEvents,
    private readonly report: (event: WayEvent) => void,
  ) {
    this.apart = new Apart(copy, () => this.hide());
  }

  get state(): PlayerState {
    return this.current;
  }

  get hasVideo(): boolean {
    return this.tracks.some((t) => t.kind === "video");
  }

  /** Start playing; a player already playing changes over. */
  load(address: Address | null): void {
    this.stop();
    this.blocked = false;
    this.unclear = 0;
    this.unsupportedCodec = "";
    this.address = address;
    if (!address) {
      this.become("unknown");
      return;
    }
    if (typeof VideoDecoder === "undefined") {
      this.report({ type: "refused", reason: "decoder" });
      return;
    }
    void this.prepareSound();
    this.connect();
  }

  /** Picture stands still; the connection is given back. */
  pause(): void {
    if (this.current === "idle" || this.current === "paused") return;
    this.halt();
    this.become("paused");
  }

  /** Continue at the live edge. */
  resume(): void {
    if (!this.address) return;
    void this.output?.context.resume();
    this.halt();
    this.connect();
  }

  stop(): void {
    this.halt();
    this.become("idle");
  }

  destroy(): void {
    this.halt();
    this.apart.end();
    this.output?.close();
    this.output = null;
  }

  setVolume(volume: number, muted: boolean): void {
    this.volume = volume;
    this.muted = muted;
    this.output?.setVolume(muted ? 0 : volume);
  }

  /** To be called from a gesture. */
  async allowSound(): Promise<void> {
    await this.output?.context.resume();
  }

  setHidden(hidden: boolean): void {
    this.hidden = hidden;
    this.hide();
  }

  /** Show the pictures in the other video as well; it ends by itself when that is back in the page. */
  async copy(on: boolean): Promise<void> {
    if (on) await this.apart.begin(this.canvas);
    else this.apart.end();
    this.hide();
  }

  /** The network came back or the person asked: do not wait for the next attempt. */
  retryNow(): void {
    if (this.current === "kicked") this.resume();
    else this.connection?.retryNow();
  }

  /** A connection that is open stays: the channel's format may change to one that fits. */
  unfit(): void {
    const insecure = typeof VideoDecoder === "undefined" && !window.isSecureContext;
    this.become(insecure ? "insecure" : "unsupported");
  }

  get stats(): PlayerStats {
    const now = nowUs();
    const media = this.playout.mediaTime(now);
    const ms = (us: number | null): number | null => (us === null ? null : us / 1000);
    const track = (kind: string): string => this.tracks.find((t) => t.kind === kind)?.codec ?? "";
    return {
      way: "WebSocket",
      state: this.current,
      width: this.width,
      height: this.height,
      fps: this.shown.perSecond(now),
      framesDecoded: this.decodedBefore + (this.video?.decoded ?? 0),
      framesDropped: this.droppedBefore + (this.video?.dropped ?? 0),
      delayMs: ms(this.delayUs),
      bufferMs: media === null ? 0 : (this.video?.heldUs(media) ?? this.output?.heldUs ?? 0) / 1000,
      targetMs: this.playout.bufferUs / 1000,
      avSkewMs: ms(this.skews.mean),
      avSkewPeakMs: ms(this.skews.peak),
      bitrate: this.bitrate.perSecond(now) * 8,
      roundTripMs: ms(this.clock.roundTripUs),
      codec: this.video?.codecString || track("video"),
      audioCodec: track("audio"),
      behind: this.wasBehind,
      decoderErrors: this.errorsBefore + (this.video?.errors ?? 0),
      reconnects: this.reconnects,
    };
  }

  /** Pictures that are seen apart are decoded while the page is hidden, too. */
  private hide(): void {
    this.video?.setHidden(this.hidden && !this.apart.on);
  }

  private connect(): void {
    const address = this.address;
    if (!address) return;
    const generation = ++this.generation;
    const connection = new Connection(address.websocket, {
      message: (message, now) => this.received(message, now),
      frame: (frame, now) => this.frame(frame, now),
      pong: (server, sent, received) => this.clock.add(server, sent, received),
      down: (started) => void this.down(started, generation),
    });
    this.connection = connection;
    this.become("connecting");
    connection.open();
    const tick = (): void => {
      this.refresh = requestAnimationFrame(tick);
      this.tick();
    };
    this.refresh = requestAnimationFrame(tick);
    this.heartbeat = window.setInterval(() => this.beat(), HEARTBEAT_MS);
  }

  private halt(): void {
    this.generation++;
    cancelAnimationFrame(this.refresh);
    clearInterval(this.heartbeat);
    this.connection?.close();
    this.connection = null;
    this.closePipes();
  }

  private async down(started: boolean, generation: number): Promise<void> {
    this.closePipes();
    this.reconnects++;
    if (this.current === "kicked") return;
    if (started || this.current === "playing") this.become("reconnecting");
    const address = this.address;
    if (!address || started) return;
    const why = refusal(await ask(address));
    // Meanwhile it may have come back, or been stopped.
    if (generation !== this.generation || this.video || this.audio || this.onAir) return;
    this.unclear = why === "unclear" ? this.unclear + 1 : 0;
    if (this.unclear >= BLOCKED_AFTER) this.report({ type: "blocked" });
    if (generation !== this.generation) return;
    if (this.current === "waiting" && why === "unclear") return;
    this.become(why === "gone" || why === "unclear" ? "reconnecting" : why);
  }

  private received(message: ServerMessage, now: number): void {
    switch (message.type) {
      case "start":
        this.unclear = 0;
        this.clock.hint(message.serverTimeUs, now);
        this.startTracks(message.tracks);
        this.setOnAir(message.state === "on_air");
        break;
      case "tracks":
        this.startTracks(message.tracks);
        this.setOnAir(this.onAir);
        break;
      case "state":
        this.setOnAir(message.state === "on_air");
        break;
      case "end":
        if (message.reason === "kicked") {
          this.halt();
          this.become("kicked");
        }
        break;
      default:
    }
  }

  private setOnAir(onAir: boolean): void {
    this.onAir = onAir;
    if (this.current === "unsupported") return;
    this.lastFrameAt = nowUs();
    this.become(onAir ? "buffering" : "waiting");
  }

  private startTracks(tracks: readonly Track[]): void {
    this.closePipes();
    this.tracks = tracks;
    if (!this.hasVideo) this.width = this.height = 0;
    this.unsupportedCodec = "";
    this.events.notice("");
    this.current = this.current === "unsupported" ? "buffering" : this.current;
    const video = tracks.find((t) => t.kind === "video");
    const audio = tracks.find((t) => t.kind === "audio");
    if (video) {
      this.video = new VideoPipe(this.canvas, video, {
        unsupported: (codec) => {
          this.unsupportedCodec = `${codecName(video.codec)} (${codec})`;
          this.report({ type: "refused", reason: "decoder" });
        },
        picture: (picture) => {
          if (this.apart.on) this.apart.show(picture.clone());
        },
        drawn: (pts, arrival, at) => this.drawn(pts, arrival, at),
      });
      this.hide();
    }
    if (audio && this.output) {
      this.audio = new AudioPipe(this.output, audio, () => {
        this.events.notice(`No sound: this browser cannot decode ${codecName(audio.codec)}.`);
        this.audio?.close();
        this.audio = null;
      });
    }
    this.checkSound();
  }

  private closePipes(): void {
    this.decodedBefore += this.video?.decoded ?? 0;
    this.droppedBefore += this.video?.dropped ?? 0;
    this.errorsBefore += this.video?.errors ?? 0;
    this.video?.close();
    this.audio?.close();
    this.video = null;
    this.audio = null;
    this.onAir = false;
    this.playout.reset();
    this.skews.clear();
    this.delayUs = null;
    this.standstill.reset();
    this.setBehind(false);
  }

  private frame(frame: MediaFrame, now: number): void {
    this.bitrate.add(frame.data.byteLength, now);
    this.lastFrameAt = now;
    const track = this.tracks.find((t) => t.id === frame.track);
    if (!track || track.kind === "data") return;
    this.playout.observe(frame.track, frame.ptsUs, now);
    if (track.kind === "video") {
      this.standstill.picture(now / 1000);
      this.video?.push(frame, now);
    } else {
      const server = this.clock.serverTime(now);
      this.standstill.sound(now / 1000, server === null ? null : (server - frame.arrivalUs) / 1000);
      this.playout.update(now);
      this.audio?.push(frame, this.playout.mediaTime(now));
      if (!this.video && this.current === "buffering") this.become("playing");
    }
    // No refreshes of the screen come while the page is hidden.
    if (this.hidden && this.apart.on) this.tick();
  }

  private tick(): void {
    const now = nowUs();
    this.playout.update(now);
    const due = this.playout.mediaTime(now);
    this.audio?.tick(due, now);
    if (due === null || !this.video) return;
    // Sound is the master: the picture follows what is heard, not what should be.
    const error = this.audio?.errorUs ?? 0;
    this.video.tick(due + error, now);
  }

  /** Slow work, also in hidden tabs. */
  private beat(): void {
    const now = nowUs();
    this.playout.outputLatencyUs = this.audio && this.output?.running ? this.output.latencyUs : 0;
    if (this.hidden) this.tick();
    const silent = now - this.lastFrameAt > STALL_US;
    if (this.current === "playing" && silent) this.become("buffering");
    if (this.current === "buffering" && !silent && this.hidden) this.become("playing");
    if (!this.video && this.audio) this.measureSound(now);
    this.setBehind(this.video !== null && this.standstill.behind(now / 1000));
    this.checkSound();
  }

  private setBehind(behind: boolean): void {
    if (behind === this.wasBehind) return;
    this.wasBehind = behind;
    // Who begins with sound alone hears it already.
    if (behind && this.current === "buffering") this.become("playing");
    this.events.behind(behind);
  }

  private drawn(ptsUs: number, arrivalUs: number, now: number): void {
    this.shown.add(1, now);
    this.width = this.canvas.width;
    this.height = this.canvas.height;
    const server = this.clock.serverTime(now);
    this.delayUs = server === null ? null : server - arrivalUs;
    const heard = this.audio ? this.output?.heard(now) : null;
    if (heard !== null && heard !== undefined) this.skews.add(ptsUs - heard);
    else this.skews.clear();
    if (this.current === "buffering") this.become("playing");
  }

  /** Without pictures the delay is that of the sound, whose stamps are close to arrival. */
  private measureSound(now: number): void {
    const heard = this.output?.heard(now);
    const server = this.clock.serverTime(now);
    if (typeof heard === "number" && server !== null) this.delayUs = server - heard;
  }

  private async prepareSound(): Promise<void> {
    if (this.output) return;
    const output = new AudioOutput();
    this.output = output;
    this.soundAskedAt = nowUs();
    output.setVolume(this.muted ? 0 : this.volume);
    output.context.onstatechange = () => this.checkSound();
    try {
      await output.start();
    } catch (error) {
      console.warn("no sound output:", error);
      return;
    }
    this.checkSound();
  }

  private checkSound(): void {
    const wanted = this.tracks.some((t) => t.kind === "audio") && !this.muted;
    const settled = nowUs() - this.soundAskedAt > SOUND_GRACE_US;
    const blocked = wanted && settled && (this.output?.blocked ?? false);
    if (blocked === this.blocked) return;
    this.blocked = blocked;
    this.events.soundBlocked(blocked);
  }

  private become(state: PlayerState): void {
    if (state === this.current) return;
    this.current = state;
    this.events.state(state);
  }
}
