import { describe, expect, it } from "vitest";
import { Timers } from "../src/player/timers";
import { OwnTime } from "./own-time";

describe("Timers", () => {
  it("call each in its time, once", () => {
    const time = new OwnTime();
    const timers = new Timers(time.after);
    const called: string[] = [];
    timers.after(20, () => called.push("late"));
    timers.after(10, () => called.push("early"));
    time.pass(15);
    expect(called).toEqual(["early"]);
    time.pass(100);
    expect(called).toEqual(["early", "late"]);
  });

  it("are called off together, and may be set again", () => {
    const time = new OwnTime();
    const timers = new Timers(time.after);
    const called: string[] = [];
    timers.after(10, () => called.push("one"));
    timers.after(20, () => called.push("two"));
    timers.clear();
    expect(time.pending).toBe(0);
    timers.after(10, () => called.push("three"));
    time.pass(100);
    expect(called).toEqual(["three"]);
  });

  it("call off from within a call what would follow, and keep what that call sets", () => {
    const time = new OwnTime();
    const timers = new Timers(time.after);
    const called: string[] = [];
    timers.after(10, () => {
      timers.clear();
      timers.after(5, () => called.push("again"));
    });
    timers.after(10, () => called.push("never"));
    time.pass(100);
    expect(called).toEqual(["again"]);
  });
});
