import { describe, expect, it, vi } from "vitest";
import { ReceivedMeter, SentMeter, type Stat } from "../src/webrtc/figures";
import { iceServers, useServers } from "../src/webrtc/ice";
import { iceNames, renamed, restartFragment, withStereo } from "../src/webrtc/sdp";
import { open, Resource, SignalError } from "../src/webrtc/signal";

const OFFER = [
  "v=0",
  "o=- 1 2 IN IP4 127.0.0.1",
  "s=-",
  "t=0 0",
  "a=group:BUNDLE 0 1",
  "m=audio 9 UDP/TLS/RTP/SAVPF 111 63",
  "c=IN IP4 0.0.0.0",
  "a=ice-ufrag:EsAw",
  "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
  "a=mid:0",
  "a=rtpmap:111 opus/48000/2",
  "a=fmtp:111 minptime=10;useinbandfec=1",
  "a=rtpmap:63 red/48000/2",
  "a=fmtp:63 111/111",
  "m=video 9 UDP/TLS/RTP/SAVPF 96",
  "a=ice-ufrag:EsAw",
  "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1",
  "a=mid:1",
  "",
].join("\r\n");
const ANSWER = OFFER.replaceAll("EsAw", "srvr").replaceAll(
  "a=mid:0",
  "a=mid:0\r\na=candidate:1 1 udp 1 10.0.0.1 8189 typ host\r\na=end-of-candidates",
);

describe("descriptions", () => {
  it("give their ICE names", () => {
    expect(iceNames(OFFER)).toEqual({
      ufrag: "EsAw",
      pwd: "P2uYro0UCOQ4zxjKXaWCBui1",
      candidates: [],
    });
    expect(iceNames("v=0\n")).toBeNull();
  });

  it("become a fragment that restarts ICE", () => {
    expect(restartFragment(OFFER)).toBe(
      "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n" +
        "m=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=mid:0\r\n",
    );
    expect(() => restartFragment("v=0\r\n")).toThrow("without ICE names");
  });

  it("take other ICE names in every section, and the new candidates only", () => {
    const names = {
      ufrag: "nEw1",
      pwd: "secret",
      candidates: ["a=candidate:2 1 udp 1 ::1 8 typ host"],
    };
    const result = renamed(ANSWER, names);
    expect(result.match(/a=ice-ufrag:nEw1/g)).toHaveLength(2);
    expect(result).not.toMatch(/srvr|10\.0\.0\.1|end-of-candidates/);
    expect(result).toContain("a=mid:0\r\na=candidate:2 1 udp 1 ::1 8 typ host\r\n");
    expect(result.match(/a=candidate/g)).toHaveLength(1);
  });

  it("ask for stereo of Opus and of nothing else", () => {
    const result = withStereo(OFFER);
    expect(result).toContain("a=fmtp:111 minptime=10;useinbandfec=1;stereo=1\r\n");
    expect(result).toContain("a=fmtp:63 111/111\r\n");
    expect(withStereo(result)).toBe(result);
  });
});

/** A server that notes what it is asked. */
function server(...answers: (Response | Error)[]) {
  const asked: {
    url: string;
    method: string;
    headers: Headers;
    body: string;
    keepalive: boolean;
  }[] = [];
  const ask = async (url: string, init: RequestInit): Promise<Response> => {
    asked.push({
      url,
      method: init.method ?? "",
      headers: new Headers(init.headers),
      body: String(init.body ?? ""),
      keepalive: init.keepalive === true,
    });
    const answer = answers.shift();
    if (!answer || answer instanceof Error) throw answer ?? new Error("nothing prepared");
    return answer;
  };
  return { ask, asked };
}

const refusal = (status: number, headers: HeadersInit = {}): Response =>
  Response.json(
    { error: { status, message: "no such channel", subject: "x" } },
    { status, headers },
  );

