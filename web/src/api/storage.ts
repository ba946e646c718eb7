/** Volumes, disks, and titles on them in the REST API (docs/operate/storage.md). */

import { type ApiError, refusal, request } from "./client";

export type Code = "xor" | "rs" | "copies";

/** A directory of a node that holds blocks. What its node tells is null while that is away. */
export interface Disk {
  readonly id: string;
  readonly node: string;
  /** Empty while its node is away. */
  readonly node_name: string;
  readonly path: string;
  readonly state: "active" | "leaving" | "lost";
  readonly up: boolean;
  /** Bytes a second it read when it was measured. */
  readonly bandwidth: number;
  /** Why it cannot be used; empty when nothing is amiss. */
  readonly fault: string;
  readonly capacity: number;
  readonly used: number | null;
  readonly free: number | null;
  readonly blocks: number | null;
  /** Reads that came too late. */
  readonly late: number | null;
  readonly errors: number | null;
}

/** Blocks on their way to where they are to be. */
export interface Change {
  readonly bytes_done: number;
  readonly bytes_total: number;
  readonly moved: number;
  readonly lacking: number;
  /** Seconds until it is done; null while that is not known. */
  readonly forecast_s: number | null;
  /** Why it does not end. */
  readonly waiting: readonly string[];
}

export interface Scheme {
  /** Data blocks of a parity group. */
  readonly data: number;
  /** Blocks of a group that may be lost. */
  readonly parity: number;
  readonly code: Code;
  /** Bytes at most. */
  readonly block: number;
}

export interface Limits {
  /** Bytes a second of each node. */
  readonly move: number;
  /** The same for checking; 0: none is done. */
  readonly scrub: number;
}

export interface Volume {
  readonly name: string;
  readonly version: number;
  readonly scheme: Scheme;
  readonly policy: string;
  readonly limits: Limits;
  /** Of disks that are there. */
  readonly space: { readonly capacity: number; readonly used: number; readonly free: number };
  readonly titles: number;
  readonly change: Change | null;
  readonly scrub: {
    /** Of the present round, 0 to 1. */
    readonly share: number;
    readonly rounds: number;
    readonly found: number;
    readonly mended: number;
  };
  /** Beyond repair. */
  readonly lost: { readonly blocks: number; readonly titles: readonly string[] };
  readonly warnings: readonly string[];
  readonly disks: readonly Disk[];
  readonly groups: { readonly logical: number };
}

export type ImportState = "receiving" | "waiting" | "importing" | "done" | "failed" | "cancelled";

/** A file that becomes a title. */
export interface Import {
  readonly id: string;
  readonly name: string;
  readonly title: string;
  readonly volume: string;
  readonly file: string;
  /** Further files of it that come, the same picture in other sizes. */
  readonly renditions: number;
  /** Those of them that came. */
  readonly came: number;
  readonly state: ImportState;
  readonly bytes: number;
  readonly total: number | null;
  /** Seconds that are read, of `duration`. */
  readonly media: number;
  readonly duration: number;
  /** Seconds until it is done; null while that is not known. */
  readonly remaining: number | null;
  readonly remarks: readonly string[];
  readonly error: string;
}

export interface StorageView {
  readonly volumes: readonly Volume[];
  /** The newest first. */
  readonly imports: readonly Import[];
}

export interface StoredTitle {
  readonly name: string;
  readonly title: string;
  readonly volume: string;
  /** Seconds. */
  readonly duration: number;
  readonly bytes: number;
  /** ISO 8601. */
  readonly created: string;
  /** Whether it is still being recorded. */
  readonly live: boolean;
  readonly tracks: readonly {
    readonly id: number;
    readonly kind: string;
    readonly codec: string;
    /** ISO 639-2, empty where it is not known. */
    readonly language: string;
  }[];
}

/** A title that is read from end to end. */
export interface Check {
  readonly name: string;
  /** Blocks. */
  readonly done: number;
  readonly total: number;
  /** Seconds since 1970; null while it is under way. */
  readonly ended: number | null;
  readonly error: string;
  readonly good: boolean | null;
  /** How many faults there are; some of them are listed. */
  readonly count: number;
  readonly faults: readonly {
    readonly block: number;
    readonly kind: string;
    readonly reason: string;
  }[];
}

export interface Recording {
  readonly name: string;
  readonly channel: string;
  readonly volume: string;
  readonly remarks: readonly string[];
  /** Seconds since 1970; null while it goes on. */
  readonly ended: number | null;
  readonly error: string;
  /** Of media; not told before the first of it. */
  readonly seconds?: number;
  readonly bytes?: number;
  readonly lost_units?: number;
  /** Why it ended, empty while it goes on. */
  readonly reason?: string;
  /** A server that died left it, and its volume is not there. */
  readonly waiting: boolean;
}

export interface DiskWish {
  /** Id or name; empty: the node that answers. */
  readonly node: string;
  readonly path: string;
  /** Bytes it may hold; null: what its file system has. */
  readonly capacity: number | null;
  /** What it holds as a disk of another volume is removed first. */
  readonly erase: boolean;
}

