/** Long lists of rows of one height, of which only those in sight are drawn. */

import type { ReactiveController, ReactiveControllerHost } from "lit";

/** Rows drawn beyond each edge, so that a flick of the wheel shows no gaps. */
const BEYOND = 4;

export interface Range {
  readonly first: number;
  /** One past the last. */
  readonly end: number;
}

/** Which rows are in sight. */
export function inSight(scroll: number, height: number, row: number, count: number): Range {
  const first = Math.max(0, Math.min(count, Math.floor(scroll / row) - BEYOND));
  const end = Math.min(count, Math.ceil((scroll + height) / row) + BEYOND);
  return { first, end: Math.max(first, end) };
}

/** How far to scroll so that a row is in sight. */
export function scrollTo(index: number, scroll: number, height: number, row: number): number {
  if (index * row < scroll) return index * row;
  return Math.max(scroll, (index + 1) * row - height);
}

/** Keeps the range of an element's scroller up to date; renders the host when it changes. */
export class Rows implements ReactiveController {
  private scroller: HTMLElement | null = null;
  private readonly observer = new ResizeObserver(() => this.look());
  private shown: Range = { first: 0, end: 0 };
  private count = 0;

  constructor(
    private readonly host: ReactiveControllerHost & { readonly renderRoot: ParentNode },
    readonly height: number,
  ) {
    host.addController(this);
  }

  /** The range of so many rows; call it while rendering. */
  range(count: number): Range {
    this.count = count;
    const { scroller } = this;
    this.shown = inSight(
      scroller?.scrollTop ?? 0,
      scroller?.clientHeight || 900,
      this.height,
      count,
    );
    return this.shown;
  }

  hostUpdated(): void {
    const found = this.host.renderRoot.querySelector<HTMLElement>(".scroller");
    if (found === this.scroller) return;
    this.observer.disconnect();
    this.scroller?.removeEventListener("scroll", this.look);
    this.scroller = found;
    if (!found) return;
    found.addEventListener("scroll", this.look, { passive: true });
    this.observer.observe(found);
  }

  hostDisconnected(): void {
    this.observer.disconnect();
    this.scroller = null;
  }

  reveal(index: number): void {
    const { scroller } = this;
    if (!scroller || index < 0) return;
    const { scrollTop, clientHeight } = scroller;
    const wanted = scrollTo(index, scrollTop, clientHeight, this.height);
    if (wanted !== scrollTop) scroller.scrollTop = wanted;
  }

  private readonly look = (): void => {
    const { scroller, shown } = this;
    if (!scroller) return;
    const { scrollTop, clientHeight } = scroller;
    const { first, end } = inSight(scrollTop, clientHeight, this.height, this.count);
    if (first !== shown.first || end !== shown.end) this.host.requestUpdate();
  };
}

/** The row that a key leads to; null: the key is none of the list's. */
export function step(key: string, index: number, count: number, page: number): number | null {
  const to = (n: number): number => Math.max(0, Math.min(count - 1, n));
  switch (key) {
    case "ArrowDown":
      return to(index + 1);
    case "ArrowUp":
      return index < 0 ? to(0) : to(index - 1);
    case "PageDown":
      return to(Math.max(0, index) + page);
    case "PageUp":
      return to(index - page);
    case "Home":
      return to(0);
    case "End":
      return to(count - 1);
    default:
      return null;
  }
}
