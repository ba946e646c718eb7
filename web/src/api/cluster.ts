/** The cluster and its log in the REST API (docs/operate/cluster.md). */

import { request } from "./client";

export type UnitState = "up" | "pressed" | "draining" | "gone";

export interface Amounts {
  /** Bits a second. */
  readonly bandwidth: number;
  /** Microseconds a second. */
  readonly cpu: number;
  /** Bytes. */
  readonly memory: number;
}

/** Index, viewers, places kept for those on their way, places. */
export type GroupNumbers = readonly [number, number, number, number];

export interface UnitView {
  readonly id: string;
  readonly name: string;
  readonly state: UnitState;
  /** Committed bandwidth against capacity. */
  readonly load: number;
  readonly viewers: number;
  readonly places: number;
  readonly address?: string;
  /** From the node that answers; null: there is none. */
  readonly link?: { readonly up: boolean; readonly received: number; readonly lost: number } | null;
  /** Of the group of units that it is administered with; empty: of none. */
  readonly domain?: string;
  readonly location?: string;
  readonly used?: Amounts;
  readonly limits?: Amounts;
  readonly budget?: { readonly groups: number; readonly places: number };
  /** By channel. */
  readonly groups?: Readonly<Record<string, readonly GroupNumbers[]>>;
}

/** Idle: no unit needed it yet. Closed: nobody may publish or watch until it is opened. */
export type ChannelState = "open" | "idle" | "closed";

export interface ChannelView {
  readonly name: string;
  readonly state?: ChannelState;
  readonly title?: string;
  readonly viewers: number;
  readonly reserved: number;
  readonly places: number;
  readonly groups: number;
  readonly kept?: number;
  /** Bits a second of one copy. */
  readonly bitrate?: number;
  readonly epoch?: number;
  /** Id of the unit where its source enters. */
  readonly ingest?: string | null;
  readonly next_ingest?: string | null;
  readonly orphans?: readonly string[];
  /** Units with whom they take the channel from. */
  readonly tree?: readonly (readonly [string, string | null])[];
}

export interface ClusterView {
  readonly epoch: number;
  /** Name or id of who says it; empty: nobody leads. */
  readonly manager: string;
  readonly at: number;
  /** False: only the numbers that change. */
  readonly whole?: boolean;
  readonly units: readonly UnitView[];
  readonly channels: readonly ChannelView[];
}

export interface Manager {
  readonly node: string;
  readonly name: string;
  readonly active: boolean;
  readonly epoch: number;
}

/** What a unit that is drained still has. */
export interface Progress {
  readonly channels: number;
  readonly groups: number;
  readonly viewers: number;
  readonly reserved: number;
  readonly ingests: number;
  readonly links: number;
  /** Sources that nobody can send elsewhere: the unit fetches them itself, or they know no other. */
  readonly bound: number;
}

/** What a channel that is closed still has. */
export interface Closing {
  readonly channel: string;
  readonly units: number;
  readonly groups: number;
  readonly viewers: number;
}

export interface Done<T = Progress> {
  readonly done: boolean;
  readonly progress: T | null;
}

export const getCluster = (): Promise<ClusterView & { readonly managers: readonly Manager[] }> =>
  request("GET", "/cluster");

const unit = (id: string): string => `/units/${encodeURIComponent(id)}`;
const channel = (name: string): string => `/channels/${encodeURIComponent(name)}`;

export const drainUnit = (id: string): Promise<Done> => request("POST", `${unit(id)}/drain`);
export const returnUnit = (id: string): Promise<Done> => request("POST", `${unit(id)}/return`);
export const removeUnit = (id: string): Promise<Done> => request("DELETE", unit(id));

/** Lets everybody in again, and grants a first group. */
export const openChannel = (name: string): Promise<Done<never>> =>
  request("POST", `/cluster${channel(name)}/open`);
/** Ends it everywhere, and lets nobody in until it is opened. */
export const closeChannel = (name: string): Promise<Done<Closing>> =>
  request("POST", `/cluster${channel(name)}/close`);

export const extendChannel = (name: string, groups: number, unit: string): Promise<Done> =>
  request("POST", `${channel(name)}/extend`, { groups, unit });
export const shrinkChannel = (name: string, groups: number): Promise<Done> =>
  request("POST", `${channel(name)}/shrink`, { groups });
export const moveChannel = (name: string, unit: string): Promise<Done> =>
  request("POST", `${channel(name)}/move`, { unit });

export type LogLevel = "debug" | "info" | "warning" | "error" | "critical";

export interface LogEntry {
  readonly node: string;
  readonly name: string;
  /** Orders those of one node. */
  readonly number: number;
  readonly at: string;
  readonly level: LogLevel;
  readonly event: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Entries of one node as they are pushed. */
export interface LogBatch {
  readonly node: string;
  readonly name: string;
  /** Of the node's process: numbers grow within one. */
  readonly run: number;
  readonly missed: number;
  readonly entries: readonly Omit<LogEntry, "node" | "name">[];
}

export const readLogs = async (limit: number): Promise<readonly LogEntry[]> =>
  (await request<{ entries: LogEntry[] }>("GET", `/logs?limit=${limit}`)).entries;
