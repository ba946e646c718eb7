/** One player over all ways: keeps the way's state and changes engines when it says so. */

import type { Engine, EngineEvents } from "./engine";
import { SocketPlayer } from "./socket-player";
import type { PlayerState, PlayerStats } from "./stats";
import { type Choice, firstWay, nextWay, type Way, type WayEvent, type WayState } from "./way";
import { WhepPlayer } from "./whep-player";

export interface PlayerEvents extends EngineEvents {
  /** Another way is used, or will be for another reason. */
  way(state: WayState): void;
}

const abilities = (): Record<Way, boolean> => ({
  webrtc: typeof RTCPeerConnection !== "undefined",
  websocket: typeof VideoDecoder !== "undefined",
});

export class Player {
  private wayState: WayState;
  private engine: Engine | null = null;
  /** Kept once made: the browser ties its permission to sound to them. */
  private readonly engines: Partial<Record<Way, Engine>> = {};
  private src = "";
  private volume = 1;
  private muted = false;
  private hidden = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly video: HTMLVideoElement,
    private readonly events: PlayerEvents,
    choice: Choice,
  ) {
    this.wayState = firstWay(choice, abilities(), performance.now());
  }

  get way(): WayState {
    return this.wayState;
  }

  get state(): PlayerState {
    return this.engine?.state ?? "idle";
  }

  get hasVideo(): boolean {
    return this.engine?.hasVideo ?? false;
  }

  get unsupportedCodec(): string {
    return this.engine?.unsupportedCodec ?? "";
  }

  get stats(): PlayerStats | null {
    return this.engine?.stats ?? null;
  }

  load(src: string): void {
    this.src = src;
    // Another channel may do what this one could not.
    this.wayState = firstWay(this.wayState.choice, this.wayState.can, performance.now());
    this.start();
  }

  choose(choice: Choice): void {
    const paused = this.state === "paused" || this.state === "idle";
    this.wayState = nextWay(this.wayState, { type: "choose", choice }, performance.now());
    this.events.way(this.wayState);
    if (!paused) this.start();
  }

  pause(): void {
    this.engine?.pause();
  }

  resume(): void {
    // Chosen anew while paused.
    if (this.engine !== this.engines[this.wayState.way]) this.start();
    else this.engine?.resume();
  }

  destroy(): void {
    for (const engine of Object.values(this.engines)) engine.destroy();
    this.engine = null;
  }

  setVolume(volume: number, muted: boolean): void {
    this.volume = volume;
    this.muted = muted;
    this.engine?.setVolume(volume, muted);
  }

  async allowSound(): Promise<void> {
    await this.engine?.allowSound();
  }

  setHidden(hidden: boolean): void {
    this.hidden = hidden;
    this.engine?.setHidden(hidden);
  }

  retryNow(): void {
    this.engine?.retryNow();
  }

  private start(): void {
    const { way } = this.wayState;
    const engine = this.engines[way] ?? this.make(way);
    this.engines[way] = engine;
    const old = this.engine;
    this.engine = engine;
    if (old !== engine) old?.stop();
    engine.setVolume(this.volume, this.muted);
    engine.setHidden(this.hidden);
    this.events.notice("");
    this.events.soundBlocked(false);
    this.events.way(this.wayState);
    engine.load(this.src);
  }

  private make(way: Way): Engine {
    // An engine that was left has nothing more to say.
    const mine = (): boolean => this.engine === this.engines[way];
    const events: EngineEvents = {
      state: (state) => mine() && this.events.state(state),
      notice: (text) => mine() && this.events.notice(text),
      soundBlocked: (blocked) => mine() && this.events.soundBlocked(blocked),
    };
    if (way === "websocket") return new SocketPlayer(this.canvas, events);
    return new WhepPlayer(this.video, events, (event) => {
      if (mine()) this.happened(event);
    });
  }

  private happened(event: WayEvent): void {
    const before = this.wayState;
    this.wayState = nextWay(before, event, performance.now());
    if (this.wayState.attempt !== before.attempt) this.start();
    else if (event.type === "refused") (this.engine as WhepPlayer).unfit();
  }
}
