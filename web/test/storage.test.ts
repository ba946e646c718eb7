// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { forceWords } from "../src/admin/storage/asks";
import {
  byNode,
  changeLine,
  changeShare,
  checkLine,
  diskLine,
  filesLine,
  fill,
  goodName,
  importLine,
  importShare,
  layoutLine,
  nameFor,
  others,
  protection,
  protectionLine,
  readAmount,
  recordingLine,
  type Sending,
  scrubLine,
  sendingLine,
  standing,
  titleFor,
  tracksLine,
} from "../src/admin/storage/model";
import { Uploads } from "../src/admin/storage/uploads";
import { ApiError } from "../src/api/client";
import {
  type Check,
  type Disk,
  type Import,
  type Recording,
  uploadTitle,
  type Volume,
} from "../src/api/storage";
import "../src/pages/storage";
import { serve, settle, show, words } from "./fake-server";

const disk = (id: string, node: string, more: Partial<Disk> = {}): Disk => ({
  id,
  node,
  node_name: `node-${node}`,
  path: `/mnt/${id}`,
  state: "active",
  up: true,
  bandwidth: 180e6,
  fault: "",
  capacity: 1e12,
  used: 4e11,
  free: 6e11,
  blocks: 10,
  late: 0,
  errors: 0,
  ...more,
});

const volume = (data: number, parity: number, disks: readonly Disk[]): Volume => ({
  name: "films",
  version: 1,
  scheme: { data, parity, code: "xor", block: 1 << 20 },
  policy: "rendezvous",
  limits: { move: 50e6, scrub: 10e6 },
  space: { capacity: 3e12, used: 1e12, free: 2e12 },
  titles: 1,
  change: null,
  scrub: { share: 0.25, rounds: 2, found: 0, mended: 0 },
  lost: { blocks: 0, titles: [] },
  warnings: [],
  disks,
  groups: { logical: 4 },
});

const spread = (...nodes: string[]): readonly Disk[] =>
  nodes.map((node, at) => disk(String(at), node));

beforeEach(() => {
  document.body.replaceChildren();
});

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

describe("what a volume survives", () => {
  it.each([
    [1, 0, 1, 1, "no disk"],
    [1, 1, 2, 2, "any one disk"],
    [2, 1, 3, 1.5, "any one disk"],
    [4, 2, 6, 1.5, "any two disks"],
  ])("by %i + %i", (data, parity, needs, factor, survives) => {
    expect(protection(data, parity)).toEqual({ data, parity, needs, factor, survives });
  });

  it.each([
    [2, 1, spread("a", "b", "c"), "any one disk, or of a whole node"],
    [2, 1, spread("a", "b", "b"), "any one disk"],
    [1, 1, spread("a", "a"), "any one disk"],
    // Two members on each of three nodes.
    [4, 2, spread("a", "a", "b", "b", "c", "c"), "any two disks, or of a whole node"],
    [4, 2, spread("a", "a", "a", "b", "b", "b"), "any two disks"],
  ])("%i + %i over nodes", (data, parity, disks, told) => {
    expect(protectionLine(volume(data, parity, disks))).toBe(`Survives the loss of ${told}`);
  });

  it("counts no disks that leave", () => {
    const disks = [...spread("a", "b"), disk("2", "c", { state: "leaving" })];
    expect(protectionLine(volume(2, 1, disks))).toBe("Survives the loss of any one disk");
    expect(protectionLine(volume(1, 0, disks))).toContain("No redundancy");
  });

  it("says in clear words what taking a disk for lost means", () => {
    const [first, second, third] = spread("a", "b", "c") as [Disk, Disk, Disk];
    const away = { ...second, up: false };
    expect(forceWords(volume(1, 0, [first]), first)).toContain("titles lose parts for good");
    expect(forceWords(volume(2, 1, [first, second, third]), first)).toContain("made anew");
    expect(forceWords(volume(2, 1, [first, away, third]), first)).toContain(
      "With it 2 disks are gone, and the volume bears 1",
    );
    expect(forceWords(volume(2, 1, [first, away, third]), away)).toContain("made anew");
  });
});

