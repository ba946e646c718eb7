import { describe, expect, it } from "vitest";
import { AIR, type AirState, nextAir, OWN_PLACE_MS, worthRetry } from "../src/live/air";
import { keyInFragment } from "../src/live/key";
import { levelOf, settleLevel } from "../src/live/level";
import { Publisher, type Sent, type Surroundings } from "../src/live/publisher";
import { byPreference, videoConstraints } from "../src/live/quality";
import { deviceTrouble, noDevices, serverTrouble, type Trouble } from "../src/live/words";
import { clock, percent } from "../src/ui/format";
import { OwnTime } from "./own-time";

describe("the life on air", () => {
  it("goes from start to live, over a loss, and back to off", () => {
    let state: AirState = "off";
    const seen = ["start", "connected", "quiet", "lost", "connected", "stop"] as const;
    expect(
      seen.map((event) => {
        state = nextAir(state, event);
        return state;
      }),
    ).toEqual(["starting", "live", "shaky", "reconnecting", "live", "off"]);
  });

  it("can be stopped from everywhere, and ignores what means nothing", () => {
    for (const state of Object.keys(AIR) as AirState[]) expect(nextAir(state, "stop")).toBe("off");
    expect(nextAir("off", "connected")).toBe("off");
    expect(nextAir("live", "start")).toBe("live");
  });

  it("tries again after a loss only, and waits for its own place", () => {
    expect([0, 409, 503].map((status) => worthRetry(status, null))).toEqual([false, false, false]);
    expect([0, 500, 503, 429].every((status) => worthRetry(status, 9e9))).toBe(true);
    expect([401, 403, 404, 406].some((status) => worthRetry(status, 100))).toBe(false);
    expect(worthRetry(409, OWN_PLACE_MS - 1)).toBe(true);
    expect(worthRetry(409, OWN_PLACE_MS)).toBe(false);
  });
});

describe("quality", () => {
  const h264 = (profile: string, mode: number) => ({
    mimeType: "video/H264",
    sdpFmtpLine: `level-asymmetry-allowed=1;packetization-mode=${mode};profile-level-id=${profile}`,
  });

  it("prefers H.264 in its most common form, then VP8", () => {
    const offered = [
      { mimeType: "video/VP8" },
      { mimeType: "video/rtx" },
      { mimeType: "video/VP9", sdpFmtpLine: "profile-id=0" },
      h264("42001f", 1),
      h264("42e01f", 0),
      h264("640c1f", 1),
      h264("42e01f", 1),
      { mimeType: "video/AV1" },
    ];
    const order = byPreference(offered).map((codec) => offered.indexOf(codec));
    expect(order).toEqual([6, 5, 3, 4, 0, 2, 7, 1]);
  });

  it("asks for a size and takes less, but for the very device that was chosen", () => {
    expect(videoConstraints("720p", "")).toEqual({
      width: { ideal: 1280 },
      height: { ideal: 720 },
      frameRate: { ideal: 30 },
    });
    expect(videoConstraints("360p", "cam").deviceId).toEqual({ exact: "cam" });
  });
});

describe("the level meter", () => {
  it("is in decibels over a floor", () => {
    expect(levelOf([0, 0])).toBe(0);
    expect(levelOf([1, -1])).toBe(1);
    expect(levelOf([0.0316, -0.0316])).toBeCloseTo(0.5, 2);
    expect(levelOf([1e-5, 1e-5])).toBe(0);
  });

  it("rises at once and falls slowly", () => {
    expect(settleLevel(0.1, 0.9, 16)).toBe(0.9);
    expect(settleLevel(0.9, 0, 100)).toBeCloseTo(0.78);
  });
});

describe("words for trouble", () => {
  it("say where to put it right", () => {
    const at = (status: number): string => serverTrouble(status, "demo", true).at;
    expect([401, 403, 404, 406, 409, 503, 0, 500].map(at)).toEqual([
      "key",
      "start",
      "channel",
      "start",
      "start",
      "start",
      "start",
      "start",
    ]);
    expect(serverTrouble(401, "demo", false).title).not.toBe(
      serverTrouble(401, "demo", true).title,
    );
    expect(serverTrouble(404, "demo", true).title).toContain("demo");
  });

  it.each([
    "NotAllowedError",
    "NotFoundError",
    "NotReadableError",
    "OverconstrainedError",
    "Other",
  ])("name the device for %s", (name) => {
    const said = deviceTrouble(name, "microphone");
    expect(said.title).toContain("microphone");
    expect(said.text.length).toBeGreaterThan(20);
  });

  it("tell a plain page from an old browser", () => {
    expect(noDevices(false, "tv.lan").text).toContain("HTTPS");
    expect(noDevices(false, "tv.lan").at).toBe("page");
    expect(noDevices(true, "tv.lan").text).not.toContain("HTTPS");
  });
});

