import { describe, expect, it } from "vitest";
import { decodeSamples } from "../src/player/g711";
import { PcmQueue } from "../src/player/pcm";

const RATE = 1_000; // a sample a millisecond keeps the sums readable
const chunk = (ptsMs: number, ...samples: number[]) => ({
  ptsUs: ptsMs * 1000,
  rate: RATE,
  planes: [Float32Array.from(samples)],
});

function read(queue: PcmQueue, count: number, speed = 1, outRate = RATE): number[] {
  const out = new Float32Array(count);
  queue.read([out], outRate, speed);
  return [...out];
}

describe("PcmQueue", () => {
  it("plays chunks one after the other and knows the time", () => {
    const queue = new PcmQueue();
    queue.push(chunk(100, 1, 2, 3));
    queue.push(chunk(103, 4, 5));
    expect(queue.heldUs).toBeCloseTo(5_000);
    expect(read(queue, 4)).toEqual([1, 2, 3, 4]);
    expect(queue.time).toBeCloseTo(104_000);
  });

  it("gives silence and counts it when nothing is there", () => {
    const queue = new PcmQueue();
    queue.push(chunk(0, 7));
    expect(read(queue, 3)).toEqual([7, 0, 0]);
    expect(queue.underruns).toBe(2);
    expect(queue.time).toBeNull();
  });

  it("fills a gap with silence of its length", () => {
    const queue = new PcmQueue();
    queue.push(chunk(0, 1, 1));
    queue.push(chunk(7, 2));
    expect(read(queue, 8)).toEqual([1, 1, 0, 0, 0, 0, 0, 2]);
  });

  it("does not play what was heard already", () => {
    const queue = new PcmQueue();
    queue.push(chunk(10, 1, 2, 3, 4));
    queue.push(chunk(10, 9, 9, 9, 9));
    expect(read(queue, 5)).toEqual([1, 2, 3, 4, 0]);
  });

  it("starts anew when the stamps leap", () => {
    const queue = new PcmQueue();
    queue.push(chunk(0, 1, 1));
    queue.push(chunk(60_000, 5));
    expect(queue.time).toBe(60_000_000);
  });

  it("throws away up to a time within a chunk", () => {
    const queue = new PcmQueue();
    queue.push(chunk(0, 1, 2, 3));
    queue.push(chunk(3, 4, 5, 6));
    queue.dropBefore(4_000);
    expect(read(queue, 2)).toEqual([5, 6]);
  });

  it("resamples and stretches by interpolation", () => {
    const queue = new PcmQueue();
    queue.push(chunk(0, 0, 1, 2, 3));
    expect(read(queue, 6, 1, 2 * RATE)).toEqual([0, 0.5, 1, 1.5, 2, 2.5]);
    const fast = new PcmQueue();
    fast.push(chunk(0, 0, 1, 2, 3, 4, 5));
    expect(read(fast, 3, 2)).toEqual([0, 2, 4]);
  });

  it("plays one channel on both sides", () => {
    const queue = new PcmQueue();
    queue.push(chunk(0, 1, 2));
    const out = [new Float32Array(2), new Float32Array(2)];
    queue.read(out, RATE, 1);
    expect(out[1]).toEqual(out[0]);
  });

  it("stays bounded when nobody reads", () => {
    const queue = new PcmQueue();
    for (let i = 0; i < 1_000; i++) queue.push(chunk(i * 20, ...new Array<number>(20).fill(1)));
    expect(queue.heldUs).toBeLessThan(3_100_000);
  });
});

describe("decodeSamples", () => {
  it("decodes µ-law as ITU-T G.711 has it", () => {
    const [plane] = decodeSamples("pcmu", Uint8Array.from([0xff, 0x7f, 0x80, 0x00]), 1);
    expect([...(plane ?? [])].map((v) => Math.round(v * 32768))).toEqual([0, 0, 32124, -32124]);
  });

  it("decodes A-law as ITU-T G.711 has it", () => {
    const [plane] = decodeSamples("pcma", Uint8Array.from([0xd5, 0x55, 0xaa, 0x2a]), 1);
    expect([...(plane ?? [])].map((v) => Math.round(v * 32768))).toEqual([8, -8, 32256, -32256]);
  });

  it("takes apart channels of L16 and L24, and leaves a part of a sample", () => {
    const l16 = decodeSamples("l16", Uint8Array.from([0x40, 0, 0xc0, 0, 1]), 2);
    expect(l16.map((p) => [...p])).toEqual([[0.5], [-0.5]]);
    const l24 = decodeSamples("l24", Uint8Array.from([0xc0, 0, 0, 0x20, 0, 0]), 1);
    expect(l24.map((p) => [...p])).toEqual([[-0.5, 0.25]]);
  });
});
