import { describe, expect, it } from "vitest";
import { Stamps } from "../src/player/stamps";

describe("Stamps", () => {
  it("keeps the times of packets where the decoder counts samples only", () => {
    const stamps = new Stamps();
    const packets = [0, 20_010, 40_020, 440_000, 460_000];
    for (const pts of packets) stamps.enter(pts);
    expect([0, 20_000, 40_000, 60_000, 80_000].map((said) => stamps.leave(said))).toEqual(packets);
  });

  it("finds its place again behind a decoder that swallowed a packet and keeps times", () => {
    const stamps = new Stamps();
    for (const pts of [0, 20_000, 40_000]) stamps.enter(pts);
    expect(stamps.leave(20_000)).toBe(20_000);
    expect(stamps.leave(40_000)).toBe(40_000);
  });

  it("believes the decoder when nothing waits, and after a clear", () => {
    const stamps = new Stamps();
    stamps.enter(5);
    stamps.clear();
    expect(stamps.leave(7_000)).toBe(7_000);
  });

  it("stays bounded", () => {
    const stamps = new Stamps();
    for (let i = 0; i < 1_000; i++) stamps.enter(i * 20_000);
    expect(stamps.leave(0)).toBe(936 * 20_000);
  });
});
