/** Servers, titles and their files as administrators ask for them. */

import { request } from "./client";

export type Format = "rtsp" | "hls" | "whep" | "mp4";
export type Condition = "unknown" | "up" | "starting" | "down";
export type ProbeKind = "icmp" | "tcp" | "rtsp" | "http";

export interface Probe {
  readonly kind: ProbeKind;
  /** Seconds. */
  readonly interval: number;
  /** 0: the usual one. */
  readonly port: number;
  readonly path: string;
}

export interface ServerValues {
  readonly name: string;
  readonly host: string;
  readonly make: string;
  readonly region: string;
  /** Bits a second; 0: not known. */
  readonly capacity_bps: number;
  /** 0: no bound. */
  readonly max_sessions: number;
  readonly weight: number;
  readonly enabled: boolean;
  readonly drained: boolean;
  readonly probes: readonly Probe[];
}

export interface Server extends ServerValues {
  readonly revision: number;
  /** How many files it holds. */
  readonly files: number;
}

export interface TitleValues {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** Seconds; null: not known. */
  readonly duration: number | null;
  readonly level: string;
  readonly classes: readonly string[];
  readonly regions: readonly string[];
  readonly policy: string;
  readonly published: boolean;
}

/** How a title is to be had now. */
export type TitleStanding =
  | "playable"
  | "damaged"
  | "unreachable"
  | "withdrawn"
  | "empty"
  | "withheld";

export interface Title extends TitleValues {
  readonly revision: number;
  /** How many copies there are on servers. */
  readonly files: number;
  /** Those on servers that somebody may be sent to now. */
  readonly usable: number;
  /** Whether a volume holds it, so that every node plays it. */
  readonly stored: boolean;
  /** Blocks of it that volumes have lost for good. */
  readonly lost: number;
  readonly standing: TitleStanding;
}

export interface File {
  readonly id: number;
  readonly title: string;
  readonly server: string;
  readonly format: Format;
  readonly uri: string;
  readonly bits_per_second: number;
  readonly size: number | null;
}

export interface Network {
  readonly cidr: string;
  readonly region: string;
  readonly refused: boolean;
}

export interface Level {
  readonly code: string;
  readonly name: string;
  readonly min_age: number;
}

export interface Classification {
  readonly code: string;
  readonly name: string;
}

/** What the monitors found of one server. */
export interface ServerState {
  readonly server: string;
  readonly condition: Condition;
  /** Smoothed; null: it never answered. */
  readonly response_ms: number | null;
  /** ISO 8601. */
  readonly since: string;
  readonly reason: string;
  readonly drained: boolean;
}

/** Some rows of many. */
export interface Page<T> {
  readonly rows: readonly T[];
  /** What to ask for the next ones with; null: these are the last. */
  readonly more: string | null;
}

const at = (kind: string, key: string | number): string => `/${kind}/${encodeURIComponent(key)}`;

const query = (search: string, after: string): string =>
  `?search=${encodeURIComponent(search)}&after=${encodeURIComponent(after)}`;

export const listServers = async (search = "", after = ""): Promise<Page<Server>> => {
  const path = `/servers${query(search, after)}`;
  const { servers, more } = await request<{ servers: Server[]; more: string | null }>("GET", path);
  return { rows: servers, more };
};
export const getServer = (name: string): Promise<Server> => request("GET", at("servers", name));
export const addServer = (values: Partial<ServerValues>): Promise<Server> =>
  request("POST", "/servers", values);
export const changeServer = (server: Server, values: Partial<ServerValues>): Promise<Server> =>
  request("PATCH", at("servers", server.name), values, server.revision);
export const removeServer = (name: string): Promise<null> =>
  request("DELETE", `${at("servers", name)}?files=true`);

export const listTitles = async (search = "", after = ""): Promise<Page<Title>> => {
  const path = `/titles${query(search, after)}`;
  const { titles, more } = await request<{ titles: Title[]; more: string | null }>("GET", path);
  return { rows: titles, more };
};
export const getTitle = (name: string): Promise<Title> => request("GET", at("titles", name));
export const addTitle = (values: Partial<TitleValues>): Promise<Title> =>
  request("POST", "/titles", values);
