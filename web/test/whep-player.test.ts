// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { resolve } from "../src/player/address";
import type { PlayerState } from "../src/player/stats";
import type { WayEvent } from "../src/player/way";
import { WhepPlayer } from "../src/player/whep-player";

const UNITS = ["a".repeat(16), "b".repeat(16), "c".repeat(16)];

class FakeTrack extends EventTarget {
  muted = true;
  constructor(readonly kind: "audio" | "video") {
    super();
  }

  comes(): void {
    this.muted = false;
    this.dispatchEvent(new Event("unmute"));
  }
}

class FakeTransport extends EventTarget {
  state = "connected";

  close(): void {
    this.state = "closed";
    this.dispatchEvent(new Event("statechange"));
  }
}

class FakePeer {
  static readonly made: FakePeer[] = [];
  ontrack: ((event: { track: FakeTrack }) => void) | null = null;
  onconnectionstatechange: (() => void) | null = null;
  connectionState = "new";
  closed = false;
  bytes = 0;
  readonly video = new FakeTrack("video");
  readonly audio = new FakeTrack("audio");
  readonly transport = new FakeTransport();

  constructor(public configuration: RTCConfiguration) {
    FakePeer.made.push(this);
  }

  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }
  setConfiguration(configuration: RTCConfiguration): void {
    this.configuration = configuration;
  }

  addTransceiver(): void {}
  getTransceivers = () => [{ receiver: { transport: this.transport } }];
  createOffer = async () => ({ sdp: "v=0\r\n" });
  setLocalDescription = async (): Promise<void> => {};

  async setRemoteDescription(): Promise<void> {
    for (const track of [this.audio, this.video]) this.ontrack?.({ track });
    this.connectionState = "connected";
    this.onconnectionstatechange?.();
  }

  async getStats() {
    const stat = { id: "v", type: "inbound-rtp", kind: "video", bytesReceived: this.bytes };
    return [stat];
  }

  close(): void {
    this.closed = true;
  }
}

class FakeStream {
  readonly tracks: FakeTrack[] = [];
  addTrack(track: FakeTrack): void {
    this.tracks.push(track);
  }
  getTracks = (): FakeTrack[] => this.tracks;
}

interface Asked {
  readonly method: string;
  readonly url: string;
}

let asked: Asked[];
/** How sessions are, by HEAD: a status, or what the channel does at the unit. */
let look: number | string;
let kicked: boolean;
let states: PlayerState[];
let events: WayEvent[];
let player: WhepPlayer;
let video: HTMLVideoElement;
let shown: unknown[];
let flowing: ReturnType<typeof setInterval>;

const peers = (): FakePeer[] => FakePeer.made;
const newest = (): FakePeer => peers().at(-1) as FakePeer;
const offers = (): string[] => asked.filter((a) => a.method === "POST").map((a) => a.url);

async function server(url: string, init: RequestInit = {}): Promise<Response> {
  const method = init.method ?? "GET";
  asked.push({ method, url });
  if (method === "POST") {
    const location = `/whep/yard/s${offers().length}~${UNITS[offers().length - 1]}`;
    const link = '<turn:h>; rel="ice-server"; username="anna"; credential="pass"';
    return new Response("v=0\r\n", { status: 201, headers: { location, link } });
  }
  if (method === "HEAD") {
    if (typeof look === "number") return new Response(null, { status: look });
    return new Response(null, { status: 200, headers: { "heliograph-state": look } });
  }
  if (method === "DELETE") return new Response(null, { status: kicked ? 410 : 404 });
  return Response.json({ state: "on_air", bitrate: 9 });
}

const pass = (ms: number): Promise<unknown> => vi.advanceTimersByTimeAsync(ms);
/** Media come, of the newest session, until this is called with false. */
let flows = true;

beforeEach(async () => {
  vi.useFakeTimers();
  FakePeer.made.length = 0;
  asked = [];
  look = "on_air";
  kicked = false;
  flows = true;
  states = [];
  events = [];
  shown = [];
  vi.stubGlobal("RTCPeerConnection", FakePeer);
  vi.stubGlobal("MediaStream", FakeStream);
  vi.stubGlobal("fetch", server);
  vi.spyOn(HTMLMediaElement.prototype, "play").mockResolvedValue();
  vi.spyOn(Math, "random").mockReturnValue(0);
  video = document.createElement("video");
  Object.defineProperty(video, "srcObject", {
    get: () => shown.at(-1) ?? null,
    set: (stream) => void shown.push(stream),
  });
  const hear = {
    state: (state: PlayerState) => void states.push(state),
    notice: () => {},
    behind: () => {},
    soundBlocked: () => {},
  };
  player = new WhepPlayer(video, hear, (event) => void events.push(event));
  player.load(resolve("yard", "http://tv:1/"));
  flowing = setInterval(() => {
    if (flows && peers().length) newest().bytes += 100;
  }, 40);
  await pass(10);
  newest().video.comes();
  await pass(6_000);
});

