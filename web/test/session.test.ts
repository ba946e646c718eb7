import { describe, expect, it } from "vitest";
import { ApiError } from "../src/api/client";
import { explain, nextPath, signInPath } from "../src/api/session";

describe("after signing in", () => {
  it("one comes back to a path of this server, and to nothing else", () => {
    expect(nextPath("?next=%2Fwatch%2Fyard%3Fway%3Dhls")).toBe("/watch/yard?way=hls");
    expect(nextPath(signInPath("/live/a?b=c&d").slice(8))).toBe("/live/a?b=c&d");
    for (const bad of [
      "https://evil.example",
      "//evil.example",
      "/\\evil.example",
      "javascript:0",
      "",
    ]) {
      expect(nextPath(`?next=${encodeURIComponent(bad)}`)).toBe("/");
    }
  });
});

describe("what went wrong", () => {
  it("is a sentence", () => {
    expect(explain(new ApiError(409, "channel 'a' exists already"))).toBe(
      "Channel 'a' exists already.",
    );
    expect(explain(new ApiError(500, "internal error"))).toContain("The server made a mistake.");
    expect(explain(new ApiError(429, "slow", null, 600))).toContain("Wait 10 min");
  });
});