describe("figures", () => {
  it("write clocks and shares", () => {
    expect([0, 59.9, 61, 3_600, 36_061].map(clock)).toEqual([
      "00:00",
      "00:59",
      "01:01",
      "1:00:00",
      "10:01:01",
    ]);
    expect([null, 0, 0.004, 0.0996, 0.5].map(percent)).toEqual([
      "–",
      "0 %",
      "0.4 %",
      "10 %",
      "50 %",
    ]);
  });

  it("take a key from a fragment", () => {
    expect(keyInFragment("#key=a%2Fb")).toBe("a/b");
    expect(keyInFragment("#key=")).toBeNull();
    expect(keyInFragment("")).toBeNull();
  });
});

const SDP =
  "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\na=mid:0\r\na=x\r\n";

class FakePeer {
  connectionState = "new";
  localDescription: { sdp: string } | null = null;
  remote: string[] = [];
  closed = false;
  transceivers: { receiver: { track: { kind: string } }; sender: FakeSender }[] = [];
  onconnectionstatechange: (() => void) | null = null;
  configuration: RTCConfiguration;

  constructor(iceServers: RTCIceServer[] = []) {
    this.configuration = { bundlePolicy: "max-bundle", iceServers };
  }
  getConfiguration() {
    return this.configuration;
  }
  setConfiguration(configuration: RTCConfiguration) {
    this.configuration = configuration;
  }
  addTransceiver(track: { kind: string }, init: { sendEncodings?: object[] }) {
    const sender = new FakeSender(track);
    sender.parameters.encodings = structuredClone(init.sendEncodings ?? [{}]);
    const transceiver = { receiver: { track: { kind: track.kind } }, sender };
    this.transceivers.push(transceiver);
    return transceiver;
  }
  getTransceivers() {
    return this.transceivers;
  }
  async createOffer(how?: { iceRestart: boolean }) {
    return { type: "offer", sdp: how?.iceRestart ? SDP.replace(":u", ":u2") : SDP };
  }
  async setLocalDescription(description: { sdp: string }) {
    this.localDescription = description;
  }
  async setRemoteDescription({ sdp }: { sdp: string }) {
    this.remote.push(sdp);
  }
  async getStats() {
    return new Map([["v", { id: "v", type: "outbound-rtp", kind: "video", bytesSent: 5 }]]);
  }
  close() {
    this.closed = true;
  }
  becomes(state: string) {
    this.connectionState = state;
    this.onconnectionstatechange?.();
  }
}

class FakeSender {
  parameters: { encodings: { maxBitrate?: number }[] } = { encodings: [{}] };
  constructor(public track: unknown) {}
  getParameters() {
    return this.parameters;
  }
  async setParameters(parameters: { encodings: { maxBitrate?: number }[] }) {
    this.parameters = parameters;
  }
  async replaceTrack(track: unknown) {
    this.track = track;
  }
}

/** A browser with its own time, and a server that gives the prepared statuses. */
function studio(...statuses: number[]) {
  const time = new OwnTime();
  const peers: FakePeer[] = [];
  const asked: string[] = [];
  const states: AirState[] = [];
  const troubles: Trouble[] = [];
  const around: Surroundings = {
    peer: (iceServers) => {
      const peer = new FakePeer(iceServers);
      peers.push(peer);
      return peer as unknown as RTCPeerConnection;
    },
    fetch: async (url, { method = "GET" }) => {
      asked.push(`${method} ${new URL(url, "http://h").pathname}`);
      if (method === "GET") return Response.json({ state: channel });
      if (method === "DELETE") return new Response(null);
      if (method === "PATCH") {
        const status = statuses.shift() ?? 200;
        if (status !== 200) return new Response(null, { status });
        return new Response("a=ice-ufrag:s2\r\na=ice-pwd:t2\r\n", { status });
      }
      const status = statuses.shift() ?? 201;
      if (status === 0) throw new TypeError("failed to fetch");
      const headers: Record<string, string> = { location: `/whip/demo/${peers.length}` };
      if (link) headers.link = link;
      return new Response(SDP, { status, headers });
    },
    now: () => time.now,
    random: () => 1,
    after: time.after,
  };
  let channel = "waiting";
  let link = "";
  const settle = () => new Promise<void>((resolve) => setTimeout(resolve, 0));
  const publisher = new Publisher(
    "demo",
    {
      state: (state) => states.push(state),
      trouble: (trouble) => troubles.push(trouble),
      figures: () => undefined,
    },
    around,
  );
  const pass = async (ms: number): Promise<void> => {
    const until = time.now + ms;
    do await settle();
    while (time.step(until));
    time.now = until;
    await settle();
  };
  const last = (): FakePeer => peers.at(-1) as FakePeer;
  return {
    publisher,
    peers,
    asked,
    states,
    troubles,
    pass,
    last,
    becomes: (state: string) => {
      channel = state;
    },
    tells: (servers: string) => {
      link = servers;
    },
  };
}

