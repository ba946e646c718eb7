// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { History, line, SPAN_S } from "../src/admin/cluster/history";
import { layoutTree } from "../src/admin/cluster/layout";
import { chosen, fieldWords, KEPT, LogLines } from "../src/admin/cluster/log-lines";
import {
  capacity,
  findChannels,
  findUnits,
  hue,
  leadership,
  leftWords,
  merged,
  removable,
  seats,
  totals,
} from "../src/admin/cluster/model";
import { inSight, scrollTo, step } from "../src/admin/cluster/rows";
import type { ChannelView, ClusterView, LogEntry, UnitView } from "../src/api/cluster";
import { EventFeed, HIDDEN_MS, retryDelay } from "../src/api/events";

const unit = (id: string, more: Partial<UnitView> = {}): UnitView => ({
  id,
  name: `unit-${id}`,
  state: "up",
  load: 0.25,
  viewers: 7,
  places: 20,
  location: "eu/de/berlin",
  address: "10.0.0.7:7447",
  used: { bandwidth: 25, cpu: 10, memory: 5 },
  limits: { bandwidth: 100, cpu: 100, memory: 100 },
  budget: { groups: 4, places: 10 },
  groups: { yard: [[2, 7, 1, 10]], quay: [[0, 0, 0, 10]] },
  ...more,
});

const channel = (name: string, more: Partial<ChannelView> = {}): ChannelView => ({
  name,
  title: "",
  viewers: 7,
  reserved: 0,
  places: 20,
  groups: 2,
  tree: [],
  ...more,
});

const view = (more: Partial<ClusterView> = {}): ClusterView => ({
  epoch: 1,
  manager: "east",
  at: 0,
  units: [unit("a"), unit("b")],
  channels: [channel("yard")],
  ...more,
});

describe("a view", () => {
  it("keeps what newer numbers leave out", () => {
    const { groups: _, used: __, ...numbers } = unit("a", { viewers: 9 });
    const { tree: ___, ...short } = channel("yard", { viewers: 9 });
    const found = merged(view(), view({ whole: false, units: [numbers], channels: [short] }));
    expect(found.units).toEqual([unit("a", { viewers: 9 })]);
    expect(found.channels).toEqual([channel("yard", { viewers: 9 })]);
  });

  it("is replaced by a whole one", () => {
    const { groups: _, ...numbers } = unit("a");
    expect(merged(view(), view({ units: [numbers] })).units).toEqual([numbers]);
  });

  it("adds up", () => {
    expect(totals(view({ units: [unit("a"), unit("b", { state: "gone", viewers: 0 })] }))).toEqual({
      units: 2,
      up: 1,
      open: 1,
      viewers: 7,
      places: 40,
      capacity: 80,
      bandwidth: 50,
      bandwidthLimit: 200,
    });
  });
});

describe("groups of a unit", () => {
  it("are in their places", () => {
    expect(seats(unit("a")).map((seat) => seat?.channel ?? null)).toEqual([
      "quay",
      null,
      "yard",
      null,
    ]);
    expect(seats(unit("a"))[2]).toMatchObject({ viewers: 7, reserved: 1, places: 10 });
  });

  it("are all shown, also beyond a budget that became smaller", () => {
    const found = seats(unit("a", { budget: { groups: 1, places: 10 } }));
    expect(found.map((seat) => seat?.channel ?? null)).toEqual(["quay", null, "yard"]);
  });

  it("count for its capacity whether granted or not", () => {
    expect(capacity(unit("a"))).toBe(40);
  });
});

describe("a unit", () => {
  it("is removed only where nobody would notice", () => {
    expect(removable(unit("a"))).toBe(false);
    expect(removable(unit("a", { state: "draining" }))).toBe(false);
    expect(removable(unit("a", { state: "draining", viewers: 0, places: 0 }))).toBe(true);
    expect(removable(unit("a", { state: "gone" }))).toBe(true);
  });

  it("says what it still has", () => {
    const has = {
      channels: 2,
      groups: 1,
      viewers: 1200,
      reserved: 3,
      ingests: 0,
      links: 2,
      bound: 0,
    };
    expect(leftWords(has)).toBe("1,200 viewers, 1 group, 2 links to go");
    expect(leftWords({ ...has, viewers: 0, groups: 0, links: 0, ingests: 2, bound: 1 })).toBe(
      "2 sources, 1 of them bound to this unit to go",
    );
    expect(leftWords({ ...has, groups: 0, viewers: 0, links: 0 })).toBe("nearly done");
  });
});

