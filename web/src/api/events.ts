/** What the server pushes (Server-Sent Events), over breaks and while somebody looks. */

/** Until a page in the background listens no more: the server has places for few. */
export const HIDDEN_MS = 30_000;
const SLOWEST_MS = 10_000;

/** Delay until the next attempt after so many that were refused. */
export const retryDelay = (failures: number): number =>
  Math.min(SLOWEST_MS, 1_000 * 1.6 ** Math.max(0, failures - 1));

export interface Hearer {
  /** An event came. */
  heard(name: string, data: unknown): void;
  /** It listens now, or does not any more. */
  connected(is: boolean): void;
}

/** One stream of events, by names. */
export class EventFeed {
  private source: EventSource | null = null;
  private timer = 0;
  private hideTimer = 0;
  private failures = 0;
  private running = false;

  constructor(
    private readonly path: string,
    private readonly names: readonly string[],
    private readonly hearer: Hearer,
  ) {}

  start(): void {
    if (this.running) return;
    this.running = true;
    document.addEventListener("visibilitychange", this.look);
    this.open();
  }

  stop(): void {
    this.running = false;
    document.removeEventListener("visibilitychange", this.look);
    clearTimeout(this.hideTimer);
    this.close();
  }

  private open(): void {
    this.close();
    const source = new EventSource(`/api/v1${this.path}`);
    this.source = source;
    source.onopen = () => {
      this.failures = 0;
      this.hearer.connected(true);
    };
    source.onerror = () => {
      this.hearer.connected(false);
      // The browser comes again by itself, unless it was refused.
      if (source.readyState !== EventSource.CLOSED) return;
      this.failures++;
      clearTimeout(this.timer);
      this.timer = window.setTimeout(() => this.open(), retryDelay(this.failures));
    };
    for (const name of this.names) {
      source.addEventListener(name, (event) => {
        this.hearer.heard(name, JSON.parse((event as MessageEvent<string>).data));
      });
    }
  }

  private close(): void {
    clearTimeout(this.timer);
    this.source?.close();
    this.source = null;
  }

  private readonly look = (): void => {
    clearTimeout(this.hideTimer);
    if (document.hidden) this.hideTimer = window.setTimeout(() => this.close(), HIDDEN_MS);
    else if (this.running && !this.source) this.open();
  };
}
