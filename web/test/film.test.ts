// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { FilmEngine } from "../src/film/engine";
import { qualityName } from "../src/film/film-menu";
import { keep, resumeAt } from "../src/film/resume";
import {
  atLive,
  extent,
  faster,
  leap,
  loaded,
  type Ranges,
  share,
  within,
} from "../src/film/timeline";
import { facts } from "../src/film/title-view";
import { type FilmState, languageName, refusedBy, describe as say } from "../src/film/words";

const ranges = (...all: [number, number][]): Ranges => ({
  length: all.length,
  start: (index) => all[index]?.[0] ?? 0,
  end: (index) => all[index]?.[1] ?? 0,
});
const HOUR = { start: 0, end: 3600 };

describe("the timeline", () => {
  it("is what can be sought, or as long as the film", () => {
    expect(extent(ranges(), Number.NaN)).toBeNull();
    expect(extent(ranges(), Number.POSITIVE_INFINITY)).toBeNull();
    expect(extent(ranges(), 90)).toEqual({ start: 0, end: 90 });
    expect(extent(ranges([0, 60]), Number.POSITIVE_INFINITY)).toEqual({ start: 0, end: 60 });
  });

  it("keeps seeks within it", () => {
    expect(within(-5, HOUR)).toBe(0);
    expect(within(9999, HOUR)).toBe(3600);
    expect(share(900, HOUR)).toBe(0.25);
    expect(share(5, { start: 0, end: 0 })).toBe(0);
  });

  it("shows what is loaded as shares", () => {
    expect(loaded(ranges([0, 900], [1800, 2700]), HOUR)).toEqual([
      [0, 0.25],
      [0.5, 0.25],
    ]);
  });

  it("knows when a recording is watched as it happens", () => {
    expect(atLive(3590, HOUR)).toBe(true);
    expect(atLive(3000, HOUR)).toBe(false);
  });

  it("goes where keys say", () => {
    expect(leap("ArrowRight", 100, HOUR)).toBe(105);
    expect(leap("j", 4, HOUR)).toBe(0);
    expect(leap("l", 3595, HOUR)).toBe(3600);
    expect(leap("5", 0, HOUR)).toBe(1800);
    expect(leap("Home", 100, HOUR)).toBe(0);
    expect(leap("End", 100, HOUR)).toBe(3600);
    expect(leap("x", 100, HOUR)).toBeNull();
  });

  it("changes the speed by steps", () => {
    expect(faster(1, 1)).toBe(1.25);
    expect(faster(2, 1)).toBe(2);
    expect(faster(0.5, -1)).toBe(0.5);
    expect(faster(1.1, -1)).toBe(0.75);
  });
});

describe("where one left", () => {
  beforeEach(() => localStorage.clear());

  it("is where one goes on", () => {
    keep("film", 1234.5, HOUR, false, localStorage);
    expect(resumeAt("film", localStorage)).toBe(1234);
    expect(resumeAt("other", localStorage)).toBe(0);
  });

  it("is forgotten by who has just begun or has seen it", () => {
    keep("film", 1234, HOUR, false, localStorage);
    keep("film", 5, HOUR, false, localStorage);
    expect(resumeAt("film", localStorage)).toBe(0);
    keep("film", 1234, HOUR, false, localStorage);
    keep("film", 3500, HOUR, false, localStorage);
    expect(resumeAt("film", localStorage)).toBe(0);
  });

  it("is kept in short films and in recordings near their end", () => {
    keep("short", 41, { start: 0, end: 60 }, false, localStorage);
    expect(resumeAt("short", localStorage)).toBe(41);
    keep("rec", 3590, HOUR, true, localStorage);
    expect(resumeAt("rec", localStorage)).toBe(3590);
  });

  it("is kept of so many films only", () => {
    for (let i = 0; i < 80; i++) keep(`film-${i}`, 100, HOUR, false, localStorage);
    expect(resumeAt("film-0", localStorage)).toBe(0);
    expect(resumeAt("film-79", localStorage)).toBe(100);
  });

  it("does without storage, and with what others left in it", () => {
    keep("film", 100, HOUR, false, null);
    expect(resumeAt("film", null)).toBe(0);
    localStorage.setItem("heliograph.positions", '{"film": 3}');
    expect(resumeAt("film", localStorage)).toBe(0);
    localStorage.setItem("heliograph.positions", "[1, [2], null]");
    expect(resumeAt("film", localStorage)).toBe(0);
  });
});

describe("words", () => {
  it("are there for each state in which there is no picture", () => {
    const silent: FilmState[] = ["idle", "playing", "paused", "ended"];
    for (const state of silent) expect(say(state)).toBeNull();
    for (const state of ["beginning", "full", "unknown", "refused", "unsupported"] as const) {
      expect(say(state)?.title).not.toBe("");
    }
  });

  it("say what a refusal means", () => {
    expect(refusedBy(0, false)).toBe("reconnecting");
    expect(refusedBy(403, false)).toBe("refused");
    expect(refusedBy(404, false)).toBe("unknown");
    expect(refusedBy(404, true)).toBe("beginning");
    expect(refusedBy(406, false)).toBe("unsupported");
    expect(refusedBy(503, false)).toBe("full");
  });

  it("name languages and qualities", () => {
    expect(languageName("deu", "en")).toBe("German");
    expect(languageName("?", "en")).toBe("?");
    const best = { id: 0, height: 720, bitrate: 4_000_000 };
    expect(qualityName(best, [best])).toBe("720p");
    expect(qualityName(best, [best, { ...best, id: 1 }])).toBe("720p, 4.0 Mbit/s");
    expect(qualityName({ ...best, height: 0 }, [])).toBe("4.0 Mbit/s");
  });

  it("tell what a title is", () => {
    const track = (kind: string, codec: string, language = "") => ({ kind, codec, language });
    const title = {
      name: "film",
      title: "",
      duration: 3725,
      live: false,
      created: "2026-03-01T00:00:00Z",
      bitrate: 5_300_000,
      tracks: [track("video", "h264"), track("audio", "aac", "eng"), track("audio", "aac", "fra")],
      readers: 0,
      channel: "",
      picture: null,
      urls: { page: "", hls: "", mp4: "" },
    };
    const rows = Object.fromEntries(facts(title));
    expect(rows.Length).toBe("1:02:05");
    expect(rows.Format).toBe("H.264, AAC");
    expect(rows.Languages).toMatch(/, /);
    expect(Object.fromEntries(facts({ ...title, live: true }))["Recorded so far"]).toBe("1:02:05");
  });
});

