/** What administrators ask of the REST API. */

import { request } from "./client";
import type { Role } from "./session";

export interface Account {
  readonly name: string;
  readonly display_name: string;
  readonly role: Role;
  /** ISO 8601. */
  readonly created: string;
  /** ISO 8601: since when it may not sign in. */
  readonly disabled: string | null;
  /** Groups of units that it administers. */
  readonly domains: readonly string[];
}

/** Accounts of one answer, and how many answers are read: an organisation has fewer. */
const PAGE = 500;
const MAX_PAGES = 20;

const path = (name: string): string => `/accounts/${encodeURIComponent(name)}`;

export async function listAccounts(): Promise<readonly Account[]> {
  const all: Account[] = [];
  for (let page = 0; page < MAX_PAGES; page++) {
    const after = encodeURIComponent(all.at(-1)?.name ?? "");
    const query = `?limit=${PAGE}&after=${after}`;
    const { accounts } = await request<{ accounts: Account[] }>("GET", `/accounts${query}`);
    all.push(...accounts);
    if (accounts.length < PAGE) break;
  }
  return all;
}

export const createAccount = (values: {
  readonly name: string;
  readonly password: string;
  readonly role: Role;
  readonly display_name?: string;
}): Promise<Account> => request("POST", "/accounts", values);

export const changeAccount = (
  name: string,
  values: {
    readonly role?: Role;
    readonly display_name?: string;
    readonly disabled?: boolean;
    readonly password?: string;
    readonly domains?: readonly string[];
  },
): Promise<Account> => request("PATCH", path(name), values);

export const deleteAccount = (name: string): Promise<null> => request("DELETE", path(name));

export interface AuditEntry {
  readonly id: number;
  /** ISO 8601. */
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly address: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The newest entries, or those older than the one with the id `before`. */
export const readAudit = async (
  limit: number,
  before: number | null,
): Promise<readonly AuditEntry[]> => {
  const query = before === null ? "" : `&before=${before}`;
  return (await request<{ entries: AuditEntry[] }>("GET", `/audit?limit=${limit}${query}`)).entries;
};

export interface ServerFigures {
  readonly name: string;
  readonly version: string;
  /** Seconds. */
  readonly uptime: number;
  readonly channels: number;
  readonly channels_on_air: number;
  readonly readers: number;
  readonly connections: number;
  readonly bytes_in: number;
  readonly bytes_out: number;
  readonly send_errors: number;
}

export const readServer = async (): Promise<ServerFigures> => {
  const [server, stats] = await Promise.all([
    request<object>("GET", "/server"),
    request<object>("GET", "/stats"),
  ]);
  return { ...server, ...stats } as ServerFigures;
};
