/** What the ways have in common that are shown by a video element. */

import type { Address } from "./address";
import { backoff } from "./backoff";
import type { Engine, EngineEvents } from "./engine";
import { type AfterRefusal, ask, lifeOf } from "./life";
import { Loudspeaker } from "./loudspeaker";
import type { PlayerState, PlayerStats } from "./stats";
import type { WayEvent } from "./way";

/** Seldom enough for a channel that does not exist. */
const UNKNOWN_MS = 5_000;
/** Between two questions whether a channel began. */
const BEGAN_MS = 2_000;

export abstract class ElementPlayer implements Engine {
  protected address: Address | null = null;
  /** Another one with each attempt and each end: what belongs to an older one has no say any more. */
  protected generation = 0;
  protected failures = 0;
  protected sessions = 0;
  protected readonly loudspeaker: Loudspeaker;
  /** Of the player's whole life. */
  protected readonly ears = new AbortController();
  private current: PlayerState = "idle";
  private retryTimer = 0;

  constructor(
    protected readonly video: HTMLVideoElement,
    protected readonly events: EngineEvents,
    protected readonly report: (event: WayEvent) => void,
  ) {
    this.loudspeaker = new Loudspeaker(video, (blocked) => events.soundBlocked(blocked));
  }

  abstract readonly unsupportedCodec: string;
  abstract get stats(): PlayerStats;
  abstract retryNow(): void;
  abstract unfit(chosen: boolean): void;
  protected abstract connect(): Promise<void>;
  /** Take the last picture away. */
  protected abstract release(): void;

  get state(): PlayerState {
    return this.current;
  }

  get hasVideo(): boolean {
    return this.video.videoWidth > 0;
  }

  load(address: Address | null): void {
    if (address?.api !== this.address?.api) {
      this.failures = 0;
      this.sessions = 0;
    }
    this.halt();
    this.address = address;
    this.loudspeaker.reset();
    if (address) this.begin();
    else this.become("unknown");
  }

  pause(): void {
    if (this.current === "idle" || this.current === "paused") return;
    this.rest("paused");
  }

  resume(): void {
    this.halt();
    if (this.address) void this.connect();
  }

  stop(): void {
    // The last picture stays until the other way has one.
    this.rest("idle");
  }

  destroy(): void {
    this.ears.abort();
    this.halt();
    this.release();
  }

  setVolume(volume: number, muted: boolean): void {
    this.loudspeaker.setVolume(volume, muted);
  }

  allowSound(): Promise<void> {
    return this.loudspeaker.allow();
  }

  setHidden(): void {}

  /** The first attempt at an address. */
  protected begin(): void {
    void this.connect();
  }

  protected rest(state: "paused" | "idle"): void {
    this.halt();
    this.become(state);
  }

  /** End the attempt, or what it came to. */
  protected halt(): void {
    this.generation++;
    clearTimeout(this.retryTimer);
  }

  /**
   * Say why nothing comes, and try again where that can help.
   *
   * @param askMs when to ask first whether a channel that waits for its source began
   * @param leastMs what the server wants between attempts
   */
  protected tryLater(why: Exclude<AfterRefusal, "codec">, askMs: number, leastMs = 0): void {
    const { generation } = this;
    // "off" here: a rendition ended, and the channel is on air: there is another one.
    this.become(why === "gone" ? "reconnecting" : why === "off" ? "buffering" : why);
    if (why === "refused") return;
    const waitMs =
      why === "unknown"
        ? UNKNOWN_MS
        : why === "waiting"
          ? askMs
          : Math.max(leastMs, backoff(this.failures++, Math.random()));
    this.again(why, waitMs, generation);
  }

  protected become(state: PlayerState): void {
    if (state === this.current) return;
    this.current = state;
    this.events.state(state);
  }

  /** A channel that waited for its source is asked for only once it began. */
  private again(why: AfterRefusal, waitMs: number, generation: number): void {
    this.retryTimer = window.setTimeout(async () => {
      const told = why === "waiting" ? await ask(this.address) : null;
      if (generation !== this.generation) return;
      if (told && lifeOf(told) === "waiting") this.again(why, BEGAN_MS, generation);
      else void this.connect();
    }, waitMs);
  }
}
