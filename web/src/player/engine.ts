/** What every way of playing does, whatever it plays through. */

import type { PlayerState, PlayerStats } from "./stats";

export interface EngineEvents {
  state(state: PlayerState): void;
  /** A short text beside the picture, e.g. sound that cannot be decoded. */
  notice(text: string): void;
  /** The browser wants a gesture before it lets sound out, or no longer does. */
  soundBlocked(blocked: boolean): void;
}

export interface Engine {
  readonly state: PlayerState;
  readonly hasVideo: boolean;
  /** Codec of what cannot be decoded, empty where that is not the trouble. */
  readonly unsupportedCodec: string;
  readonly stats: PlayerStats;
  /** Start playing a channel name or address. */
  load(src: string): void;
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
}
