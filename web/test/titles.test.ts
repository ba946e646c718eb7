// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import "../src/film/title-view";
import "../src/pages/list";
import "../src/pages/watch";
import { everything, serve, settle, show, words } from "./fake-server";

// What plays is tried in a browser.
vi.mock("../src/player/helio-player", () => ({}));
vi.mock("../src/film/helio-film", () => ({}));
vi.mock("../src/chat/helio-chat", () => ({}));

const ON_AIR = { state: "on_air", readers: 3, bitrate: 9, tracks: [], urls: {} };

const players = (): string[] =>
  everything()
    .map((element) => element.localName)
    .filter((name) => name === "helio-player" || name === "helio-film");
const link = (text: string): string | null | undefined =>
  everything()
    .find((one) => one.localName === "a" && one.textContent?.trim() === text)
    ?.getAttribute("href");

const open = async (path: string): Promise<void> => {
  history.replaceState(null, "", path);
  await show("helio-watch");
  await settle();
};

beforeEach(() => document.body.replaceChildren());

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

describe("the page of a name", () => {
  it("shows a title, with a file to keep", async () => {
    const api = serve();
    api.addTitle("tides", { title: "Tides of the bay" });
    await open("/watch/tides?token=abc");
    expect(players()).toEqual(["helio-film"]);
    expect(words()).toContain("Tides of the bay");
    expect(words()).toContain("1:02:05");
    expect(link("Download")).toBe("/titles/tides.mp4?token=abc");
    expect(document.title).toContain("Tides of the bay");
  });

  it("shows the channel while it is on air, the title otherwise", async () => {
    for (const [state, player] of [
      ["on_air", "helio-player"],
      ["idle", "helio-film"],
    ]) {
      const api = serve();
      api.addTitle("yard");
      api.addChannel("yard", null, { ...ON_AIR, state });
      await open("/watch/yard");
      expect(players()).toEqual([player]);
      document.body.replaceChildren();
    }
  });

  it("has no file of a title that is being recorded", async () => {
    const api = serve();
    api.addTitle("take", { live: true });
    await open("/watch/take");
    expect(words()).toContain("Being recorded");
    expect(link("Download")).toBeUndefined();
  });

  it("waits for a channel where there is nothing", async () => {
    serve();
    await open("/watch/none");
    expect(players()).toEqual(["helio-player"]);
  });
});

describe("the list", () => {
  it("shows titles beside channels", async () => {
    const api = serve();
    api.addTitle("tides", { title: "Tides of the bay" });
    api.addTitle("take", { live: true });
    await show("helio-list");
    expect(words()).toContain("On demand");
    expect(words()).toContain("Tides of the bay");
    expect(words()).toContain("Being recorded");
    const hrefs = everything().map((one) => one.getAttribute("href"));
    expect(hrefs).toContain("/watch/tides");
  });

  it("says how to begin where there is neither", async () => {
    serve();
    await show("helio-list");
    expect(words()).toContain("Nobody is on air yet");
    expect(words()).not.toContain("On demand");
  });
});