export interface VolumeNew {
  readonly name: string;
  readonly data: number;
  readonly parity: number;
  readonly disks: readonly DiskWish[];
}

/** A disk is written and read to be measured, each on its node. */
const PREPARING_MS = 60_000;

const volume = (name: string): string => `/storage/volumes/${encodeURIComponent(name)}`;
const disk = (name: string, id: string): string =>
  `${volume(name)}/disks/${encodeURIComponent(id)}`;
const title = (name: string): string => `/storage/titles/${encodeURIComponent(name)}`;

export const getStorage = (): Promise<StorageView> => request("GET", "/storage");

export const createVolume = (wanted: VolumeNew): Promise<unknown> =>
  request("POST", "/storage/volumes", wanted, undefined, PREPARING_MS * wanted.disks.length);
export const changeLimits = (name: string, limits: Limits): Promise<unknown> =>
  request("PATCH", volume(name), limits);
export const removeVolume = (name: string): Promise<null> => request("DELETE", volume(name));

export const addDisk = (name: string, wish: DiskWish): Promise<unknown> =>
  request("POST", `${volume(name)}/disks`, wish, undefined, PREPARING_MS);
/** @param force it is gone: it is not read any more */
export const removeDisk = (name: string, id: string, force: boolean): Promise<unknown> =>
  request("DELETE", `${disk(name, id)}?force=${force}`);
/** @param force the old one is gone: it is not read any more */
export const replaceDisk = (
  name: string,
  id: string,
  wish: DiskWish,
  force: boolean,
): Promise<unknown> =>
  request("POST", `${disk(name, id)}/replace?force=${force}`, wish, undefined, PREPARING_MS);

export const listStored = async (): Promise<readonly StoredTitle[]> =>
  (await request<{ titles: StoredTitle[] }>("GET", "/storage/titles")).titles;
export const eraseTitle = (name: string): Promise<null> => request("DELETE", title(name));
/** Begins a check, or tells how far the one under way is. */
export const verifyTitle = (name: string): Promise<Check> =>
  request("POST", `${title(name)}/verify`);
export const cancelImport = (id: string): Promise<null> =>
  request("DELETE", `/storage/imports/${encodeURIComponent(id)}`);

export const listRecordings = async (): Promise<readonly Recording[]> =>
  (await request<{ recordings: Recording[] }>("GET", "/storage/recordings")).recordings;
export const beginRecording = (wanted: {
  readonly channel: string;
  readonly name: string;
  readonly title: string;
  readonly volume: string;
  readonly max_seconds: number;
}): Promise<Recording> => request("POST", "/storage/recordings", wanted);
export const stopRecording = (name: string): Promise<Recording> =>
  request("DELETE", `/storage/recordings/${encodeURIComponent(name)}`);
/** Forget what the volume does not have of a recording that waits for it. */
export const dropRecording = (name: string): Promise<Recording> =>
  request("DELETE", `/storage/recordings/${encodeURIComponent(name)}?drop=true`);

export interface UploadWish {
  readonly name: string;
  readonly title: string;
  readonly volume: string;
  readonly file: File;
  /** The same picture in other sizes. */
  readonly renditions: readonly File[];
}

/**
 * Sends the files of a title, one after the other; `sent` hears how many bytes have left.
 *
 * @throws ApiError status 0 where it broke off; `signal` ends it
 */
export async function uploadTitle(
  wish: UploadWish,
  sent: (bytes: number) => void,
  signal: AbortSignal,
): Promise<Import> {
  const query = new URLSearchParams({
    title: wish.title,
    volume: wish.volume,
    filename: wish.file.name,
    renditions: String(wish.renditions.length),
  });
  let found = await put(`${title(wish.name)}/media?${query}`, wish.file, sent, signal);
  let before = wish.file.size;
  for (const file of wish.renditions) {
    const more = new URLSearchParams({ filename: file.name });
    const path = `/storage/imports/${encodeURIComponent(found.id)}/renditions?${more}`;
    const base = before;
    found = await put(path, file, (bytes) => sent(base + bytes), signal);
    before += file.size;
  }
  return found;
}

/** Sends one file. Only XMLHttpRequest tells how much has left. */
function put(
  path: string,
  file: File,
  sent: (bytes: number) => void,
  signal: AbortSignal,
): Promise<Import> {
  return new Promise((resolve, reject) => {
    const sending = new XMLHttpRequest();
    const broken = (): ApiError =>
      refusal(0, "The upload broke off. Check your network and try again.", null, null);
    sending.open("PUT", `/api/v1${path}`);
    sending.responseType = "text";
    sending.upload.onprogress = ({ loaded }) => sent(loaded);
    sending.onerror = () => reject(broken());
    sending.onabort = () => reject(broken());
    sending.onload = () => {
      const json = parsed(sending.responseText);
      if (sending.status < 300) resolve(json as Import);
      else {
        const wait = sending.getResponseHeader("retry-after");
        reject(refusal(sending.status, sending.statusText, json, wait));
      }
    };
    if (signal.aborted) {
      reject(broken());
      return;
    }
    signal.addEventListener("abort", () => sending.abort(), { once: true });
    sending.send(file);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