describe("disks and what goes on", () => {
  it("groups by node, in the order in which they came", () => {
    const disks = [...spread("b", "a", "b"), disk("9", "c".repeat(16), { node_name: "" })];
    expect(byNode(disks).map(({ name, disks }) => [name, disks.length])).toEqual([
      ["node-b", 2],
      ["node-a", 1],
      ["Node cccccccc", 1],
    ]);
  });

  it("puts what is wanted of a disk before whether it is there", () => {
    expect(standing(disk("1", "a"))).toBe("active");
    expect(standing(disk("1", "a", { state: "leaving" }))).toBe("leaving");
    expect(standing(disk("1", "a", { up: false }))).toBe("away");
    expect(standing(disk("1", "a", { up: false, state: "lost" }))).toBe("lost");
  });

  it("tells of a disk what is known", () => {
    expect(diskLine(disk("1", "a", { late: 2, errors: 1 }))).toBe(
      "600 GB free of 1.0 TB · reads 180 MB/s · 10 blocks · 2 late reads · 1 error",
    );
    const nothing = { used: null, free: null, blocks: null, late: null, errors: null };
    expect(diskLine(disk("1", "a", nothing))).toBe("1.0 TB · reads 180 MB/s");
    expect(fill(1e12, 6e11)).toBeCloseTo(0.4);
    expect(fill(1e12, null)).toBeNull();
    expect(fill(1e12, 2e12)).toBe(0);
  });

  it("tells how far a change is", () => {
    const change = {
      bytes_done: 25e9,
      bytes_total: 1e11,
      moved: 1,
      lacking: 75_000,
      forecast_s: 600,
      waiting: [],
    };
    expect(changeLine(change)).toBe(
      "25.0 GB of about 100 GB · 75,000 blocks to go · about 10 min left",
    );
    expect(changeShare(change)).toBe(0.25);
    // Blocks differ in size: there may be more than was thought.
    expect(changeShare({ ...change, bytes_done: 2e11 })).toBe(1);
    expect(changeLine({ ...change, bytes_total: 0 })).toContain("Finding out");
    expect(changeShare({ ...change, bytes_total: 0 })).toBeNull();
  });

  it("tells of checking, and how blocks lie", () => {
    const found = volume(2, 1, spread("a", "b", "c"));
    expect(scrubLine(found)).toBe("25 % of round 3 · nothing damaged found");
    const damaged = { ...found, scrub: { ...found.scrub, found: 1, mended: 1 } };
    expect(scrubLine(damaged)).toContain("1 damaged block found, 1 mended");
    expect(scrubLine({ ...found, limits: { move: 1, scrub: 0 } })).toContain("Switched off");
    expect(layoutLine(found)).toBe(
      "3 disks as 4 logical disks · groups of 2 + 1 · blocks of 1 MiB · placed by rendezvous",
    );
    expect(layoutLine(volume(1, 1, spread("a", "b")))).toContain("2 copies of each block");
    expect(layoutLine(volume(1, 0, spread("a")))).toContain("blocks alone");
  });
});

describe("titles", () => {
  it.each([
    ["film.mp4", "film"],
    ["Der Fall, Teil 2.mkv", "Der-Fall-Teil-2"],
    ["..mp4", "title"],
    ["日本.mp4", "title"],
    ["a.b.c.mov", "a.b.c"],
    [".hidden", "hidden"],
    [`${"x".repeat(90)}.mp4`, "x".repeat(64)],
  ])("are named as the file %s", (file, name) => {
    expect(nameFor(file, new Set())).toBe(name);
    expect(goodName(name)).toBe(true);
  });

  it("get names that no other has", () => {
    expect(nameFor("film.mp4", new Set(["film", "film-2"]))).toBe("film-3");
    const long = "x".repeat(64);
    expect(goodName(nameFor(`${long}.mp4`, new Set([long])))).toBe(true);
    expect(titleFor("Der Fall.mkv")).toBe("Der Fall");
  });

  it("tell their tracks by kind", () => {
    const track = (id: number, kind: string, codec: string, language = "") => ({
      id,
      kind,
      codec,
      language,
    });
    expect(
      tracksLine([
        track(0, "video", "h264"),
        track(1, "audio", "aac", "eng"),
        track(2, "audio", "aac", "deu"),
      ]),
    ).toBe("video h264 · audio aac (eng), aac (deu)");
    // Renditions of one picture.
    expect(tracksLine([track(0, "video", "h264"), track(1, "video", "h264")])).toBe(
      "video 2 × h264",
    );
    expect(tracksLine([])).toBe("");
  });

  it("tell what came of a check", () => {
    const check: Check = {
      name: "film",
      done: 5,
      total: 10,
      ended: null,
      error: "",
      good: null,
      count: 0,
      faults: [],
    };
    expect(checkLine(check)).toBe("Reading it: 5 of 10 blocks");
    const ended = { ...check, done: 10, ended: 1 };
    expect(checkLine({ ...ended, good: true })).toContain("all 10 blocks");
    expect(checkLine({ ...ended, error: "no disk" })).toBe("The check failed: no disk.");
    const faults = [{ block: 3, kind: "lost", reason: "it cannot be read" }];
    expect(checkLine({ ...ended, good: false, count: 1, faults })).toBe(
      "1 fault; the first in block 3: it cannot be read.",
    );
  });
});