describe("WHIP and WHEP", () => {
  it("open a session with the key, restart and end it at its address", async () => {
    const { ask, asked } = server(
      new Response("ANSWER", { status: 201, headers: { location: "/whip/x/7", etag: '"e1"' } }),
      new Response("FRAGMENT", { status: 200, headers: { etag: '"e2"' } }),
      new Response(null, { status: 204 }),
      new Response(null, { status: 200 }),
    );
    const { sdp, resource } = await open("http://h:1/whip/x", "OFFER", "k", ask);
    expect(sdp).toBe("ANSWER");
    expect(resource.url).toBe("http://h:1/whip/x/7");
    expect(await resource.restart("NAMES")).toBe("FRAGMENT");
    await resource.trickle("CANDIDATE");
    await resource.end();
    expect(asked.map((a) => `${a.method} ${a.url} ${a.body}`)).toEqual([
      "POST http://h:1/whip/x OFFER",
      "PATCH http://h:1/whip/x/7 NAMES",
      "PATCH http://h:1/whip/x/7 CANDIDATE",
      "DELETE http://h:1/whip/x/7 ",
    ]);
    expect(asked.map((a) => a.headers.get("authorization"))).toEqual(Array(4).fill("Bearer k"));
    expect(asked.map((a) => a.headers.get("content-type"))).toEqual([
      "application/sdp",
      "application/trickle-ice-sdpfrag",
      "application/trickle-ice-sdpfrag",
      null,
    ]);
    // The last one is sent also by a page that goes away.
    expect(asked.map((a) => a.keepalive)).toEqual([false, false, false, true]);
    // Any entity for a restart (RFC 9725 section 4.3.3), the newest for a candidate.
    expect(asked.map((a) => a.headers.get("if-match"))).toEqual([null, '"*"', '"e2"', null]);
  });

  it("show no key where there is none", async () => {
    const { ask, asked } = server(
      new Response("", { status: 201, headers: { location: "http://h/whep/x/1" } }),
    );
    await open("http://h/whep/x", "", "", ask);
    expect(asked[0]?.headers.has("authorization")).toBe(false);
  });

  it.each([401, 403, 404, 406, 409, 503])("tell a refusal with %s", async (status) => {
    const { ask } = server(refusal(status, { "retry-after": "3" }));
    const error = await open("http://h/whip/x", "", "", ask).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(SignalError);
    expect(error).toMatchObject({ status, message: "no such channel", retryAfterMs: 3_000 });
  });

  it("tell apart no answer, an answer that is no JSON, and one without an address", async () => {
    const { ask } = server(
      new TypeError("failed to fetch"),
      new Response("<html>", { status: 502 }),
      new Response("SDP", { status: 201 }),
    );
    const attempt = () => open("http://h/whip/x", "", "", ask).catch((e: SignalError) => e.status);
    expect([await attempt(), await attempt(), await attempt()]).toEqual([0, 502, 201]);
  });

  it.each([
    [410, true],
    [404, false],
    [200, false],
  ])("ask of a session that is over whether it was kicked: %s", async (status, kicked) => {
    const { ask } = server(status === 200 ? new Response(null, { status }) : refusal(status, {}));
    expect(await new Resource("http://h/whep/x/1", null, "", ask).kicked()).toBe(kicked);
  });

  it("end quietly, and refuse a restart that has no answer", async () => {
    const { ask } = server(new TypeError("offline"), new Response(null, { status: 204 }));
    const resource = new Resource("http://h/whip/x/1", null, "", ask);
    await resource.end();
    await expect(resource.restart("")).rejects.toMatchObject({ status: 204 });
  });
});

describe("figures of what is sent", () => {
  const report = (bytes: number, more: Partial<Stat> = {}): Stat[] => [
    {
      id: "v",
      type: "outbound-rtp",
      kind: "video",
      bytesSent: bytes,
      frameWidth: 1280,
      frameHeight: 720,
      framesPerSecond: 30,
      codecId: "c1",
      qualityLimitationReason: "bandwidth",
    },
    { id: "a", type: "outbound-rtp", kind: "audio", bytesSent: 1_000, codecId: "c2" },
    { id: "c1", type: "codec", mimeType: "video/H264" },
    { id: "c2", type: "codec", mimeType: "audio/opus" },
    {
      id: "r",
      type: "remote-inbound-rtp",
      kind: "video",
      fractionLost: 0.02,
      roundTripTime: 0.035,
      ...more,
    },
    { id: "r2", type: "remote-inbound-rtp", kind: "audio", fractionLost: 0.01 },
    {
      id: "p",
      type: "candidate-pair",
      nominated: true,
      state: "succeeded",
      currentRoundTripTime: 0.05,
    },
  ];

  it("are of the last interval", () => {
    const meter = new SentMeter();
    expect(meter.read(report(100_000), 1_000).bitrate).toBe(0);
    expect(meter.read(report(350_000), 2_000)).toEqual({
      bitrate: 2_000_000,
      roundTripMs: 35,
      loss: 0.02,
      width: 1280,
      height: 720,
      fps: 30,
      codec: "H.264",
      audioCodec: "Opus",
      limit: "network",
    });
  });

  it("begin again with a new session, and know little before the first report", () => {
    const meter = new SentMeter();
    meter.read(report(900_000), 1_000);
    expect(meter.read(report(10), 2_000).bitrate).toBe(0);
    const early = meter.read([{ id: "v", type: "outbound-rtp", kind: "video" }], 3_000);
    expect(early).toMatchObject({ roundTripMs: null, loss: null, codec: "", limit: "" });
    expect(
      meter.read(
        report(0).filter((s) => s.type === "candidate-pair"),
        4_000,
      ).roundTripMs,
    ).toBe(50);
  });
});

