/** One player over all ways: keeps the way's state and changes engines when it says so. */

import { type Address, resolve } from "./address";
import type { Engine, EngineEvents } from "./engine";
import { canHls, HlsPlayer } from "./hls-player";
import { SocketPlayer } from "./socket-player";
import type { PlayerState, PlayerStats } from "./stats";
import { type Choice, firstWay, nextWay, type Way, type WayEvent, type WayState } from "./way";
import { WhepPlayer } from "./whep-player";

export interface PlayerEvents extends EngineEvents {
  /** Another way is used, or will be for another reason. */
  way(state: WayState): void;
}

/** What each way is shown by. */
export interface Screens {
  readonly webrtc: HTMLVideoElement;
  readonly websocket: HTMLCanvasElement;
  /** Shows what the canvas shows, outside of the page. */
  readonly copy: HTMLVideoElement;
  readonly hls: HTMLVideoElement;
}

const abilities = ({ hls }: Screens): Record<Way, boolean> => ({
  webrtc: typeof RTCPeerConnection !== "undefined",
  websocket: typeof VideoDecoder !== "undefined",
  hls: canHls(hls),
});

export class Player {
  private wayState: WayState;
  private engine: Engine | null = null;
  /** Kept once made: the browser ties its permission to sound to them. */
  private readonly engines: Partial<Record<Way, Engine>> = {};
  private address: Address | null = null;
  /** What the person wants, also where it does not go. */
  private choice: Choice;
  private volume = 1;
  private muted = false;
  private hidden = false;

  constructor(
    private readonly screens: Screens,
    private readonly events: PlayerEvents,
    choice: Choice,
  ) {
    this.choice = choice;
    this.wayState = firstWay(choice, abilities(screens), performance.now());
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

  /** @param home address of the server whose channels have bare names */
  load(src: string, home: string): void {
    this.address = resolve(src, home, location.href);
    const can = abilities(this.screens);
    // A server lets only its own pages have its WebSockets.
    if (this.address?.foreign) can.websocket = false;
    // Another channel may do what this one could not.
    this.wayState = firstWay(this.choice, can, performance.now());
    this.start();
  }

  choose(choice: Choice): void {
    this.choice = choice;
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

  /** Show the canvas's pictures in the video that copies it, too, or no more. */
  async copy(on: boolean): Promise<void> {
    if (this.engine instanceof SocketPlayer) await this.engine.copy(on);
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
    this.events.behind(false);
    this.events.soundBlocked(false);
    this.events.way(this.wayState);
    engine.load(this.address);
  }

  private make(way: Way): Engine {
    // An engine that was left has nothing more to say.
    const mine = (): boolean => this.engine === this.engines[way];
    const events: EngineEvents = {
      state: (state) => mine() && this.events.state(state),
      notice: (text) => mine() && this.events.notice(text),
      behind: (behind) => mine() && this.events.behind(behind),
      soundBlocked: (blocked) => mine() && this.events.soundBlocked(blocked),
    };
    const report = (event: WayEvent): void => {
      if (mine()) this.happened(event);
    };
    const { webrtc, websocket, copy, hls } = this.screens;
    switch (way) {
      case "webrtc":
        return new WhepPlayer(webrtc, events, report);
      case "websocket":
        return new SocketPlayer(websocket, copy, events, report);
      case "hls":
        return new HlsPlayer(hls, events, report);
    }
  }

  private happened(event: WayEvent): void {
    const before = this.wayState;
    this.wayState = nextWay(before, event, performance.now());
    if (this.wayState.attempt !== before.attempt) this.start();
    else if (event.type === "refused") this.engine?.unfit(before.choice !== "auto");
  }
}
