// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, it, vi } from "vitest";

const asked: string[] = [];
/** The page was made. */
let made = false;
let answered: () => void;

vi.mock("../src/webrtc/early", () => ({
  begin: (url: string) => {
    asked.push(url);
    const answer = new Promise<void>((resolve) => {
      answered = resolve;
    });
    return { offered: Promise.resolve(), answered: answer };
  },
}));
const open = async (path: string): Promise<void> => {
  history.replaceState(null, "", path);
  await import("../src/pages/watch-first");
  await vi.advanceTimersByTimeAsync(0);
};

beforeEach(() => {
  vi.useFakeTimers();
  vi.resetModules();
  asked.length = 0;
  made = false;
  localStorage.clear();
  // Made anew each time.
  vi.doMock("../src/pages/watch", () => {
    made = true;
    return {};
  });
  vi.stubGlobal("RTCPeerConnection", class {});
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

it("asks for the channel first, and makes the page once there is an answer", async () => {
  await open("/watch/yard?key=k1&x=y");
  expect(asked).toEqual([`${location.origin}/whep/yard?key=k1`]);
  expect(made).toBe(false);
  answered();
  await vi.waitFor(() => expect(made).toBe(true));
});

it("makes the page also where the answer is long in coming", async () => {
  await open("/watch/yard");
  expect(made).toBe(false);
  await vi.advanceTimersByTimeAsync(50);
  await vi.waitFor(() => expect(made).toBe(true));
});

it.each([
  ["another way is asked for", "/watch/yard?way=hls"],
  ["a link is for one use", "/watch/yard?token=v1.a.b"],
  ["no channel is named", "/watch/%20"],
])("makes the page at once where %s", async (_why, path) => {
  await open(path);
  await vi.waitFor(() => expect(made).toBe(true));
  expect(asked).toEqual([]);
});

it("makes the page at once where the person chose another way before, or the browser has none", async () => {
  localStorage.setItem("heliograph.way", "websocket");
  await open("/watch/yard");
  await vi.waitFor(() => expect(made).toBe(true));
  localStorage.clear();
  vi.resetModules();
  vi.stubGlobal("RTCPeerConnection", undefined);
  await open("/watch/yard");
  expect(asked).toEqual([]);
});
