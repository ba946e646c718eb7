/** Files that this page sends, one after the other: more at once would not be faster. */

import { type Import, type UploadWish, uploadTitle } from "../../api/storage";
import { reason } from "../reason";
import type { Sending } from "./model";

/** Until progress is told again; browsers tell it many times a second. */
const TOLD_MS = 250;

interface Entry {
  readonly wish: UploadWish;
  readonly abort: AbortController;
  shown: Sending;
}

/** One queue a page. */
export class Uploads {
  private entries: readonly Entry[] = [];
  private running = false;

  /**
   * @param changed something is to be shown anew
   * @param arrived the server has a file as a whole
   */
  constructor(
    private readonly changed: () => void,
    private readonly arrived: (one: Import) => void,
    private readonly send: typeof uploadTitle = uploadTitle,
  ) {}

  get shown(): readonly Sending[] {
    return this.entries.map(({ shown }) => shown);
  }

  /** Whether files wait or are being sent. */
  get busy(): boolean {
    return this.entries.some(({ shown }) => shown.state !== "failed");
  }

  add(wishes: readonly UploadWish[]): void {
    const made = wishes.map(
      (wish): Entry => ({
        wish,
        abort: new AbortController(),
        shown: {
          name: wish.name,
          title: wish.title,
          volume: wish.volume,
          file: wish.file.name,
          renditions: wish.renditions.length,
          size: [wish.file, ...wish.renditions].reduce((sum, { size }) => sum + size, 0),
          sent: 0,
          state: "queued",
          error: "",
        },
      }),
    );
    this.entries = [...this.entries, ...made];
    this.changed();
    void this.run();
  }

  /** Send it no more, or show no more that it failed. */
  drop(name: string): void {
    for (const one of this.entries.filter(({ shown }) => shown.name === name)) {
      this.forget(one);
      one.abort.abort();
    }
  }

  /** Send nothing more. */
  close(): void {
    for (const { shown } of this.entries) this.drop(shown.name);
  }

  private async run(): Promise<void> {
    if (this.running) return;
    this.running = true;
    for (;;) {
      const next = this.entries.find(({ shown }) => shown.state === "queued");
      if (!next) break;
      await this.one(next);
    }
    this.running = false;
  }

  private async one(entry: Entry): Promise<void> {
    const { size } = entry.shown;
    this.show(entry, { state: "sending" });
    let told = 0;
    const sent = (bytes: number): void => {
      const now = Date.now();
      if (now - told < TOLD_MS && bytes < size) return;
      told = now;
      this.show(entry, { sent: Math.min(bytes, size) });
    };
    try {
      const arrived = await this.send(entry.wish, sent, entry.abort.signal);
      this.forget(entry);
      this.arrived(arrived);
    } catch (error) {
      if (!entry.abort.signal.aborted) {
        this.show(entry, { state: "failed", error: reason(error) });
      }
    }
  }

  private show(entry: Entry, values: Partial<Sending>): void {
    if (!this.entries.includes(entry)) return;
    entry.shown = { ...entry.shown, ...values };
    this.changed();
  }

  private forget(entry: Entry): void {
    this.entries = this.entries.filter((one) => one !== entry);
    this.changed();
  }
}
