import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { LevelMeter } from "../src/live/level";
import { NONE, Studio } from "../src/live/studio";

class Track {
  readonly sizes: unknown[] = [];
  stopped = false;
  enabled = true;
  contentHint = "";
  onended: (() => void) | null = null;
  constructor(readonly kind: string) {}
  async applyConstraints(wanted: { width: { ideal: number } }) {
    this.sizes.push(wanted.width.ideal);
  }
  stop() {
    this.stopped = true;
  }
}

/** A browser whose questions stay open until they are answered. */
function browser() {
  const open: { kind: string; answer: (track: Track) => void }[] = [];
  const devices = {
    getUserMedia: ({ video }: { video?: unknown }) =>
      new Promise<{ getTracks: () => Track[] }>((resolve) => {
        const kind = video ? "video" : "audio";
        open.push({ kind, answer: (track) => resolve({ getTracks: () => [track] }) });
      }),
    enumerateDevices: async () => [],
  };
  vi.stubGlobal("navigator", { mediaDevices: devices });
  return {
    /** Say yes to the question that stands. */
    async allow(): Promise<Track> {
      const { kind, answer } = await vi.waitUntil(() => open.shift());
      const track = new Track(kind);
      answer(track);
      await new Promise((resolve) => setTimeout(resolve, 0));
      return track;
    },
  };
}

describe("Studio", () => {
  let studio: Studio;

  beforeEach(() => {
    vi.spyOn(LevelMeter.prototype, "listen").mockReturnValue();
    studio = new Studio(
      "demo",
      () => undefined,
      () => undefined,
    );
  });
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.restoreAllMocks();
  });

  it("is ready when both questions were answered, whatever is chosen between them", async () => {
    const person = browser();
    const asked = studio.ask();
    const camera = await person.allow();
    await studio.chooseSize("360p");
    // Who starts now would go on air without sound.
    expect(studio.preview).toBe("asking");
    const microphone = await person.allow();
    await asked;
    expect(studio.preview).toBe("ready");
    expect([studio.video, studio.audio]).toEqual([camera, microphone]);
    expect(camera.sizes).toEqual([640]);
  });

  it("gives the camera the size that was chosen while the browser asked", async () => {
    const person = browser();
    const asked = studio.ask();
    await studio.chooseSize("1080p");
    const camera = await person.allow();
    await person.allow();
    await asked;
    expect(camera.sizes.at(-1)).toBe(1920);
  });

  it("lets go of a camera that is no longer wanted when it comes", async () => {
    const person = browser();
    const asked = studio.ask();
    await studio.chooseCamera(NONE);
    const camera = await person.allow();
    await person.allow();
    await asked;
    expect(camera.stopped).toBe(true);
    expect(studio.video).toBeNull();
    expect(studio.preview).toBe("ready");
  });
});
