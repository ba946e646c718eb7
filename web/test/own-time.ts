import type { After } from "../src/player/timers";

/** Time in ms that passes only when told to. */
export class OwnTime {
  now = 0;
  private due: { readonly at: number; readonly call: () => void }[] = [];

  get pending(): number {
    return this.due.length;
  }

  readonly after: After = (ms, call) => {
    const one = { at: this.now + ms, call };
    this.due.push(one);
    return () => {
      this.due = this.due.filter((other) => other !== one);
    };
  };

  /** Goes to what is due first and calls it; false where nothing is due until then. */
  step(until: number): boolean {
    const next = this.due.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
    if (!next) return false;
    this.due = this.due.filter((other) => other !== next);
    this.now = next.at;
    next.call();
    return true;
  }

  pass(ms: number): void {
    const end = this.now + ms;
    while (this.step(end));
    this.now = end;
  }
}
