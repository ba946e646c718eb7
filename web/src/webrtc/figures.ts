/** From `getStats` reports, which count from the beginning, to figures of the last moments. Pure. */

/** The members of RTCStats used here; a report is any list of them. */
export interface Stat {
  readonly id: string;
  readonly type: string;
  readonly kind?: string;
  readonly bytesSent?: number;
  readonly bytesReceived?: number;
  readonly packetsReceived?: number;
  readonly packetsLost?: number;
  readonly framesDecoded?: number;
  readonly framesDropped?: number;
  readonly framesPerSecond?: number;
  readonly frameWidth?: number;
  readonly frameHeight?: number;
  readonly jitterBufferDelay?: number;
  readonly jitterBufferEmittedCount?: number;
  readonly jitterBufferTargetDelay?: number;
  readonly totalDecodeTime?: number;
  readonly totalInterFrameDelay?: number;
  readonly fractionLost?: number;
  readonly roundTripTime?: number;
  readonly currentRoundTripTime?: number;
  readonly nominated?: boolean;
  readonly state?: string;
  readonly codecId?: string;
  readonly mimeType?: string;
  readonly qualityLimitationReason?: string;
}

export type Report = Iterable<Stat>;

/** A report as a list; RTCStatsReport is a map. */
export function listed(report: RTCStatsReport): Stat[] {
  const all: Stat[] = [];
  report.forEach((stat: Stat) => {
    all.push(stat);
  });
  return all;
}

/** "video/H264" as people say it. */
export function plainCodec(mimeType: string | undefined): string {
  const name = mimeType?.split("/")[1] ?? "";
  return name.toUpperCase() === "H264" ? "H.264" : name.toLowerCase() === "opus" ? "Opus" : name;
}

const codecOf = (all: readonly Stat[], stat: Stat | undefined): string =>
  plainCodec(all.find((s) => s.id === stat?.codecId)?.mimeType);

const sum = (all: readonly Stat[], of: (stat: Stat) => number | undefined): number =>
  all.reduce((total, stat) => total + (of(stat) ?? 0), 0);

/** Growth of a counter a second; a counter that went back is of a new session. */
function perSecond(now: number, before: number, elapsedMs: number): number {
  return elapsedMs > 0 && now >= before ? ((now - before) / elapsedMs) * 1000 : 0;
}

const pair = (all: readonly Stat[]): Stat | undefined =>
  all.find((s) => s.type === "candidate-pair" && s.nominated && s.state === "succeeded") ??
  all.find((s) => s.type === "candidate-pair" && s.currentRoundTripTime !== undefined);

const milliseconds = (seconds: number | undefined): number | null =>
  seconds === undefined ? null : seconds * 1000;

/** Of several sizes of one picture the one that people mean. */
function largest(pictures: readonly Stat[]): Stat | undefined {
  return pictures.reduce<Stat | undefined>(
    (found, one) => ((one.frameWidth ?? 0) > (found?.frameWidth ?? -1) ? one : found),
    undefined,
  );
}

export interface SentFigures {
  /** Sent in the last interval, bit/s. */
  readonly bitrate: number;
  readonly roundTripMs: number | null;
  /** Share of packets lost on the way to the server, 0 to 1; null before its first report. */
  readonly loss: number | null;
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  readonly codec: string;
  readonly audioCodec: string;
  /** What keeps the picture below its full size or rate. */
  readonly limit: "" | "network" | "processor";
}

/** Figures of what is sent. */
export class SentMeter {
  private bytes = 0;
  private atMs = 0;

