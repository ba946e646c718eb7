/** Titles on demand in the REST API (docs/operate/api.md). */

import { request } from "./client";

export interface Title {
  readonly name: string;
  readonly title: string;
  /** Seconds; until now while it is being recorded. */
  readonly duration: number;
  /** Whether it is still being recorded. */
  readonly live: boolean;
  /** ISO 8601. */
  readonly created: string;
  /** Bits a second at most. */
  readonly bitrate: number;
  readonly tracks: readonly {
    readonly kind: string;
    readonly codec: string;
    /** ISO 639-2, empty where it is not known. */
    readonly language: string;
  }[];
  readonly readers: number;
  /** The channel whose rules it has, empty: none. */
  readonly channel: string;
  /** A small picture that stands for it. */
  readonly picture: string | null;
  readonly urls: {
    readonly page: string;
    readonly hls: string;
    /** Empty while it is being recorded. */
    readonly mp4: string;
  };
}

/** The first ones by name. */
export const listTitles = async (): Promise<readonly Title[]> =>
  (await request<{ titles: Title[] }>("GET", "/ondemand")).titles;

/** What is recorded of a channel. */
export const listRecordings = async (channel: string): Promise<readonly Title[]> => {
  const query = new URLSearchParams({ channel });
  return (await request<{ titles: Title[] }>("GET", `/ondemand?${query}`)).titles;
};

/** @param permit query that permits to watch it, such as `?token=…`, or empty */
export const getTitle = (name: string, permit = ""): Promise<Title> =>
  request<Title>("GET", `/ondemand/${encodeURIComponent(name)}${permit}`);
