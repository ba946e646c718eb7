/** Calls that are due later, called off together when what they are about is over. */

/** Calls later; what it returns calls that off. */
export type After = (ms: number, call: () => void) => () => void;

export const browserAfter: After = (ms, call) => {
  const id = setTimeout(call, ms);
  return () => clearTimeout(id);
};

export class Timers {
  private readonly cancels = new Set<() => void>();

  constructor(private readonly later: After) {}

  after(ms: number, call: () => void): void {
    const cancel = this.later(ms, () => {
      this.cancels.delete(cancel);
      call();
    });
    this.cancels.add(cancel);
  }

  clear(): void {
    for (const cancel of this.cancels) cancel();
    this.cancels.clear();
  }
}
