// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { findUnits } from "../src/admin/cluster/model";
import { administers, barred, domainsIn, domainsOf } from "../src/admin/cluster/rights";
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

  it("is what concerns units of their domains", () => {
    expect(barred(drain(here), ["asia"])).toBe("");
    expect(barred(drain(there), ["asia"])).toContain("domain");
    expect(barred(drain(nowhere), ["asia"])).toContain("domain");
    expect(all.units.map((one) => administers(["europe"], one))).toEqual([false, true, false]);
  });

  it("is not what concerns the whole cluster", () => {
    for (const kind of ["open", "close"] as const) {
      expect(barred({ kind, channel: channel("yard") }, ["asia"])).not.toBe("");
      expect(barred({ kind, channel: channel("yard") }, null)).toBe("");
    }
    expect(barred({ kind: "move", channel: channel("yard") }, ["asia"])).toBe("");
  });

  it("is everything for administrators", () => {
    expect(barred(drain(nowhere), null)).toBe("");
    expect(domainsOf({ account: null, administrator: true, domains: [], setup: false })).toBeNull();
    const some = { account: null, administrator: false, domains: ["asia"], setup: false };
    expect(domainsOf(some)).toEqual(["asia"]);
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
});
