import { describe, expect, it } from "vitest";
import { parseFrame, parseMessage, WireError } from "../src/player/wire";

function message(data: number[] = [1, 2, 3], change?: (view: DataView) => void): ArrayBuffer {
  const buffer = new ArrayBuffer(32 + data.length);
  const view = new DataView(buffer);
  view.setUint8(0, 1);
  view.setUint8(1, 4);
  view.setUint8(2, 3);
  view.setUint32(4, 7);
  view.setBigUint64(8, 99n);
  view.setBigInt64(16, 1_795_000_000_000_001n);
  view.setBigInt64(24, 1_795_000_000_012_345n);
  new Uint8Array(buffer).set(data, 32);
  change?.(view);
  return buffer;
}

const faultOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    if (error instanceof WireError) return error.fault;
    throw error;
  }
  return "none";
};

describe("parseFrame", () => {
  it("reads every field of the header", () => {
    expect(parseFrame(message())).toEqual({
      track: 4,
      keyframe: true,
      discontinuity: true,
      epoch: 7,
      number: 99,
      ptsUs: 1_795_000_000_000_001,
      arrivalUs: 1_795_000_000_012_345,
      data: Uint8Array.from([1, 2, 3]),
    });
  });

  it("takes an access unit without data", () => {
    expect(parseFrame(message([])).data.length).toBe(0);
  });

  it("keeps times before 1970", () => {
    const frame = parseFrame(message([], (v) => v.setBigInt64(16, -5n)));
    expect(frame.ptsUs).toBe(-5);
  });

  it("refuses what is too short, of another type, or out of range", () => {
    for (let n = 0; n < 32; n++)
      expect(faultOf(() => parseFrame(new ArrayBuffer(n)))).toBe("short");
    expect(faultOf(() => parseFrame(message([], (v) => v.setUint8(0, 2))))).toBe("type");
    expect(faultOf(() => parseFrame(message([], (v) => v.setBigInt64(16, 2n ** 60n))))).toBe(
      "range",
    );
  });

  it("gives a value or a WireError for any bytes", () => {
    let seed = 1;
    const random = () => {
      seed = (seed * 48271) % 2147483647;
      return seed;
    };
    for (let round = 0; round < 3000; round++) {
      const bytes = Uint8Array.from({ length: random() % 64 }, () => random() & 255);
      faultOf(() => parseFrame(bytes.buffer));
    }
  });
});

describe("parseMessage", () => {
  const track = { id: 0, kind: "audio", codec: "aac", clock_rate: 48000, channels: 2 };
  const start = {
    type: "start",
    version: 1,
    channel: "demo",
    title: "Demo",
    state: "on_air",
    server_time_us: 5,
    tracks: [{ ...track, codec_string: "mp4a.40.2", description: "EZA=" }],
  };

  it("reads a start message", () => {
    expect(parseMessage(JSON.stringify(start))).toEqual({
      type: "start",
      channel: "demo",
      title: "Demo",
      state: "on_air",
      serverTimeUs: 5,
      tracks: [
        {
          id: 0,
          kind: "audio",
          codec: "aac",
          codecString: "mp4a.40.2",
          description: Uint8Array.from([0x11, 0x90]),
          clockRate: 48000,
          channels: 2,
        },
      ],
    });
  });

  it("passes over types a later server may add", () => {
    expect(parseMessage('{"type":"chat","text":"hello"}')).toEqual({ type: "other" });
  });

  it.each([
    ["not JSON", "{", "json"],
    ["no object", "[1]", "message"],
    ["null", "null", "message"],
    ["another version", JSON.stringify({ ...start, version: 2 }), "message"],
    ["an unknown state", '{"type":"state","state":"off"}', "message"],
    ["no tracks", '{"type":"tracks"}', "message"],
    ["a track of unknown kind", '{"type":"tracks","tracks":[{"kind":"smell"}]}', "message"],
    ["text for a number", '{"type":"pong","t":"1","server_time_us":2}', "message"],
    [
      "a broken description",
      JSON.stringify({ type: "tracks", tracks: [{ ...track, description: "%" }] }),
      "message",
    ],
  ])("refuses %s", (_name, text, fault) => {
    expect(faultOf(() => parseMessage(text))).toBe(fault);
  });
});