export const changeTitle = (title: Title, values: Partial<TitleValues>): Promise<Title> =>
  request("PATCH", at("titles", title.name), values, title.revision);
export const removeTitle = (name: string): Promise<null> => request("DELETE", at("titles", name));

export const listFiles = async (of: {
  readonly title?: string;
  readonly server?: string;
}): Promise<readonly File[]> => {
  const [[key, name] = ["title", ""]] = Object.entries(of);
  const path = `/files?${key}=${encodeURIComponent(name)}`;
  return (await request<{ files: File[] }>("GET", path)).files;
};
export const addFile = (values: {
  readonly title: string;
  readonly server: string;
  readonly format: string;
  readonly uri: string;
  readonly bits_per_second?: number;
}): Promise<File> => request("POST", "/files", values);
export const removeFile = (id: number): Promise<null> => request("DELETE", at("files", id));

/** A row that was not taken. */
export interface Rejected {
  /** Where it was written. */
  readonly place: string;
  readonly reason: string;
}

interface Taken {
  readonly added: number;
  readonly changed: number;
  readonly unchanged: number;
  readonly rejected: readonly Rejected[];
}

export interface Scan extends Taken {
  /** What it found; `name` is that of the title. */
  readonly found: readonly { readonly name: string; readonly uri: string }[];
  readonly pages: number;
  /** Pages that could not be read. */
  readonly failed: readonly Rejected[];
  /** Which bound ended it; empty: none. */
  readonly cut: string;
}

/** A part of a file: CSV with its first line, or objects that may say their `place`. */
export type ImportPart = { readonly text: string } | { readonly records: readonly object[] };

/** What one part may take: other writers may come before it. */
const IMPORT_TIMEOUT_MS = 60_000;
/** The server gives up before. */
const SCAN_TIMEOUT_MS = 90_000;

export const importPart = (part: ImportPart & { readonly source: string }): Promise<Taken> =>
  request("POST", "/contents/import", part, undefined, IMPORT_TIMEOUT_MS);
/**
 * @param dry only tell what would be registered
 * @param anyHost whether the address, and files found, may be of another host than the server's
 */
export const scanServer = (
  name: string,
  url: string,
  dry: boolean,
  anyHost: boolean,
): Promise<Scan> =>
  request(
    "POST",
    `${at("servers", name)}/scan`,
    { url, dry_run: dry, any_host: anyHost },
    undefined,
    SCAN_TIMEOUT_MS,
  );
/** Where everything is to be had as a file. */
export const EXPORTS = (["csv", "json"] as const).map((format) => ({
  format,
  path: `/api/v1/contents/export?format=${format}`,
}));

export const listNetworks = async (): Promise<readonly Network[]> =>
  (await request<{ networks: Network[] }>("GET", "/networks?limit=500")).networks;
export const putNetwork = ({ cidr, ...rest }: Network): Promise<Network> =>
  request("PUT", `/networks/${cidr}`, rest);
export const removeNetwork = (cidr: string): Promise<null> =>
  request("DELETE", `/networks/${cidr}`);

export const listLevels = async (): Promise<readonly Level[]> =>
  (await request<{ levels: Level[] }>("GET", "/levels")).levels;
export const putLevel = ({ code, ...rest }: Level): Promise<Level> =>
  request("PUT", at("levels", code), rest);
export const removeLevel = (code: string): Promise<null> => request("DELETE", at("levels", code));

export const listClasses = async (): Promise<readonly Classification[]> =>
  (await request<{ classes: Classification[] }>("GET", "/classes")).classes;
export const putClass = ({ code, ...rest }: Classification): Promise<Classification> =>
  request("PUT", at("classes", code), rest);
export const removeClass = (code: string): Promise<null> => request("DELETE", at("classes", code));