const made: FakeHls[] = [];

class FakeHls {
  static isSupported = (): boolean => true;
  levels: { height: number; bitrate: number }[] = [];
  audioTracks = [];
  currentLevel = -1;
  nextLevel = -1;
  autoLevelEnabled = true;
  source = "";
  readonly calls: string[] = [];
  private readonly heard = new Map<string, (event: string, data: unknown) => void>();

  constructor(
    readonly config: {
      startPosition: number;
      xhrSetup: (request: XMLHttpRequest, url: string) => void;
    },
  ) {
    made.push(this);
  }

  on(event: string, call: (event: string, data: unknown) => void): void {
    this.heard.set(event, call);
  }

  fails(data: object): void {
    this.heard.get("error")?.("error", { fatal: true, type: "network", details: "", ...data });
  }

  loadSource(url: string): void {
    this.source = url;
  }

  attachMedia(): void {}
  startLoad = (at: number): void => void this.calls.push(`startLoad ${at}`);
  destroy = (): void => void this.calls.push("destroy");
  recoverMediaError = (): void => void this.calls.push("recover");
}

vi.mock("hls.js", () => ({
  default: FakeHls,
  Events: { ERROR: "error", MANIFEST_PARSED: "parsed" },
  ErrorTypes: { MEDIA_ERROR: "media" },
  ErrorDetails: { MANIFEST_INCOMPATIBLE_CODECS_ERROR: "codecs" },
}));

describe("the engine", () => {
  const said: (FilmState | null)[] = [];
  let skipped = 0;
  let engine: FilmEngine;
  let video: HTMLVideoElement;
  const last = (): FakeHls => made.at(-1) as FakeHls;

  beforeEach(async () => {
    made.length = said.length = skipped = 0;
    vi.useFakeTimers();
    video = document.createElement("video");
    engine = new FilmEngine(video, {
      trouble: (state) => said.push(state),
      choices: () => {},
      skipped: () => {
        skipped++;
      },
    });
    await engine.load("/hls/film/index.m3u8", 77, false);
  });

  afterEach(() => {
    engine.destroy();
    vi.useRealTimers();
  });

  it("begins where it is told to", () => {
    expect(last().source).toBe("/hls/film/index.m3u8");
    expect(last().config.startPosition).toBe(77);
  });

  it("names itself to its own server, by the same name for as long as it plays", async () => {
    const told: string[] = [];
    const ask = (url: string): void => {
      const request = new XMLHttpRequest();
      vi.spyOn(request, "setRequestHeader").mockImplementation((name, value) => {
        told.push(`${name}: ${value}`);
      });
      last().config.xhrSetup(request, url);
      expect(request.readyState).toBe(1);
    };
    ask("/hls/film/index.m3u8");
    await engine.load("/hls/film/index.m3u8", 0, false);
    ask(`${location.origin}/hls/film/v0/t1-0.mp4`);
    ask("https://elsewhere.example/hls/film/index.m3u8");
    expect(told).toHaveLength(2);
    expect(told[0]).toMatch(/^CMCD-Session: sid="[0-9a-f]{32}"$/);
    expect(told[1]).toBe(told[0]);
  });

  it("comes again by itself, at the same place, when the server is away", async () => {
    last().fails({ response: { code: 0 } });
    expect(said).toEqual(["reconnecting"]);
    expect(last().calls).toContain("destroy");
    await vi.advanceTimersByTimeAsync(6_000);
    expect(made).toHaveLength(2);
    expect(last().config.startPosition).toBe(77);
  });

  it("does not ask again for what it may not have", async () => {
    last().fails({ response: { code: 403 } });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(said).toEqual(["refused"]);
    expect(made).toHaveLength(1);
    engine.retry();
    await vi.advanceTimersByTimeAsync(10);
    expect(made).toHaveLength(2);
  });

  it("passes over what is lost", () => {
    last().fails({ response: { code: 410 }, frag: { start: 80, duration: 4 } });
    expect(skipped).toBe(1);
    expect(last().calls).toEqual(["startLoad 84.1"]);
    expect(video.currentTime).toBeCloseTo(84.1);
    expect(said).toEqual([]);
  });

  it("mends the decoder once, then begins anew", () => {
    last().fails({ type: "media" });
    expect(last().calls).toEqual(["recover"]);
    last().fails({ type: "media" });
    expect(said).toEqual(["reconnecting"]);
  });

  it("says that a codec does not fit", () => {
    last().fails({ details: "codecs" });
    expect(said).toEqual(["unsupported"]);
  });

  it("has nothing more to say of a film that was left", async () => {
    const old = last();
    await engine.load("/hls/other/index.m3u8", 0, false);
    old.fails({ response: { code: 0 } });
    expect(said).toEqual([]);
  });
});