describe("colours", () => {
  it("stay a channel's own", () => {
    // Written down: people remember them over versions of the page.
    expect(["yard", "quay", "camera-1"].map(hue)).toEqual(["yard", "quay", "camera-1"].map(hue));
    expect(hue("yard")).toBe(YARD);
  });

  it("differ among names that hardly do", () => {
    const found = Array.from({ length: 12 }, (_, i) => hue(`camera-${i}`));
    expect(new Set(found).size).toBeGreaterThan(9);
    expect(Math.max(...found) - Math.min(...found)).toBeGreaterThan(180);
    expect(found.every((one) => one >= 0 && one < 360)).toBe(true);
  });
});
const YARD = 289;

describe("search", () => {
  const units = [unit("a"), unit("b", { location: "us/east", state: "draining" })];

  it.each([
    ["", 2],
    ["UNIT-b", 1],
    ["us east", 1],
    ["10.0.0", 2],
    ["draining", 1],
    ["berlin east", 0],
  ])("for %j finds %i units", (text, count) => {
    expect(findUnits(units, text)).toHaveLength(count);
  });

  it("finds channels by name, title and number, and keeps their numbers", () => {
    const all = [channel("yard"), channel("quay", { title: "The harbour" })];
    const names = (text: string): unknown[] =>
      findChannels(all, text).map((one) => [one.number, one.channel.name]);
    expect(names("harb")).toEqual([[2, "quay"]]);
    expect(names("#1")).toEqual([[1, "yard"]]);
    expect(names("a")).toHaveLength(2);
  });
});

describe("managers", () => {
  it("are led by the one with the latest lease", () => {
    const one = { node: "a", name: "east", active: true, epoch: 3 };
    const late = { node: "b", name: "west", active: true, epoch: 4 };
    const other = { node: "c", name: "north", active: false, epoch: 9 };
    expect(leadership([one, late, other])).toEqual({ active: "west", standby: 1 });
    expect(leadership([])).toEqual({ active: "", standby: 0 });
  });
});

describe("a tree", () => {
  const tree = channel("yard", {
    ingest: "a",
    orphans: ["x"],
    tree: [
      ["x", null],
      ["a", null],
      ["b", "a"],
      ["c", "a"],
      ["d", "b"],
      ["e", "b"],
    ],
  });
  const places = (outline: boolean): Record<string, [number, number]> =>
    Object.fromEntries(
      layoutTree(tree, outline).nodes.map(({ unit, depth, row }) => [unit, [depth, row]]),
    );

  it("begins where the channel enters", () => {
    expect(places(false)).toEqual({
      a: [0, 0],
      b: [1, 0],
      d: [2, 0],
      e: [2, 1],
      c: [1, 2],
      x: [0, 3],
    });
    expect(layoutTree(tree)).toMatchObject({ rows: 4, columns: 3 });
    expect(
      layoutTree(tree)
        .nodes.filter((node) => node.orphan)
        .map((node) => node.unit),
    ).toEqual(["x"]);
  });

  it("has a row for each unit in an outline", () => {
    expect(places(true)).toEqual({
      a: [0, 0],
      b: [1, 1],
      d: [2, 2],
      e: [2, 3],
      c: [1, 4],
      x: [0, 5],
    });
  });

  it("draws each unit once, whatever it is told", () => {
    const round = channel("yard", {
      tree: [
        ["a", "b"],
        ["b", "a"],
        ["c", "not there"],
      ],
    });
    expect(
      layoutTree(round)
        .nodes.map((node) => node.unit)
        .sort(),
    ).toEqual(["a", "b", "c"]);
    expect(layoutTree(channel("yard"))).toEqual({ nodes: [], rows: 0, columns: 0 });
  });
});

