export interface FakeAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
  /** Content of the session's cookie from now on; empty: none. */
  readonly token?: string;
}

export declare const SETUP_KEY: string;

export declare class FakeApi {
  readonly accounts: Map<string, { domains: readonly string[] }>;
  readonly audit: { readonly action: string; readonly subject: string }[];
  constructor(host?: string);
  addAccount(name: string, password: string, role?: string, displayName?: string): unknown;
  addChannel(name: string, owner?: string | null, more?: object): void;
  addTitle(name: string, more?: object): void;
  readonly contents: {
    readonly titles: Map<string, { usable?: number }>;
    readonly servers: Map<string, object>;
    add(kind: string, values: object): unknown;
    import(part: object): unknown;
  };
  handle(
    method: string,
    target: string,
    body?: unknown,
    token?: string,
    headers?: Readonly<Record<string, string>>,
  ): FakeAnswer | null;
}
