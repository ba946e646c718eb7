// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import "../src/pages/watch";
import { everything, serve, show } from "./fake-server";

let chats = 0;

vi.mock("../src/player/helio-player", () => ({}));

beforeEach(() => {
  chats = 0;
  vi.doMock("../src/chat/helio-chat", () => {
    chats++;
    return {};
  });
  vi.resetModules();
  vi.useFakeTimers();
  serve().addChannel("yard", null, {
    state: "on_air",
    readers: 3,
    bitrate: 9,
    tracks: [],
    urls: {},
  });
  history.replaceState(null, "", "/watch/yard");
});

afterEach(() => {
  vi.useRealTimers();
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

const become = (state: string): void => {
  const player = everything().find((one) => one.localName === "helio-player");
  player?.dispatchEvent(new CustomEvent("helio-state", { detail: { state } }));
};

const open = async (): Promise<void> => {
  const shown = show("helio-watch");
  await vi.advanceTimersByTimeAsync(900);
  await shown;
};

it.each([["playing"], ["waiting"], ["unknown"]])(
  "loads the chat once the player is %s",
  async (state) => {
    await open();
    become("connecting");
    become("buffering");
    await vi.dynamicImportSettled();
    expect(chats).toBe(0);
    become(state);
    await vi.dynamicImportSettled();
    expect(chats).toBe(1);
  },
);

it("does not have the chat wait long for a picture", async () => {
  await open();
  await vi.dynamicImportSettled();
  expect(chats).toBe(0);
  await vi.advanceTimersByTimeAsync(100);
  await vi.dynamicImportSettled();
  expect(chats).toBe(1);
});
