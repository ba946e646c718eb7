import { describe, expect, test } from "vitest";
import {
  DAY_MS,
  dayOf,
  periodName,
  serverName,
  spanOf,
  stepOf,
  summary,
  titleName,
} from "../src/admin/reports/model";
import { exportPath, type PeriodLine, type ServerLine, type TitleLine } from "../src/api/reports";

const figures = { redirects: 0, refusals: 0, plays: 0, seconds: 0, sent_bytes: 0, stalls: 0 };
const period = (start: string, redirects: number): PeriodLine => ({ ...figures, start, redirects });

describe("the time of a report", () => {
  test("is divided so that a plot has neither few nor too many bars", () => {
    const step = (days: number): string => stepOf({ from: 0, to: days * DAY_MS });
    expect([1, 3, 7, 30, 365].map(step)).toEqual(["hour", "hour", "day", "day", "week"]);
  });

  test("is of whole days where days are chosen, the last one with it", () => {
    const span = spanOf("2026-03-01", "2026-03-02");
    expect(span && [dayOf(span.from), dayOf(span.to - 1), dayOf(span.to)]).toEqual([
      "2026-03-01",
      "2026-03-02",
      "2026-03-03",
    ]);
    expect(spanOf("2026-03-03", "2026-03-01")).toBeNull();
    expect(spanOf("", "2026-03-01")).toBeNull();
  });

  test("stands in the address of a file", () => {
    const path = exportPath("titles", { from: 0, to: DAY_MS }, "csv", { limit: "5" });
    expect(path).toBe(
      "/api/v1/reports/titles?from=1970-01-01T00%3A00%3A00.000Z&to=1970-01-02T00%3A00%3A00.000Z&limit=5&format=csv",
    );
  });
});

describe("names", () => {
  const title = (name: string, text: string): TitleLine => ({ ...figures, name, title: text });
  const server = (kind: ServerLine["kind"], id: string, name: string): ServerLine => ({
    ...figures,
    kind,
    id,
    name,
  });

  test("say what a line is about", () => {
    expect(titleName(title("film", "A film"))).toBe("A film");
    expect(titleName(title("film", ""))).toBe("film");
    expect(titleName(title("", ""))).toBe("Names that do not exist");
    expect(serverName(server("server", "7", "east"))).toBe("east");
    expect(serverName(server("unit", "ab", ""))).toBe("Unit ab, not there now");
    expect(serverName(server("units", "0", ""))).toBe("Channels, at our own units");
  });

  test("of days are those of UTC", () => {
    expect(periodName(period("2026-03-01T00:00:00+00:00", 1), "week")).toMatch(/^Week of .*2026/);
    expect(periodName(period("2026-03-01T00:00:00+00:00", 1), "day")).toContain("1");
  });
});

test("a plot is summed up for those who do not see it", () => {
  const lines = [period("2026-03-01T00:00Z", 3), period("2026-03-02T00:00Z", 1200)];
  expect(summary(lines, "day")).toContain("1,200 redirects and 0 plays");
  expect(summary([], "day")).toBe("Nothing was asked for or played.");
});
