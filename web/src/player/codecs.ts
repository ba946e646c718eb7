/** From a track and its first keyframe to what WebCodecs wants to be configured with. */

import { SAMPLE_CODECS } from "./g711";
import type { Track } from "./wire";

const NAMES: Readonly<Record<string, string>> = {
  h264: "H.264",
  h265: "H.265",
  vp8: "VP8",
  vp9: "VP9",
  av1: "AV1",
  mpeg2: "MPEG-2 video",
  opus: "Opus",
  aac: "AAC",
  "aac-latm": "AAC (LATM)",
  pcmu: "G.711 µ-law",
  pcma: "G.711 A-law",
  l16: "L16",
  l24: "L24",
};

/** What people call the codec. */
export const codecName = (codec: string): string => NAMES[codec] ?? codec;

/** Split an Annex B byte stream (ITU-T H.264 annex B) into NAL units without start codes. */
export function* nalUnits(data: Uint8Array): Generator<Uint8Array> {
  let start = -1;
  for (let i = 0; i + 2 < data.length; i++) {
    if (data[i] !== 0 || data[i + 1] !== 0 || data[i + 2] !== 1) continue;
    if (start >= 0) yield trimmed(data, start, i);
    start = i + 3;
    i += 2;
  }
  if (start >= 0 && start < data.length) yield trimmed(data, start, data.length);
}

/** Zero bytes before the next start code belong to it, not to the unit. */
function trimmed(data: Uint8Array, start: number, end: number): Uint8Array {
  let last = end;
  while (last > start && data[last - 1] === 0) last--;
  return data.subarray(start, last);
}

const hex = (value: number): string => value.toString(16).padStart(2, "0");

/** `avc1.PPCCLL` from the sequence parameter set: profile, constraints, level (RFC 6381 section 3.3). */
export function h264CodecString(data: Uint8Array): string | null {
  for (const nal of nalUnits(data)) {
    if (((nal[0] ?? 0) & 0x1f) !== 7 || nal.length < 4) continue;
    return `avc1.${hex(nal[1] ?? 0)}${hex(nal[2] ?? 0)}${hex(nal[3] ?? 0)}`;
  }
  return null;
}

/** Remove emulation prevention bytes: 00 00 03 → 00 00. */
function withoutEmulation(nal: Uint8Array): Uint8Array {
  const out: number[] = [];
  for (let i = 0; i < nal.length; i++) {
    if (nal[i] === 3 && nal[i - 1] === 0 && nal[i - 2] === 0) continue;
    out.push(nal[i] ?? 0);
  }
  return Uint8Array.from(out);
}

/** `hev1.…` from profile_tier_level of the SPS (ITU-T H.265 7.3.3, ISO/IEC 14496-15 annex E). */
export function h265CodecString(data: Uint8Array): string | null {
  for (const nal of nalUnits(data)) {
    if ((((nal[0] ?? 0) >> 1) & 0x3f) !== 33) continue;
    // Two bytes NAL header, then sps_video_parameter_set_id(4) max_sub_layers(3) nesting(1).
    const sps = withoutEmulation(nal.subarray(0, 32)).subarray(3);
    if (sps.length < 12) return null;
    const first = sps[0] ?? 0;
    const space = ["", "A", "B", "C"][first >> 6] ?? "";
    const tier = first & 0x20 ? "H" : "L";
    let compatibility = 0;
    const flags = new DataView(sps.buffer, sps.byteOffset).getUint32(1);
    for (let i = 0; i < 32; i++) if ((flags >>> i) & 1) compatibility |= 1 << (31 - i);
    const constraints = [...sps.subarray(5, 11)];
    while (constraints.at(-1) === 0) constraints.pop();
    const tail = constraints.map((byte) => `.${byte.toString(16).toUpperCase()}`).join("");
    return (
      `hev1.${space}${first & 0x1f}.${(compatibility >>> 0).toString(16).toUpperCase()}` +
      `.${tier}${sps[11] ?? 0}${tail}`
    );
  }
  return null;
}

/** Configuration for a video track, given a keyframe; null while the keyframe says too little. */
export function videoConfig(track: Track, keyframe: Uint8Array): VideoDecoderConfig | null {
  const codec = videoCodecString(track, keyframe);
  if (codec === null) return null;
  return { codec, optimizeForLatency: true, hardwareAcceleration: "no-preference" };
}

function videoCodecString(track: Track, keyframe: Uint8Array): string | null {
  switch (track.codec) {
    // What is in the stream counts: the server's string is from the description, which may be stale.
    case "h264":
      return h264CodecString(keyframe) ?? track.codecString;
    case "h265":
      return h265CodecString(keyframe) ?? track.codecString;
    case "vp8":
      return "vp8";
    case "vp9":
      return track.codecString ?? "vp09.00.10.08";
    case "av1":
      return track.codecString ?? "av01.0.08M.08";
    default:
      return track.codecString ?? track.codec;
  }
}

/** Configuration for an audio track that WebCodecs decodes. */
export function audioConfig(track: Track): AudioDecoderConfig {
  const common = { sampleRate: track.clockRate, numberOfChannels: track.channels || 2 };
  if (track.codec === "opus") return { codec: "opus", ...common };
  if (track.codec === "aac") {
    const config = { codec: track.codecString ?? aacCodecString(track.description), ...common };
    return track.description ? { ...config, description: track.description } : config;
  }
  return { codec: track.codecString ?? track.codec, ...common };
}

/** `mp4a.40.N`: N is the object type in the first bits of the AudioSpecificConfig. */
export function aacCodecString(description: Uint8Array | null): string {
  const first = description?.[0];
  if (first === undefined) return "mp4a.40.2";
  let type = first >> 3;
  if (type === 31) type = 32 + (((first & 7) << 3) | ((description?.[1] ?? 0) >> 5));
  return `mp4a.40.${type}`;
}

/** Whether the browser decodes it. Names WebCodecs does not know are "no", not an exception. */
export async function videoSupported(config: VideoDecoderConfig): Promise<boolean> {
  try {
    return (await VideoDecoder.isConfigSupported(config)).supported === true;
  } catch {
    return false;
  }
}

export async function audioSupported(track: Track): Promise<boolean> {
  if (SAMPLE_CODECS.has(track.codec)) return true;
  try {
    return (await AudioDecoder.isConfigSupported(audioConfig(track))).supported === true;
  } catch {
    return false;
  }
}