  read(report: Report, nowMs: number): SentFigures {
    const all = [...report];
    const out = all.filter((s) => s.type === "outbound-rtp");
    const remote = all.filter((s) => s.type === "remote-inbound-rtp");
    const video = largest(out.filter((s) => s.kind === "video"));
    const audio = out.find((s) => s.kind === "audio");
    const bytes = sum(out, (s) => s.bytesSent);
    const bitrate = this.atMs ? perSecond(bytes, this.bytes, nowMs - this.atMs) * 8 : 0;
    this.bytes = bytes;
    this.atMs = nowMs;
    const losses = remote.map((s) => s.fractionLost).filter((l) => l !== undefined);
    const reason = video?.qualityLimitationReason;
    return {
      bitrate,
      roundTripMs: milliseconds(
        remote.find((s) => s.roundTripTime !== undefined)?.roundTripTime ??
          pair(all)?.currentRoundTripTime,
      ),
      loss: losses.length ? Math.max(...losses) : null,
      width: video?.frameWidth ?? 0,
      height: video?.frameHeight ?? 0,
      fps: video?.framesPerSecond ?? 0,
      codec: codecOf(all, video),
      audioCodec: codecOf(all, audio),
      limit: reason === "bandwidth" ? "network" : reason === "cpu" ? "processor" : "",
    };
  }
}

export interface ReceivedFigures {
  readonly bytes: number;
  readonly packets: number;
  readonly lost: number;
  readonly bitrate: number;
  readonly roundTripMs: number | null;
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  readonly decoded: number;
  readonly dropped: number;
  readonly codec: string;
  readonly audioCodec: string;
  /** Time in the jitter buffer, mean of the last interval. */
  readonly bufferMs: number | null;
  /** What the browser wants that time to be. */
  readonly targetMs: number | null;
  /** Time in the decoder, mean of the last interval. */
  readonly decodeMs: number;
}

/** Figures of what is received. */
export class ReceivedMeter {
  private before: readonly Stat[] = [];
  private atMs = 0;

  read(report: Report, nowMs: number): ReceivedFigures {
    const all = [...report];
    const received = all.filter((s) => s.type === "inbound-rtp");
    const video = received.find((s) => s.kind === "video");
    const audio = received.find((s) => s.kind === "audio");
    const main = video?.framesDecoded ? video : (audio ?? video);
    const old = this.before.find((s) => s.id === main?.id);
    const elapsed = this.atMs ? nowMs - this.atMs : 0;
    const bytes = sum(received, (s) => s.bytesReceived);
    const figures: ReceivedFigures = {
      bytes,
      packets: sum(received, (s) => s.packetsReceived),
      lost: sum(received, (s) => s.packetsLost),
      bitrate:
        perSecond(
          bytes,
          sum(this.before, (s) => s.bytesReceived),
          elapsed,
        ) * 8,
      roundTripMs: milliseconds(pair(all)?.currentRoundTripTime),
      width: video?.frameWidth ?? 0,
      height: video?.frameHeight ?? 0,
      fps: video?.framesPerSecond ?? 0,
      decoded: video?.framesDecoded ?? 0,
      dropped: video?.framesDropped ?? 0,
      codec: codecOf(all, video),
      audioCodec: codecOf(all, audio),
      bufferMs: mean(main, old, "jitterBufferDelay", "jitterBufferEmittedCount"),
      targetMs: mean(main, old, "jitterBufferTargetDelay", "jitterBufferEmittedCount"),
      decodeMs: mean(video, old, "totalDecodeTime", "framesDecoded") ?? 0,
    };
    this.before = received;
    this.atMs = nowMs;
    return figures;
  }
}

/** Growth of a sum of seconds divided by growth of its count, in ms. */
function mean(
  now: Stat | undefined,
  before: Stat | undefined,
  total: "jitterBufferDelay" | "jitterBufferTargetDelay" | "totalDecodeTime",
  count: "jitterBufferEmittedCount" | "framesDecoded",
): number | null {
  const n = (now?.[count] ?? 0) - (before?.[count] ?? 0);
  const seconds = (now?.[total] ?? 0) - (before?.[total] ?? 0);
  return n > 0 && seconds >= 0 ? (seconds / n) * 1000 : null;
}
