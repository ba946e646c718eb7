// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { begin, take } from "../src/webrtc/early";
import { WhepSession } from "../src/webrtc/whep";

const URL_ = "http://tv:1/whep/yard";

/** What was done, in order. */
let done: string[];
let answer: (response: Response) => void;
let describeLocally: () => void;
let connectionState: RTCPeerConnectionState;

class FakePeer {
  ontrack: ((event: { track: string }) => void) | null = null;
  get connectionState(): RTCPeerConnectionState {
    return connectionState;
  }
  getConfiguration = () => ({});
  setConfiguration = ({ iceServers }: RTCConfiguration): void =>
    void done.push(`servers ${iceServers?.length}`);
  addTransceiver = (kind: string): void => void done.push(kind);
  createOffer = async () => ({ sdp: "a=rtpmap:9 opus/48000/2\r\na=fmtp:9 minptime=10\r\n" });
  setLocalDescription = ({ sdp }: { sdp: string }): Promise<void> => {
    done.push(`local ${sdp.includes("stereo=1")}`);
    return new Promise((resolve) => {
      describeLocally = () => {
        done.push("described");
        resolve();
      };
    });
  };
  setRemoteDescription = async (): Promise<void> => {
    done.push("remote");
    this.ontrack?.({ track: "picture" });
  };
  close = (): void => void done.push("close");
}

class FakeStream {
  readonly tracks: unknown[] = [];
  addTrack = (track: unknown): void => void this.tracks.push(track);
}

const created = (): Response =>
  new Response("v=0\r\n", {
    status: 201,
    headers: { location: "/whep/yard/s1", link: '<stun:h>; rel="ice-server"' },
  });

const settle = async (): Promise<void> => {
  for (let i = 0; i < 10; i++) await new Promise((resolve) => setTimeout(resolve, 0));
};

beforeEach(() => {
  done = [];
  connectionState = "new";
  vi.stubGlobal("RTCPeerConnection", FakePeer);
  vi.stubGlobal("MediaStream", FakeStream);
  vi.stubGlobal("fetch", async (url: string, { method }: RequestInit) => {
    done.push(`${method} ${new URL(url).pathname}`);
    if (method !== "POST") return new Response(null, { status: 200 });
    return new Promise<Response>((resolve) => {
      answer = resolve;
    });
  });
});

afterEach(() => {
  take("");
  vi.unstubAllGlobals();
});

describe("a viewer's session", () => {
  it("is offered without waiting for what the browser does with its own offer", async () => {
    const session = new WhepSession(URL_, []);
    await session.offered;
    await settle();
    expect(done).toEqual(["video", "audio", "POST /whep/yard", "local true"]);
    answer(created());
    await settle();
    expect(done).not.toContain("remote");
    describeLocally();
    await session.answered;
    expect(done.slice(4)).toEqual(["described", "servers 1", "remote"]);
    expect((session.stream as unknown as FakeStream).tracks).toEqual(["picture"]);
    expect(session.servers).toEqual([{ urls: "stun:h" }]);
    expect(session.over).toBe(false);
  });

  it("that is ended before its answer gives its place back", async () => {
    const session = new WhepSession(URL_, []);
    await settle();
    session.end();
    answer(created());
    describeLocally();
    await settle();
    expect(done).not.toContain("remote");
    expect(done.at(-1)).toBe("DELETE /whep/yard/s1");
    expect(session.over).toBe(true);
  });

  it("that is refused says so to whoever asks, and to nobody else", async () => {
    const session = new WhepSession(URL_, []);
    await settle();
    answer(Response.json({ error: { message: "full" } }, { status: 503 }));
    describeLocally();
    await settle();
    await expect(session.answered).rejects.toMatchObject({ status: 503, message: "full" });
  });
});

describe("a session that begins before its player", () => {
  it("is taken once, by who plays from there", () => {
    const begun = begin(URL_);
    expect(take(URL_)).toBe(begun);
    expect(take(URL_)).toBeNull();
    expect(done).not.toContain("close");
  });

  it.each([
    ["elsewhere", () => take("http://tv:1/whep/other")],
    ["when it failed", () => take(URL_)],
    ["when the person leaves", () => void dispatchEvent(new Event("pagehide"))],
  ])("is ended where nobody can use it: %s", (when, happens) => {
    begin(URL_);
    if (when === "when it failed") connectionState = "failed";
    expect(happens() ?? null).toBeNull();
    expect(done).toContain("close");
    expect(take(URL_)).toBeNull();
  });

  it("is the player's once taken: leaving is its business", () => {
    begin(URL_);
    take(URL_);
    dispatchEvent(new Event("pagehide"));
    expect(done).not.toContain("close");
  });
});
