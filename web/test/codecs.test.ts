import { describe, expect, it } from "vitest";
import {
  aacCodecString,
  audioConfig,
  codecName,
  h264CodecString,
  h265CodecString,
  nalUnits,
  videoConfig,
} from "../src/player/codecs";
import type { Track } from "../src/player/wire";

const bytes = (text: string): Uint8Array =>
  Uint8Array.from(text.replaceAll(" ", "").match(/../g) ?? [], (h) => Number.parseInt(h, 16));

const track = (codec: string, more: Partial<Track> = {}): Track => ({
  id: 0,
  kind: "video",
  codec,
  codecString: null,
  description: null,
  clockRate: 90_000,
  channels: 0,
  ...more,
});

// AUD, SPS (constrained baseline, level 3.1), PPS, IDR as x264 writes them.
const H264 = bytes("00000001 09f0 00000001 6742c01fd900 00000001 68ce0fc8 000001 6588");
// VPS, then an SPS with emulation prevention inside profile_tier_level (Main, level 3.1).
const H265 = bytes(
  "00000001 40010c01ffff 00000001 42010101600000030090000003000003005da0028080 000001 2601",
);

describe("nalUnits", () => {
  it("splits at three- and four-byte start codes and drops zeros between", () => {
    expect([...nalUnits(H264)].map((n) => (n[0] ?? 0) & 31)).toEqual([9, 7, 8, 5]);
    expect([...nalUnits(bytes("00000001 09f0 0000 000001 65"))].map((n) => n.length)).toEqual([
      2, 1,
    ]);
  });

  it("finds nothing in nothing", () => {
    for (const text of ["", "00", "000001", "ffffffff"]) {
      expect([...nalUnits(bytes(text))]).toEqual([]);
    }
  });
});

describe("codec strings", () => {
  it("reads H.264 from the parameter set in the stream", () => {
    expect(h264CodecString(H264)).toBe("avc1.42c01f");
    expect(h264CodecString(bytes("000001 6588"))).toBeNull();
    expect(h264CodecString(bytes("000001 6742"))).toBeNull();
  });

  it("reads H.265 through emulation prevention", () => {
    expect(h265CodecString(H265)).toBe("hev1.1.6.L93.90");
    expect(h265CodecString(bytes("000001 4201 0101"))).toBeNull();
  });

  it("prefers the stream to the description", () => {
    const config = videoConfig(track("h264", { codecString: "avc1.640028" }), H264);
    expect(config?.codec).toBe("avc1.42c01f");
  });

  it("waits for parameter sets when nothing tells the codec string", () => {
    expect(videoConfig(track("h264"), bytes("000001 6588"))).toBeNull();
  });

  it("has defaults for VP8, VP9 and AV1", () => {
    const of = (codec: string) => videoConfig(track(codec), new Uint8Array())?.codec;
    expect([of("vp8"), of("vp9"), of("av1")]).toEqual(["vp8", "vp09.00.10.08", "av01.0.08M.08"]);
  });

  it("passes on names it does not know, for the browser to refuse", () => {
    expect(videoConfig(track("mpeg2"), new Uint8Array())?.codec).toBe("mpeg2");
    expect(codecName("mpeg2")).toBe("MPEG-2 video");
    expect(codecName("dirac")).toBe("dirac");
  });

  it("reads the AAC object type, also the long form", () => {
    expect(aacCodecString(bytes("1190"))).toBe("mp4a.40.2");
    expect(aacCodecString(bytes("2b92"))).toBe("mp4a.40.5");
    expect(aacCodecString(bytes("f94a"))).toBe("mp4a.40.42");
    expect(aacCodecString(null)).toBe("mp4a.40.2");
  });

  it("hands the AAC configuration on and assumes stereo where unknown", () => {
    const description = new Uint8Array([0x11, 0x90]);
    expect(audioConfig(track("aac", { kind: "audio", clockRate: 48_000, description }))).toEqual({
      codec: "mp4a.40.2",
      sampleRate: 48_000,
      numberOfChannels: 2,
      description,
    });
  });
});
