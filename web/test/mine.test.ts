// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { suggestName, valuesOf, type Watchers, watchersOf } from "../src/mine/access";
import { encoderLines } from "../src/mine/encoders";
import "../src/live/choice";
import "../src/live/channel-title";
import "../src/pages/mine";
import { everything, fill, press, serve, settle, show, words } from "./fake-server";

beforeEach(() => document.body.replaceChildren());

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

const copied = (): string[] =>
  everything()
    .filter((element) => element.localName === "copy-line")
    .map((element) => element.getAttribute("text") ?? "");

describe("my channels", () => {
  it("makes one, with a name taken from the title, and offers keys for it", async () => {
    const api = serve("ben");
    await show("helio-mine");
    expect(words()).toContain("Your first channel");
    await fill({ title: "Søndagskonsert på Åsen!", watchers: "private" });
    await press("Make the channel");
    expect(api.audit.at(-1)).toMatchObject({ action: "channel.create" });
    expect(words()).toContain("Søndagskonsert på Åsen!");
    expect(words()).toContain("private");
    expect(words()).toContain("Copy it now.");
    expect(copied()[2]).toBe(`sondagskonsert-pa-asen?key=${copied()[0]}`);
  });

  it("says when a name is taken", async () => {
    const api = serve("ben");
    api.addChannel("yard", "ada");
    await show("helio-mine");
    await fill({ title: "My yard", name: "yard" });
    await press("Make the channel");
    expect(words()).toContain("Another channel has this name already.");
  });

  it("shows a key once, with lines for other programs, and revokes it after asking", async () => {
    const api = serve("ben");
    api.addChannel("yard", "ben", { title: "The yard" });
    await show("helio-mine");
    await press("Stream keys");
    await fill({ label: "Studio" });
    await press("Make a key");
    const [key = "", server, obs] = copied();
    expect(server).toBe("rtmp://127.0.0.1:1935/live");
    expect(obs).toBe(`yard?key=${key}`);
    expect(copied().some((line) => line.startsWith("ffmpeg ") && line.includes(key))).toBe(true);
    await press("I have it");
    expect(copied()).toEqual([]);
    expect(words()).not.toContain(key);
    await press("Revoke");
    expect(api.audit.at(-1)?.action).toBe("key.create");
    await press("Revoke");
    expect(api.audit.at(-1)?.action).toBe("key.revoke");
    expect(words()).toContain("revoked");
  });

  it("makes links and withdraws them after asking", async () => {
    const api = serve("ben");
    api.addChannel("yard", "ben", { private: true });
    await show("helio-mine");
    await press("Links");
    await fill({ subject: "The choir", lifetime: "3600", single: true });
    await press("Make a link");
    expect(copied()[0]).toMatch(/\/watch\/yard\?token=v1\./);
    expect(words()).toContain("for one use");
    await press("Withdraw all links");
    expect(api.audit.at(-1)?.action).toBe("token.issue");
    await press("Withdraw all");
    expect(api.audit.at(-1)?.action).toBe("token.revoke-all");
    expect(copied()).toEqual([]);
  });

  it("changes and deletes, and asks before", async () => {
    const api = serve("ben");
    api.addChannel("yard", "ben", { title: "The yard" });
    api.addChannel("hers", "ada");
    await show("helio-mine");
    expect(words()).not.toContain("hers");
    await press("Settings");
    await fill({ title: "The garden", watchers: "invited", guests: false });
    await press("Save");
    expect(words()).toContain("The garden");
    expect(words()).toContain("who has a link");
    await press("Delete");
    expect(api.audit.at(-1)?.action).toBe("channel.edit");
    await press("Delete it");
    expect(api.audit.at(-1)?.action).toBe("channel.delete");
    expect(words()).not.toContain("The garden");
  });

  it("tells strangers and viewers what they lack", async () => {
    serve();
    await show("helio-mine");
    expect(words()).toContain("sign in to see yours");
    document.body.replaceChildren();
    serve("vera");
    await show("helio-mine");
    expect(words()).toContain("make you a broadcaster");
  });
});

describe("before going on air", () => {
  it("offers one's own channels", async () => {
    const api = serve("ben");
    api.addChannel("yard", "ben", { title: "The yard" });
    await show("live-choice");
    expect(words()).toContain("Your channels");
    expect(words()).toContain("The yard");
    document.body.replaceChildren();
    serve();
    await show("live-choice");
    expect(words()).not.toContain("Your channels");
    expect(words()).toContain("Sign in");
  });

  it("lets an owner change the title", async () => {
    const api = serve("ben");
    api.addChannel("yard", "ben");
    const title = await show("channel-title");
    title.setAttribute("name", "yard");
    await settle();
    expect(words()).not.toContain("Change title");
    title.toggleAttribute("editable", true);
    await settle();
    await press("Change title");
    await fill({ title: "Harvest" });
    await press("Save");
    expect(api.audit.at(-1)).toMatchObject({ action: "channel.edit", subject: "yard" });
  });
});

describe("who may watch", () => {
  it.each<Watchers>(["everyone", "accounts", "invited", "private"])("keeps %s", (watchers) => {
    expect(watchersOf(valuesOf(watchers))).toBe(watchers);
  });

  it("hides a private channel whatever else it says", () => {
    expect(watchersOf({ private: true, view_access: "everyone" })).toBe("private");
  });
});

describe("names", () => {
  it.each([
    ["The Yard, at night", "the-yard-at-night"],
    ["Über Größe", "uber-grosse"],
    ["  …  ", ""],
    ["日本", ""],
    [`${"a".repeat(63)} b`, "a".repeat(63)],
  ])("of %s is %s", (title, name) => {
    expect(suggestName(title)).toBe(name);
  });
});

describe("lines for encoders", () => {
  const urls = { rtmp: "rtmp://tv.example:1935/live", rtsp: "rtsp://tv.example:8554/yard" };

  it("name the server's host and ports", () => {
    const lines = encoderLines("yard", "K", urls);
    expect(lines.obsServer).toBe("rtmp://tv.example:1935/live");
    expect(lines.ffmpeg).toContain("'rtsp://yard:K@tv.example:8554/yard'");
    expect(lines.gstreamer).toContain("rtsp://yard:K@tv.example:8554/yard");
  });

  it("use RTMP where the server has no RTSP", () => {
    const lines = encoderLines("yard", "K", { ...urls, rtsp: "" });
    expect(lines.ffmpeg).toContain("'rtmp://tv.example:1935/live/yard?key=K'");
    expect(lines.gstreamer).toContain("rtmp2sink");
  });

  it("leave out what the server does not take", () => {
    const lines = encoderLines("yard", "K", { ...urls, rtmp: "" });
    expect(lines.obsServer).toBe("");
    const none = encoderLines("yard", "K", { rtmp: "", rtsp: "" });
    expect([none.ffmpeg, none.gstreamer]).toEqual(["", ""]);
  });
});