afterEach(() => {
  clearInterval(flowing);
  player.destroy();
  vi.restoreAllMocks();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe("a session by WebRTC", () => {
  it("that brings media is let alone", () => {
    expect(peers()).toHaveLength(1);
    expect(asked.some((a) => a.method === "HEAD")).toBe(false);
  });

  it("asks how the channel is only where nothing comes", async () => {
    const questions = (): number => asked.filter((a) => a.method === "GET").length;
    expect(questions()).toBe(0);
    flows = false;
    await pass(1_300);
    expect(questions()).toBe(1);
    expect(events.at(-2)).toEqual({ type: "life", life: "flowing" });
  });

  it("whose unit died is followed by another within a second, named to the portal", async () => {
    flows = false;
    look = 404;
    const states0 = states.length;
    await pass(800);
    expect(peers()).toHaveLength(2);
    expect(offers()[1]).toBe(`http://tv:1/whep/yard?from=${UNITS[0]}`);
    expect(states.slice(states0)).not.toContain("reconnecting");
    expect(states.slice(states0)).not.toContain("connecting");
  });

  it("looks for paths by the servers told with the answer, and so does the next one", async () => {
    const iceServers = [{ urls: "turn:h", username: "anna", credential: "pass" }];
    const configuration = { bundlePolicy: "max-bundle", iceServers };
    expect(newest().configuration).toEqual(configuration);
    flows = false;
    look = 404;
    const made = vi.spyOn(FakePeer.prototype, "setConfiguration");
    await pass(800);
    expect(peers()).toHaveLength(2);
    expect(newest().configuration).toEqual(configuration);
    expect(made).not.toHaveBeenCalled();
  });

  it("is shown until the next one has a picture", async () => {
    flows = false;
    look = 404;
    await pass(800);
    const [old, next] = peers();
    expect(shown).toHaveLength(1);
    expect(old?.closed).toBe(false);
    next?.video.comes();
    await pass(0);
    expect(shown).toHaveLength(2);
    expect(old?.closed).toBe(true);
    expect(asked.filter((a) => a.method === "DELETE").map((a) => a.url)).toEqual([
      `http://tv:1/whep/yard/s1~${UNITS[0]}`,
    ]);
  });

  it("of sound alone does not wait for a picture", async () => {
    flows = false;
    look = 404;
    await pass(800);
    newest().audio.comes();
    await pass(200);
    expect(shown).toHaveLength(1);
    await pass(200);
    expect(shown).toHaveLength(2);
  });

  it.each([["waiting"], ["idle"], ["on_air"]])(
    "that lives is kept while its channel is %s",
    async (state) => {
      flows = false;
      look = state;
      await pass(10_000);
      expect(peers()).toHaveLength(1);
      const looks = asked.filter((a) => a.method === "HEAD").length;
      expect(looks).toBeGreaterThan(2);
      expect(looks).toBeLessThan(12);
    },
  );

  it("whose unit says nothing is followed by another", async () => {
    flows = false;
    look = 502;
    await pass(800);
    expect(peers()).toHaveLength(2);
  });

  it("is kept where the server itself does not answer", async () => {
    flows = false;
    look = 500;
    await pass(5_000);
    expect(peers()).toHaveLength(1);
  });

  it("that was kicked is not opened again", async () => {
    flows = false;
    look = 410;
    kicked = true;
    await pass(5_000);
    expect(peers()).toHaveLength(1);
    expect(player.state).toBe("kicked");
  });

  it("that the server ends is followed by another without a gap in the picture", async () => {
    newest().transport.close();
    await pass(50);
    expect(peers()).toHaveLength(2);
    expect(offers()[1]).toBe(`http://tv:1/whep/yard?from=${UNITS[0]}`);
    expect(shown).toHaveLength(1);
    expect(events.some((event) => event.type === "ended")).toBe(false);
    // One that ends as soon as it begins is the way's trouble.
    newest().transport.close();
    await pass(50);
    expect(peers()).toHaveLength(2);
    expect(events.some((event) => event.type === "ended")).toBe(true);
  });

  it("is not followed by another when the person left meanwhile", async () => {
    flows = false;
    look = 404;
    await pass(800);
    player.pause();
    await pass(5_000);
    expect(peers().map((peer) => peer.closed)).toEqual([true, true]);
    expect(shown).toHaveLength(1);
  });
});
