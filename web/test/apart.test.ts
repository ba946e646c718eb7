// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Apart } from "../src/player/apart";

/** What was written, and how many more pictures the track takes before it is late. */
let written: FakePicture[] = [];
let room = 1;
let stopped = 0;

class FakePicture {
  closed = false;
  close(): void {
    this.closed = true;
  }
}

class FakeGenerator {
  readonly writable = {
    getWriter: () => ({
      get desiredSize() {
        return room;
      },
      write: async (picture: FakePicture) => void written.push(picture),
      releaseLock: () => undefined,
    }),
  };
  stop(): void {
    stopped++;
  }
}

const picture = (): VideoFrame => new FakePicture() as unknown as VideoFrame;

let video: HTMLVideoElement;

beforeEach(() => {
  written = [];
  room = 1;
  stopped = 0;
  vi.stubGlobal("MediaStreamTrackGenerator", FakeGenerator);
  vi.stubGlobal("MediaStream", class {});
  vi.stubGlobal("VideoFrame", FakePicture);
  video = document.createElement("video");
  vi.spyOn(video, "play").mockResolvedValue();
  Object.defineProperty(video, "srcObject", { writable: true, value: null });
});

afterEach(() => vi.unstubAllGlobals());

it("is for browsers only that make videos of pictures", () => {
  expect(Apart.able).toBe(true);
  vi.stubGlobal("MediaStreamTrackGenerator", undefined);
  expect(Apart.able).toBe(false);
});

it("begins with what is seen, shows what follows, and drops what comes too late", async () => {
  const apart = new Apart(video, () => undefined);
  const early = picture();
  apart.show(early);
  expect((early as unknown as FakePicture).closed).toBe(true);
  await apart.begin(document.createElement("canvas"));
  expect(apart.on).toBe(true);
  expect(video.muted).toBe(true);
  expect(written).toHaveLength(1);
  apart.show(picture());
  room = 0;
  const late = picture();
  apart.show(late);
  expect(written).toHaveLength(2);
  expect((late as unknown as FakePicture).closed).toBe(true);
});

it("ends when the video is back in the page, and can begin again", async () => {
  const ended = vi.fn();
  const apart = new Apart(video, ended);
  for (let time = 1; time <= 2; time++) {
    await apart.begin(document.createElement("canvas"));
    video.dispatchEvent(new Event("leavepictureinpicture"));
    expect(apart.on).toBe(false);
    expect(ended).toHaveBeenCalledTimes(time);
    expect(stopped).toBe(time);
  }
});
