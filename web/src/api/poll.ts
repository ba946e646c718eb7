/** Asking again and again, less often when nobody looks or nobody answers. */

export const POLL_MS = 2_000;
const HIDDEN_MS = 20_000;
const SLOWEST_MS = 10_000;

/** Delay until the next question. */
export function pollDelay(failures: number, hidden: boolean, everyMs = POLL_MS): number {
  const delay = Math.min(SLOWEST_MS, everyMs * 1.5 ** Math.max(0, failures - 1));
  return hidden ? Math.max(HIDDEN_MS, delay) : delay;
}

/** Calls `ask` until stopped; `told` hears of each answer and of each failure. */
export class Poll<T> {
  private timer = 0;
  private failures = 0;
  private running = false;
  private readonly wake = (): void => {
    if (this.running && !document.hidden) void this.now();
  };

  constructor(
    private readonly ask: () => Promise<T>,
    private readonly told: (answer: T | null, error: unknown) => void,
    private readonly everyMs = POLL_MS,
  ) {}

  start(): void {
    this.running = true;
    document.addEventListener("visibilitychange", this.wake);
    window.addEventListener("online", this.wake);
    void this.now();
  }

  stop(): void {
    this.running = false;
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.wake);
    window.removeEventListener("online", this.wake);
  }

  async now(): Promise<void> {
    clearTimeout(this.timer);
    let answer: T | null = null;
    let error: unknown = null;
    try {
      answer = await this.ask();
      this.failures = 0;
    } catch (caught) {
      error = caught;
      this.failures++;
    }
    if (!this.running) return;
    this.told(answer, error);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(
      () => void this.now(),
      pollDelay(this.failures, document.hidden, this.everyMs),
    );
  }
}
