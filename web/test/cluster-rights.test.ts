// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Ask } from "../src/admin/cluster/dialog";
import { findUnits } from "../src/admin/cluster/model";
import {
  administers,
  barred,
  type Domains,
  domainsIn,
  rightsOf,
} from "../src/admin/cluster/rights";
import type { ChannelView, ClusterView, UnitView } from "../src/api/cluster";
import { oversees } from "../src/api/session";
import "../src/pages/cluster";
import { everything, serve, settle, show } from "./fake-server";

const unit = (id: string, more: Partial<UnitView> = {}): UnitView => ({
  id,
  name: `unit-${id}`,
  state: "up",
  load: 0.25,
  viewers: 7,
  places: 20,
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

describe("what administrators of a part of the cluster may order", () => {
  const all: ClusterView = {
    epoch: 1,
    manager: "left",
    at: 0,
    units: [unit("a", { domain: "asia" }), unit("b", { domain: "europe" }), unit("c")],
    channels: [],
  };
  const [here, there, nowhere] = all.units as [UnitView, UnitView, UnitView];
  const drain = (of: UnitView) => ({ kind: "drain", unit: of }) as const;
  const byId = new Map(all.units.map((one) => [one.id, one]));
  const why = (ask: Ask, domains: Domains, broadcasts = domains === null): string =>
    barred(ask, { domains, broadcasts }, byId);

  it("is what concerns units of their domains", () => {
    expect(why(drain(here), ["asia"])).toBe("");
    expect(why(drain(there), ["asia"])).toContain("domain");
    expect(why(drain(nowhere), ["asia"])).toContain("domain");
    expect(all.units.map((one) => administers(["europe"], one))).toEqual([false, true, false]);
  });

  it("is not what concerns the whole cluster", () => {
    for (const kind of ["open", "close"] as const) {
      expect(why({ kind, channel: channel("yard") }, ["asia"])).not.toBe("");
      expect(why({ kind, channel: channel("yard") }, null)).toBe("");
    }
  });

  it("is to shrink what no unit of others has", () => {
    const shrink = (...units: string[]): Ask => ({
      kind: "shrink",
      channel: channel("yard", { tree: units.map((id) => [id, null]) }),
    });
    expect(why(shrink("a"), ["asia"])).toBe("");
    expect(why(shrink("a", "b"), ["asia"])).toContain("have it");
    expect(why(shrink("a", "b"), ["asia", "europe"])).toBe("");
    expect(why(shrink("a", "c"), ["asia", "europe"])).not.toBe("");
    expect(why(shrink("away"), ["asia"])).not.toBe("");
    expect(why(shrink("a", "b"), null)).toBe("");
  });

  it("is to move what enters at units of theirs to another one of theirs", () => {
    const move = (ingest: string | null, next_ingest: string | null = null): Ask => ({
      kind: "move",
      channel: channel("yard", { ingest, next_ingest }),
    });
    expect(why(move("a"), ["asia"])).toContain("No other unit");
    expect(why(move("a"), ["asia", "europe"])).toBe("");
    expect(why(move("b"), ["asia"])).toContain("where it enters");
    expect(why(move("a", "c"), ["asia", "europe"])).toContain("where it enters");
    expect(why(move("a", "b"), ["asia", "europe"])).toBe("");
    expect(why(move(null), ["asia"])).toBe("");
    expect(why(move("b"), null)).toBe("");
  });

  it("is to extend on units of theirs that are up", () => {
    const extend: Ask = { kind: "extend", channel: channel("yard") };
    expect(why(extend, ["asia"])).toBe("");
    expect(why(extend, ["africa"])).toContain("No unit");
  });

  it("is to make and delete channels where the account may have some", () => {
    const asks: Ask[] = [{ kind: "create" }, { kind: "delete", channel: channel("yard") }];
    for (const ask of asks) {
      expect(why(ask, ["asia"])).not.toBe("");
      expect(why(ask, ["asia"], true)).toBe("");
    }
  });

  it("is everything for administrators", () => {
    expect(why(drain(nowhere), null)).toBe("");
    const eva = { account: null, administrator: true, domains: [], setup: false };
    expect(rightsOf(eva)).toEqual({ domains: null, broadcasts: true });
    const some = { account: null, administrator: false, domains: ["asia"], setup: false };
    expect(rightsOf(some)).toEqual({ domains: ["asia"], broadcasts: false });
    expect(rightsOf(null)).toEqual({ domains: [], broadcasts: false });
    expect(oversees(some)).toBe(true);
    expect(oversees({ ...some, domains: [] })).toBe(false);
  });

  it("is shown by domain", () => {
    expect(domainsIn(all, [])).toEqual(["asia", "europe"]);
    expect(domainsIn(all, ["", "africa", "asia"])).toEqual(["africa", "asia", "europe"]);
    expect(findUnits(all.units, "europe")).toEqual([there]);
  });
});

describe("the page of the cluster", () => {
  beforeEach(() => document.body.replaceChildren());

  afterEach(() => {
    document.body.replaceChildren();
    vi.unstubAllGlobals();
  });

  /** The page for an account that administers domains. */
  async function open(name: string, domains: string[], view: Partial<ClusterView>): Promise<void> {
    const account = serve(name).accounts.get(name);
    if (account) account.domains = domains;
    const others = fetch;
    const { units = [], channels = [] } = view;
    const body = { epoch: 1, manager: "left", at: 0, units, channels, managers: [] };
    vi.stubGlobal("fetch", (path: string, init?: RequestInit) =>
      path === "/api/v1/cluster"
        ? Promise.resolve(new Response(JSON.stringify(body), { status: 200 }))
        : others(path, init),
    );
    await show("helio-cluster");
  }

  const units = [unit("a", { domain: "europe" }), unit("b")];
  const chooser = (): HTMLSelectElement =>
    everything().find((one) => one.matches("select.domain")) as HTMLSelectElement;
  const label = (one: Element): string => one.textContent?.trim() ?? "";
  const listed = (): number =>
    (everything().find((one) => one.localName === "unit-list") as unknown as { units: UnitView[] })
      .units.length;

  it("says whose units are listed though none has reported, and lists others", async () => {
    await open("vera", ["asia"], { units });
    expect(chooser().value).toBe("asia");
    expect(listed()).toBe(0);
    chooser().value = "";
    chooser().dispatchEvent(new Event("change"));
    await settle();
    expect(listed()).toBe(2);
    expect([...chooser().options].map((one) => one.value)).toEqual(["", "asia", "europe"]);
  });

  it.each([
    ["vera", ["New…", "Shrink", "Move", "Close", "Delete"]],
    ["ben", ["Shrink", "Move", "Close"]],
    ["ada", []],
  ])("greys for %s what the server would refuse, and says why", async (name, grey) => {
    const yard = channel("yard", { ingest: "b", tree: [["b", null]] });
    await open(name, ["europe"], { units, channels: [yard] });
    const list = everything().find((one) => one.localName === "channel-list");
    list?.dispatchEvent(new CustomEvent("channel-chosen", { detail: "yard" }));
    await settle();
    const buttons = everything().filter(
      (one) => one.matches("button.press") && label(one) !== "Pause", // of the log
    );
    expect(buttons.map(label)).toEqual(["Extend", "Shrink", "Move", "Close", "Delete", "New…"]);
    const off = buttons.filter((one) => (one as HTMLButtonElement).disabled);
    expect(off.map(label).sort()).toEqual([...grey].sort());
    expect(off.every((one) => one.getAttribute("title"))).toBe(true);
  });
});