describe("the last ten minutes", () => {
  it("are kept, of all and of each unit that is there", () => {
    const history = new History();
    for (let at = 0; at < 2 * SPAN_S; at += 1) history.add(view(), at);
    expect(history.of().length).toBeLessThanOrEqual(SPAN_S / 2 + 1);
    expect(history.of("a").at(-1)).toMatchObject({ viewers: 7, bandwidth: 25 });
    history.add(view({ units: [unit("b")] }), 3 * SPAN_S);
    expect(history.of("a")).toEqual([]);
  });

  it("have the loss between two counts, not since the start", () => {
    const history = new History();
    const linked = ([received, lost]: readonly [number, number]): ClusterView =>
      view({ units: [unit("a", { link: { up: true, received, lost } })] });
    for (const [at, counts] of [
      [0, [1000, 500]],
      [2, [1090, 510]],
      [4, [1090, 510]],
      [6, [10, 0]],
    ] as const) {
      history.add(linked(counts), at);
    }
    expect(history.of("a").map((point) => point.loss)).toEqual([null, 0.1, null, null]);
  });

  it("are a line with gaps", () => {
    const points = [1, 2, null, 4].map((loss, i) => ({
      at: i * 20,
      bandwidth: 0,
      viewers: 0,
      loss,
    }));
    const { path, area, most } = line(points, (point) => point.loss, 60, 10);
    expect(most).toBe(4);
    expect(path.match(/M/g)).toHaveLength(2);
    expect(area.match(/Z/g)).toHaveLength(2);
    expect(path).toContain("M60.0 2.0");
  });
});

describe("long lists", () => {
  it("draw what is in sight and a little more", () => {
    expect(inSight(0, 500, 50, 1000)).toEqual({ first: 0, end: 14 });
    expect(inSight(5_000, 500, 50, 1000)).toEqual({ first: 96, end: 114 });
    expect(inSight(99_999, 500, 50, 3)).toEqual({ first: 3, end: 3 });
  });

  it("scroll no farther than they must", () => {
    expect(scrollTo(3, 0, 500, 50)).toBe(0);
    expect(scrollTo(12, 0, 500, 50)).toBe(150);
    expect(scrollTo(3, 400, 500, 50)).toBe(150);
  });

  it("are walked by keys", () => {
    expect(step("ArrowDown", -1, 3, 10)).toBe(0);
    expect(step("ArrowUp", -1, 3, 10)).toBe(0);
    expect(step("ArrowDown", 2, 3, 10)).toBe(2);
    expect(step("PageDown", 0, 30, 10)).toBe(10);
    expect(step("End", 0, 30, 10)).toBe(29);
    expect(step("a", 0, 30, 10)).toBeNull();
  });
});