const track = (kind: string) => ({ kind }) as unknown as MediaStreamTrack;
const SENT: Sent = {
  video: track("video"),
  audio: track("audio"),
  source: "camera",
  size: "720p",
  smaller: false,
};

describe("Publisher", () => {
  it("goes on air with the bounds of the chosen size, and off again", async () => {
    const s = studio();
    await s.publisher.start(SENT, "k");
    s.last().becomes("connected");
    expect(s.states).toEqual(["starting", "live"]);
    expect(s.last().transceivers[0]?.sender.parameters.encodings).toEqual([
      { maxBitrate: 2_500_000, maxFramerate: 30 },
    ]);
    s.publisher.stop();
    await s.pass(60_000);
    expect(s.asked).toEqual(["POST /whip/demo", "DELETE /whip/demo/1"]);
    expect(s.last().closed).toBe(true);
    expect(s.publisher.state).toBe("off");
  });

  it.each([401, 404, 409, 503, 0])(
    "tells a first refusal with %s and tries no more",
    async (status) => {
      const s = studio(status);
      await s.publisher.start(SENT, "k");
      await s.pass(60_000);
      expect(s.states).toEqual(["starting", "off"]);
      expect(s.troubles).toHaveLength(1);
      expect(s.peers).toHaveLength(1);
    },
  );

  it("tells that no path was found", async () => {
    const s = studio();
    await s.publisher.start(SENT, "k");
    await s.pass(60_000);
    expect(s.states).toEqual(["starting", "off"]);
    expect(s.troubles[0]?.title).toContain("No way through");
    expect(s.asked.at(-1)).toBe("DELETE /whip/demo/1");
  });

  it("looks once more by the servers it was told of, then tells that there is no path", async () => {
    const s = studio();
    s.tells('<stun:stun.example.net>; rel="ice-server"');
    const told = [{ urls: "stun:stun.example.net" }];
    await s.publisher.start(SENT, "k");
    expect(s.last().configuration).toEqual({ bundlePolicy: "max-bundle", iceServers: told });
    await s.pass(8_100);
    expect(s.peers).toHaveLength(2);
    expect(s.last().configuration.iceServers).toEqual(told);
    expect(s.peers[0]?.closed).toBe(true);
    expect(s.states).toEqual(["starting"]);
    await s.pass(60_000);
    expect(s.peers).toHaveLength(2);
    expect(s.states).toEqual(["starting", "off"]);
    expect(s.troubles[0]?.title).toContain("No way through");
  });

  it("bears a short pause", async () => {
    const s = studio();
    await s.publisher.start(SENT, "k");
    s.last().becomes("connected");
    s.last().becomes("disconnected");
    await s.pass(2_900);
    s.last().becomes("connected");
    await s.pass(60_000);
    expect(s.states).toEqual(["starting", "live", "shaky", "live"]);
    expect(s.asked).toEqual(["POST /whip/demo"]);
  });

  it("restarts ICE in the same session after a longer one", async () => {
    const s = studio();
    await s.publisher.start(SENT, "k");
    s.last().becomes("connected");
    s.last().becomes("disconnected");
    await s.pass(3_100);
    expect(s.asked).toEqual(["POST /whip/demo", "PATCH /whip/demo/1"]);
    expect(s.last().remote[1]).toContain("a=ice-ufrag:s2");
    s.last().becomes("connected");
    await s.pass(60_000);
    expect(s.states.at(-1)).toBe("live");
    expect(s.peers).toHaveLength(1);
  });

  it("makes a new session when the restart is refused or finds no path", async () => {
    for (const status of [404, 200]) {
      const s = studio(201, status);
      await s.publisher.start(SENT, "k");
      s.last().becomes("connected");
      s.last().becomes("disconnected");
      await s.pass(9_000);
      expect(s.peers).toHaveLength(2);
      expect(s.asked).toContain("DELETE /whip/demo/1");
      s.last().becomes("connected");
      expect(s.states).toEqual(["starting", "live", "shaky", "reconnecting", "live"]);
      expect(s.publisher.reconnects).toBe(1);
    }
  });

  it("keeps on while the server is away or still holds the lost session", async () => {
    const s = studio(201, 404, 0, 503, 409, 201);
    await s.publisher.start(SENT, "k");
    s.last().becomes("connected");
    s.last().becomes("disconnected");
    await s.pass(20_000);
    expect(s.states.at(-1)).toBe("reconnecting");
    expect(s.peers.length).toBeGreaterThanOrEqual(5);
    s.last().becomes("connected");
    expect(s.states.at(-1)).toBe("live");
    expect(s.troubles).toEqual([]);
  });

  it("gives way to somebody who took over, and comes back where nobody did", async () => {
    for (const [state, wanted] of [
      ["on_air", "off"],
      ["waiting", "reconnecting"],
    ] as const) {
      const s = studio();
      await s.publisher.start(SENT, "k");
      s.last().becomes("connected");
      s.becomes(state);
      s.last().becomes("failed");
      await s.pass(1_000);
      expect(s.publisher.state).toBe(wanted);
      expect(s.troubles.map((t) => t.title)).toEqual(
        wanted === "off" ? ["Somebody else took over"] : [],
      );
    }
  });

  it("changes devices without leaving the air", async () => {
    const s = studio();
    await s.publisher.start(SENT, "k");
    s.last().becomes("connected");
    const screen = track("video");
    await s.publisher.change({ ...SENT, video: screen, source: "screen", size: "1080p" });
    expect(s.last().transceivers.map((t) => t.sender.track)).toEqual([screen, SENT.audio]);
    expect(s.last().transceivers[0]?.sender.parameters).toMatchObject({
      degradationPreference: "maintain-resolution",
      encodings: [{ maxBitrate: 4_500_000 }],
    });
    await s.publisher.change({ ...SENT, audio: null });
    expect(s.last().transceivers[1]?.sender.track).toBeNull();
    await s.publisher.change(SENT);
    expect(s.last().transceivers[1]?.sender.track).toBe(SENT.audio);
    expect(s.peers).toHaveLength(1);
    expect(s.states.at(-1)).toBe("live");
  });

  it("sends half the size as well, as long as that is wanted", async () => {
    const s = studio();
    await s.publisher.start({ ...SENT, smaller: true }, "k");
    s.last().becomes("connected");
    const layers = () => s.last().transceivers[0]?.sender.parameters.encodings;
    expect(layers()).toMatchObject([
      { rid: "half", scaleResolutionDownBy: 2, maxBitrate: 833_333 },
      { rid: "full", scaleResolutionDownBy: 1, maxBitrate: 2_500_000 },
    ]);
    await s.publisher.change({ ...SENT, smaller: true, size: "1080p" });
    expect(layers()).toMatchObject([{ maxBitrate: 1_500_000 }, { maxBitrate: 4_500_000 }]);
    expect(s.peers).toHaveLength(1);
    await s.publisher.change(SENT);
    await s.pass(1_000);
    expect(s.peers).toHaveLength(2);
    expect(layers()).toEqual([{ maxBitrate: 2_500_000, maxFramerate: 30 }]);
  });

  it("sends a small picture, or a screen, once", async () => {
    for (const sent of [
      { ...SENT, smaller: true, size: "360p" as const },
      { ...SENT, smaller: true, source: "screen" as const },
    ]) {
      const s = studio();
      await s.publisher.start(sent, "k");
      expect(s.last().transceivers[0]?.sender.parameters.encodings).toHaveLength(1);
    }
  });

  it("makes a new session for a kind of track that the old one has no room for", async () => {
    const s = studio();
    await s.publisher.start({ ...SENT, audio: null }, "k");
    s.last().becomes("connected");
    await s.publisher.change(SENT);
    await s.pass(1_000);
    expect(s.peers).toHaveLength(2);
    expect(s.last().transceivers).toHaveLength(2);
  });

  it("leaves no session behind that was answered after the stop", async () => {
    const s = studio();
    const started = s.publisher.start(SENT, "k");
    await Promise.resolve();
    s.publisher.stop();
    await started;
    await s.pass(100);
    const posts = s.asked.filter((a) => a.startsWith("POST")).length;
    expect(s.asked.filter((a) => a.startsWith("DELETE"))).toHaveLength(posts);
  });
});
