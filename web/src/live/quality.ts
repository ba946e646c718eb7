/** What is asked of the camera and of the encoder. Pure. */

export type Size = "360p" | "720p" | "1080p";
export type Source = "camera" | "screen";

export interface Quality {
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  /** Upper bound for the encoder, bit/s. */
  readonly maxBitrate: number;
  readonly name: string;
}

/** Rates at which H.264 of a browser's real-time encoder looks clean. */
export const QUALITIES: Readonly<Record<Size, Quality>> = {
  "360p": { width: 640, height: 360, fps: 30, maxBitrate: 800_000, name: "Small, 360p" },
  "720p": { width: 1280, height: 720, fps: 30, maxBitrate: 2_500_000, name: "Normal, 720p" },
  "1080p": { width: 1920, height: 1080, fps: 30, maxBitrate: 4_500_000, name: "Large, 1080p" },
};

export const SIZES = Object.keys(QUALITIES) as Size[];

/** Whether smaller pictures may be sent beside one of this size: there is something between. */
export const dividable = (size: Size, source: Source): boolean =>
  source === "camera" && size !== "360p";

/** How the picture is encoded: once, or in half and full size too (simulcast, RFC 8853). */
export function encodings(size: Size, smaller: boolean): RTCRtpEncodingParameters[] {
  const { maxBitrate, fps } = QUALITIES[size];
  const full = { maxBitrate, maxFramerate: fps };
  if (!smaller) return [full];
  // Browsers give the first the bandwidth first. A quarter of the area needs about a third of the rate.
  const half = { maxBitrate: Math.round(maxBitrate / 3), maxFramerate: fps };
  return [
    { rid: "half", scaleResolutionDownBy: 2, ...half },
    { rid: "full", scaleResolutionDownBy: 1, ...full },
  ];
}

export function videoConstraints(size: Size, deviceId: string): MediaTrackConstraints {
  const { width, height, fps } = QUALITIES[size];
  return {
    // Ideal, not exact: a camera that has less is better than none.
    width: { ideal: width },
    height: { ideal: height },
    frameRate: { ideal: fps },
    ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
  };
}

/** Letters must stay sharp, movement must stay fluent. */
export const contentHint = (source: Source): string => (source === "screen" ? "detail" : "motion");

export const degradation = (source: Source): "balanced" | "maintain-resolution" =>
  source === "screen" ? "maintain-resolution" : "balanced";

export interface Codec {
  readonly mimeType: string;
  readonly sdpFmtpLine?: string;
}

/**
 * H.264 first, which every player has and hardware encodes, then VP8. Constrained baseline stands before
 * the other profiles, single packets (mode 0) behind all. What is no codec (rtx, red) keeps its place
 * at the end.
 */
export function byPreference<C extends Codec>(codecs: readonly C[]): C[] {
  return codecs
    .map((codec, at) => ({ codec, at, rank: rank(codec) }))
    .sort((a, b) => a.rank - b.rank || a.at - b.at)
    .map(({ codec }) => codec);
}

function rank({ mimeType, sdpFmtpLine = "" }: Codec): number {
  switch (mimeType.toLowerCase()) {
    case "video/h264": {
      if (!sdpFmtpLine.includes("packetization-mode=1")) return 3;
      const profile = /profile-level-id=([0-9a-f]{4})/i.exec(sdpFmtpLine)?.[1]?.toLowerCase();
      return profile === "42e0" ? 0 : profile === "640c" || profile === "6400" ? 1 : 2;
    }
    case "video/vp8":
      return 4;
    case "video/vp9":
    case "video/av1":
    case "video/h265":
      return 5;
    default:
      return 6;
  }
}