describe("imports and recordings", () => {
  const one: Import = {
    id: "1",
    name: "film",
    title: "",
    volume: "films",
    file: "film.mp4",
    renditions: 0,
    came: 0,
    state: "receiving",
    bytes: 5e6,
    total: 1e7,
    media: 0,
    duration: 0,
    remaining: null,
    remarks: [],
    error: "",
  };
  const sending: Sending = {
    name: "film",
    title: "",
    volume: "",
    file: "film.mp4",
    renditions: 0,
    size: 1e7,
    sent: 5e6,
    state: "sending",
    error: "",
  };

  it("tell how far they are", () => {
    expect(importLine(one)).toBe("Being sent · 5.0 MB of 10.0 MB");
    expect(importShare(one)).toBe(0.5);
    expect(importShare({ ...one, total: null })).toBeNull();
    expect(importShare({ ...one, state: "waiting" })).toBeNull();
    const cut: Import = { ...one, state: "importing", media: 30, duration: 120, remaining: 9 };
    expect(importLine(cut)).toBe("Being cut into blocks · 00:30 of 02:00 · about 9 s left");
    expect(importShare(cut)).toBe(0.25);
    expect(importLine({ ...one, state: "failed", error: "no film" })).toBe("Failed · no film");
    expect(importLine({ ...one, state: "done", remarks: ["no sound"] })).toBe("Done · no sound");
    expect(sendingLine(sending)).toBe("Being sent · 5.0 MB of 10.0 MB");
    expect(sendingLine({ ...sending, state: "queued" })).toBe("Waits to be sent · 10.0 MB");
  });

  it("show a file that this page sends once", () => {
    expect(others([one], [sending])).toEqual([]);
    expect(others([one], [])).toEqual([one]);
    expect(others([one], [{ ...sending, state: "failed" }])).toEqual([one]);
    const before: Import = { ...one, id: "0", state: "failed" };
    expect(others([one, before], [sending])).toEqual([before]);
  });

  it("tell of recordings", () => {
    const going: Recording = {
      name: "monday",
      channel: "demo",
      volume: "films",
      remarks: [],
      ended: null,
      error: "",
      waiting: false,
    };
    expect(recordingLine(going)).toBe("Recording");
    const left = { ...going, waiting: true };
    expect(recordingLine(left)).toBe("Waits for volume films");
    expect(recordingLine({ ...left, error: "it is away" })).toBe(
      "Waits for volume films · it is away",
    );
    expect(recordingLine({ ...going, seconds: 65, bytes: 1e7, lost_units: 1 })).toBe(
      "Recording · 01:05 · 10.0 MB · 1 frame lost",
    );
    expect(recordingLine({ ...going, ended: 1, error: "no room" })).toBe("Ended · no room");
  });

  it.each([
    ["", null],
    ["1.5", 1_500_000],
    ["1,5", 1_500_000],
    ["0", 0],
    ["-1", undefined],
    ["much", undefined],
  ])("read the amount %s", (text, found) => {
    expect(readAmount(text, 1e6)).toBe(found);
  });
});

