/** What was in the last ten minutes, kept by the page. Pure. */

import type { ClusterView } from "../../api/cluster";
import { carried, totals } from "./model";

export const SPAN_S = 600;
/** Views come twice a second; a plot a hundred pixels wide shows less. */
const STEP_S = 2;

export interface Point {
  /** Seconds. */
  readonly at: number;
  /** Bits a second. */
  readonly bandwidth: number;
  readonly viewers: number;
  /** Share of packets, 0 to 1; null: nothing came. */
  readonly loss: number | null;
}

/** Points of the whole cluster and of each unit. */
export class History {
  private readonly series = new Map<string, Point[]>();
  private readonly counted = new Map<string, { received: number; lost: number }>();
  private newest = Number.NEGATIVE_INFINITY;

  /** @param at seconds of a steady clock */
  add(view: ClusterView, at: number): void {
    if (at - this.newest < STEP_S) return;
    this.newest = at;
    const all = totals(view);
    const { bandwidth, viewers } = all;
    this.push("", { at, bandwidth, viewers, loss: this.loss("", carried(view)) });
    const there = new Set([""]);
    for (const unit of view.units) {
      there.add(unit.id);
      this.push(unit.id, {
        at,
        bandwidth: unit.used?.bandwidth ?? 0,
        viewers: unit.viewers,
        loss: this.loss(unit.id, unit.link ?? null),
      });
    }
    for (const id of this.series.keys()) if (!there.has(id)) this.forget(id);
  }

  /** Of a unit by its id, or (empty) of all. */
  of(unit = ""): readonly Point[] {
    return this.series.get(unit) ?? [];
  }

  private push(id: string, point: Point): void {
    const points = this.series.get(id) ?? [];
    points.push(point);
    while ((points[0]?.at ?? point.at) < point.at - SPAN_S) points.shift();
    this.series.set(id, points);
  }

  /** Of what was counted since the point before; a count that fell began anew. */
  private loss(id: string, now: { received: number; lost: number } | null): number | null {
    const before = this.counted.get(id);
    if (!now) {
      this.counted.delete(id);
      return null;
    }
    this.counted.set(id, now);
    if (!before || now.received < before.received || now.lost < before.lost) return null;
    const lost = now.lost - before.lost;
    const all = now.received - before.received + lost;
    return all > 0 ? lost / all : null;
  }

  private forget(id: string): void {
    this.series.delete(id);
    this.counted.delete(id);
  }
}

/** At first the box shows a minute, and more as there is more. */
const LEAST_S = 60;

/** A line through the points, in a box of that size whose right edge is now; gaps where null. */
export function line(
  points: readonly Point[],
  value: (point: Point) => number | null,
  width: number,
  height: number,
): { readonly path: string; readonly area: string; readonly most: number } {
  const newest = points.at(-1)?.at ?? 0;
  const most = points.reduce((found, point) => Math.max(found, value(point) ?? 0), 0);
  const span = Math.max(LEAST_S, newest - (points[0]?.at ?? newest));
  const x = (at: number): number => width - ((newest - at) / span) * width;
  const y = (v: number): number => height - 1 - (most ? v / most : 0) * (height - 3);
  let path = "";
  let area = "";
  let first = 0;
  let last: number | null = null;
  const close = (): void => {
    if (last !== null) area += `L${last.toFixed(1)} ${height}L${first.toFixed(1)} ${height}Z`;
    last = null;
  };
  for (const point of points) {
    const v = value(point);
    if (v === null) {
      close();
      continue;
    }
    const step = `${last === null ? "M" : "L"}${x(point.at).toFixed(1)} ${y(v).toFixed(1)}`;
    if (last === null) first = x(point.at);
    path += step;
    area += step;
    last = x(point.at);
  }
  close();
  return { path, area, most };
}