describe("log lines", () => {
  const entry = (number: number, event: string, more: Partial<LogEntry> = {}): LogEntry => ({
    node: "a",
    name: "east",
    number,
    at: "2026-11-22T04:00:00.000Z",
    level: "info",
    event,
    fields: {},
    ...more,
  });
  const batch = (...entries: LogEntry[]) => ({
    node: "a",
    name: "east",
    run: 7,
    missed: 1,
    entries,
  });
  const all = { node: "", level: "debug", text: "" } as const;

  it("come once each, those of before in front", () => {
    const lines = new LogLines();
    lines.wait();
    lines.push(batch(entry(2, "two"), entry(3, "three")));
    expect(lines.entries).toEqual([]);
    lines.begin([entry(1, "one"), entry(2, "two")]);
    lines.push(batch(entry(3, "three"), entry(4, "four")));
    expect(lines.entries.map((one) => one.event)).toEqual(["one", "two", "three", "four"]);
    expect(lines.missed).toBe(2);
    expect([...lines.nodes]).toEqual([["a", "east"]]);
  });

  it("are none that were not asked for, though they are pushed again", () => {
    const lines = new LogLines();
    lines.begin([entry(5, "asked for")]);
    lines.push({ ...batch(entry(4, "older"), entry(6, "newer")), node: "b", name: "west" });
    expect(lines.entries.map((one) => one.event)).toEqual(["asked for", "newer"]);
  });

  it("go on where a node was started anew with a clock that went back", () => {
    const lines = new LogLines();
    lines.begin([entry(3_600_000_000, "before")]);
    lines.push(batch(entry(3_600_000_001, "last")));
    lines.push({ ...batch(entry(5, "anew")), run: 8 });
    lines.push({ ...batch(entry(5, "anew"), entry(6, "on")), run: 8 });
    expect(lines.entries.map((one) => one.event)).toEqual(["before", "last", "anew", "on"]);
  });

  it("are bounded", () => {
    const lines = new LogLines();
    lines.begin(Array.from({ length: KEPT + 10 }, (_, i) => entry(i + 1, "flood")));
    expect(lines.entries).toHaveLength(KEPT);
    expect(lines.entries[0]?.number).toBe(11);
  });

  it("are chosen by node, level and text", () => {
    const entries = [
      entry(1, "joined", { fields: { channel: "yard", exception: "deep" } }),
      entry(2, "silent", { level: "warning" }),
      entry(3, "silent", { node: "b", name: "west", level: "error" }),
    ];
    const numbers = (filter: Partial<Parameters<typeof chosen>[1]>): number[] =>
      chosen(entries, { ...all, ...filter }, 10).map((one) => one.number);
    expect(numbers({})).toEqual([1, 2, 3]);
    expect(numbers({ node: "b" })).toEqual([3]);
    expect(numbers({ level: "warning" })).toEqual([2, 3]);
    expect(numbers({ text: "channel=YARD" })).toEqual([1]);
    expect(chosen(entries, all, 2).map((one) => one.number)).toEqual([2, 3]);
    expect(fieldWords(entries[0] as LogEntry)).toBe("channel=yard");
  });
});

describe("pushed events", () => {
  class Source extends EventTarget {
    static readonly CLOSED = 2;
    static readonly made: Source[] = [];
    readyState = 1;
    onopen: (() => void) | null = null;
    onerror: (() => void) | null = null;

    constructor(readonly url: string) {
      super();
      Source.made.push(this);
    }

    close(): void {
      this.readyState = 2;
    }
  }
  const heard: unknown[] = [];
  let feed: EventFeed;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal("EventSource", Source);
    Source.made.length = 0;
    heard.length = 0;
    feed = new EventFeed("/cluster/events", ["view"], {
      heard: (name, data) => heard.push([name, data]),
      connected: (is) => heard.push(is),
    });
    feed.start();
  });

  afterEach(() => {
    feed.stop();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("are heard by name", () => {
    Source.made[0]?.onopen?.();
    Source.made[0]?.dispatchEvent(new MessageEvent("view", { data: '{"epoch":3}' }));
    expect(heard).toEqual([true, ["view", { epoch: 3 }]]);
    expect(Source.made[0]?.url).toBe("/api/v1/cluster/events");
  });

  it("are asked for again after a refusal, ever later", () => {
    for (const attempt of [1, 2, 3]) {
      const source = Source.made.at(-1);
      if (source) source.readyState = 2;
      source?.onerror?.();
      vi.advanceTimersByTime(retryDelay(attempt) - 1);
      expect(Source.made).toHaveLength(attempt);
      vi.advanceTimersByTime(1);
      expect(Source.made).toHaveLength(attempt + 1);
    }
    expect(retryDelay(99)).toBe(10_000);
  });

  it("are left to the browser while it tries by itself", () => {
    const source = Source.made[0];
    if (source) source.readyState = 0;
    source?.onerror?.();
    vi.advanceTimersByTime(60_000);
    expect(Source.made).toHaveLength(1);
    expect(heard).toEqual([false]);
  });

  it("are given up while nobody looks", () => {
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    document.dispatchEvent(new Event("visibilitychange"));
    vi.advanceTimersByTime(HIDDEN_MS);
    expect(Source.made[0]?.readyState).toBe(2);
    hidden.mockReturnValue(false);
    document.dispatchEvent(new Event("visibilitychange"));
    expect(Source.made).toHaveLength(2);
    hidden.mockRestore();
  });
});
