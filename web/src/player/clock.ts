/** Estimates the server's clock from pings, as NTP does: the round trip with the least delay wins. */

/** Old samples leave so that two drifting clocks stay together (50 ppm is 6 ms in 2 minutes). */
const MAX_SAMPLES = 12;

interface Sample {
  readonly offsetUs: number;
  readonly roundTripUs: number;
}

export class ServerClock {
  private samples: Sample[] = [];
  private guess: number | null = null;

  /** The start message: right but for the time it travelled. */
  hint(serverTimeUs: number, nowUs: number): void {
    this.samples = [];
    this.guess = serverTimeUs - nowUs;
  }

  add(serverTimeUs: number, sentUs: number, receivedUs: number): void {
    if (receivedUs < sentUs) return;
    this.samples.push({
      offsetUs: serverTimeUs - (sentUs + receivedUs) / 2,
      roundTripUs: receivedUs - sentUs,
    });
    if (this.samples.length > MAX_SAMPLES) this.samples.shift();
  }

  private get best(): Sample | null {
    let best: Sample | null = null;
    for (const s of this.samples) if (!best || s.roundTripUs <= best.roundTripUs) best = s;
    return best;
  }

  get roundTripUs(): number | null {
    return this.best?.roundTripUs ?? null;
  }

  /** The server's Unix µs at local time `nowUs`, or null when nothing is known. */
  serverTime(nowUs: number): number | null {
    const offset = this.best?.offsetUs ?? this.guess;
    return offset === null ? null : nowUs + offset;
  }
}