describe("uploads", () => {
  const file = (name: string): File => new File([new Uint8Array(10)], name);
  const wish = (name: string, ...renditions: File[]) => ({
    name,
    title: "",
    volume: "",
    file: file(`${name}.mp4`),
    renditions,
  });
  const flush = (): Promise<void> => settle();

  it("go one after the other, and on after one that failed", async () => {
    const asked: string[] = [];
    const ends: ((error?: Error) => void)[] = [];
    const arrived: string[] = [];
    const uploads = new Uploads(
      () => {},
      ({ name }) => arrived.push(name),
      ({ name }, sent) => {
        asked.push(name);
        sent(4);
        return new Promise((resolve, reject) => {
          ends.push((error) => (error ? reject(error) : resolve({ name } as Import)));
        });
      },
    );
    uploads.add([wish("one"), wish("two"), wish("three")]);
    await flush();
    expect(asked).toEqual(["one"]);
    expect(uploads.shown.map(({ state, sent }) => [state, sent])).toEqual([
      ["sending", 4],
      ["queued", 0],
      ["queued", 0],
    ]);
    ends[0]?.(new ApiError(409, "there is a title one already"));
    await flush();
    expect(asked).toEqual(["one", "two"]);
    expect(uploads.shown[0]?.error).toBe("There is a title one already.");
    ends[1]?.();
    await flush();
    expect(arrived).toEqual(["two"]);
    expect(uploads.busy).toBe(true);
    ends[2]?.();
    await flush();
    expect(uploads.busy).toBe(false);
    uploads.drop("one");
    expect(uploads.shown).toEqual([]);
  });

  it("send the sizes of a title one after the other, and tell the bytes of all", async () => {
    const puts: { url: string; sent: number }[] = [];
    vi.stubGlobal(
      "XMLHttpRequest",
      class {
        upload: { onprogress: (event: { loaded: number }) => void } = { onprogress: () => {} };
        onload = (): void => {};
        status = 202;
        responseText = "";
        private url = "";
        open(_: string, url: string): void {
          this.url = url;
        }
        abort(): void {}
        send(body: File): void {
          puts.push({ url: this.url, sent: body.size });
          this.upload.onprogress({ loaded: body.size });
          this.responseText = JSON.stringify({ id: "i/1", name: "one" });
          this.onload();
        }
      },
    );
    const told: number[] = [];
    const found = await uploadTitle(
      wish("one", file("half size.mp4"), file("quarter.mp4")),
      (bytes) => told.push(bytes),
      new AbortController().signal,
    );
    expect(found.id).toBe("i/1");
    expect(puts.map(({ url }) => url)).toEqual([
      "/api/v1/storage/titles/one/media?title=&volume=&filename=one.mp4&renditions=2",
      "/api/v1/storage/imports/i%2F1/renditions?filename=half+size.mp4",
      "/api/v1/storage/imports/i%2F1/renditions?filename=quarter.mp4",
    ]);
    expect(told).toEqual([10, 20, 30]);
    const uploads = new Uploads(
      () => {},
      () => {},
      () => new Promise(() => {}),
    );
    uploads.add([wish("one", file("half.mp4"))]);
    const [shown] = uploads.shown;
    expect(shown && [shown.size, filesLine(shown)]).toEqual([20, "one.mp4 and 1 other size"]);
  });

  it("that are dropped end, and let the next go", async () => {
    const asked: string[] = [];
    const uploads = new Uploads(
      () => {},
      () => {},
      ({ name }, _, signal) => {
        asked.push(name);
        return new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(new ApiError(0, "it broke off")));
        });
      },
    );
    uploads.add([wish("one"), wish("two")]);
    await flush();
    uploads.drop("one");
    await flush();
    expect(asked).toEqual(["one", "two"]);
    expect(uploads.shown.map(({ name }) => name)).toEqual(["two"]);
    uploads.close();
    await flush();
    expect(uploads.shown).toEqual([]);
  });
});

describe("the page", () => {
  it.each([
    ["", "Sign in as one"],
    ["ben", "Your account is not one."],
  ])("is closed to %s", async (name, told) => {
    serve(name);
    await show("helio-storage");
    expect(words()).toContain(told);
    expect(words()).not.toContain("Volumes");
  });
});