describe("figures of what is received", () => {
  const report = (n: number): Stat[] => [
    {
      id: "v",
      type: "inbound-rtp",
      kind: "video",
      bytesReceived: n * 100_000,
      packetsReceived: n * 100,
      packetsLost: n,
      framesDecoded: n * 30,
      jitterBufferDelay: n * 30 * 0.06,
      jitterBufferTargetDelay: n * 30 * 0.04,
      jitterBufferEmittedCount: n * 30,
      totalDecodeTime: n * 30 * 0.002,
    },
    {
      id: "a",
      type: "inbound-rtp",
      kind: "audio",
      bytesReceived: n * 10_000,
      packetsReceived: n * 50,
    },
  ];

  it("sum the tracks and divide by the interval", () => {
    const meter = new ReceivedMeter();
    meter.read(report(1), 1_000);
    const figures = meter.read(report(2), 2_000);
    expect(figures).toMatchObject({ bytes: 220_000, packets: 300, lost: 2, bitrate: 880_000 });
    expect(figures.bufferMs).toBeCloseTo(60);
    expect(figures.targetMs).toBeCloseTo(40);
    expect(figures.decodeMs).toBeCloseTo(2);
  });

  it("have no buffer while nothing comes out of it", () => {
    const meter = new ReceivedMeter();
    meter.read(report(1), 1_000);
    expect(meter.read(report(1), 2_000)).toMatchObject({ bufferMs: null, bitrate: 0 });
    expect(meter.read([], 3_000)).toMatchObject({ bytes: 0, bitrate: 0, width: 0 });
  });
});

describe("STUN and TURN servers told with an answer", () => {
  const TURN =
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="us,er"; credential="my\\"Pass; word"; credential-type="password"';

  it("are read from links, whatever else is linked", () => {
    const link = `<https://example.net/>; rel="next", <stun:stun.example.net>; rel="ice-server", ${TURN}, </x>; rel=ice-server`;
    expect(iceServers(link)).toEqual([
      { urls: "stun:stun.example.net" },
      {
        urls: "turn:turn.example.net?transport=udp",
        username: "us,er",
        credential: 'my"Pass; word',
      },
    ]);
    expect(iceServers("<stun:h>;rel=ice-server")).toEqual([{ urls: "stun:h" }]);
  });

  it("are none where nothing is said, or nonsense", () => {
    for (const link of ["", "<", "<stun:h>", '<stun:h>; rel="other"', "stun:h; rel=ice-server"]) {
      expect(iceServers(link)).toEqual([]);
    }
  });

  it("are given to a peer that has others, and change nothing else", () => {
    let now: RTCConfiguration = { bundlePolicy: "max-bundle", iceServers: [] };
    const peer = {
      getConfiguration: () => now,
      setConfiguration: (wanted: RTCConfiguration) => {
        now = wanted;
      },
    } as unknown as RTCPeerConnection;
    const servers = iceServers(TURN);
    expect(useServers(peer, [])).toBe(false);
    expect(useServers(peer, servers)).toBe(true);
    expect(now).toEqual({ bundlePolicy: "max-bundle", iceServers: servers });
    now = { ...now, iceServers: servers.map((s) => ({ ...s, urls: [s.urls].flat() })) };
    expect(useServers(peer, servers)).toBe(false);
  });

  it("that a browser does not take end nothing", () => {
    const warn = vi.spyOn(console, "warn").mockReturnValue();
    const peer = { getConfiguration: () => ({}) } as unknown as RTCPeerConnection;
    expect(useServers(peer, [{ urls: "stun:h" }])).toBe(false);
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
  });
});
