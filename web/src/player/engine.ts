/** What every way of playing does, whatever it plays through. */

import type { Address } from "./address";
import type { PlayerState, PlayerStats } from "./stats";

export interface EngineEvents {
  state(state: PlayerState): void;
  /** A short text beside the picture, e.g. sound that cannot be decoded. */
  notice(text: string): void;
  /** The picture stands still because the way is too slow for it; the sound goes on. */
  behind(behind: boolean): void;
  /** The browser wants a gesture before it lets sound out, or no longer does. */
  soundBlocked(blocked: boolean): void;
}

export interface Engine {
  readonly state: PlayerState;
  readonly hasVideo: boolean;
  /** Codec of what cannot be decoded, empty where that is not the trouble. */
  readonly unsupportedCodec: string;
  readonly stats: PlayerStats;
  /** Start playing a channel; null where what was asked for can be none. */
  load(address: Address | null): void;
  /** Picture stands still; the connection is given back. */
  pause(): void;
  /** Continue at the live edge. */
  resume(): void;
  stop(): void;
  destroy(): void;
  setVolume(volume: number, muted: boolean): void;
  /** To be called from a gesture. */
  allowSound(): Promise<void>;
  setHidden(hidden: boolean): void;
  /** The network came back or the person asked: do not wait for the next attempt. */
  retryNow(): void;
  /**
   * It does not do for this channel here, and no other way is to be tried: say so.
   *
   * @param chosen a person wants this way and no other
   */
  unfit(chosen: boolean): void;
}
