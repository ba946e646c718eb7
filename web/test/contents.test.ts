// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { list, probeLine, readDuration, readProbes, standing } from "../src/admin/contents/model";
import { BYTES, cut, type Part, ROWS } from "../src/admin/contents/parts";
import type { Server, ServerState } from "../src/api/contents";
import "../src/pages/contents";
import type { FakeApi } from "../dev/fake-api.mjs";
import {
  everything,
  fill,
  PASSWORD,
  press,
  SilentSource,
  serve,
  settle,
  show,
  words,
} from "./fake-server";

beforeEach(() => {
  document.body.replaceChildren();
  location.hash = "";
});

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

/** Press the row of a list that shows this. */
async function choose(text: string): Promise<void> {
  const row = everything().find(
    (one) => one.classList.contains("pick") && one.textContent?.includes(text),
  );
  if (!row) throw new Error(`no row ${text} in: ${words()}`);
  (row as HTMLButtonElement).click();
  await settle();
}

/** What monitors tell of harbour and pier, in this order. */
const states = (...conditions: string[]) => ({
  states: conditions.map((condition, index) => ({
    server: ["harbour", "pier"][index],
    since: new Date().toISOString(),
    response_ms: 3,
    reason: "",
    drained: false,
    condition,
  })),
});

/** How often titles are asked for from now on. */
function countLists(): () => number {
  let asked = 0;
  const ask = fetch;
  vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
    if (path.includes("/titles?")) asked++;
    return ask(path, init);
  });
  return () => asked;
}

describe("titles and servers", () => {
  it.each([
    ["", "Sign in as one"],
    ["ben", "Your account is not one."],
  ])("are closed to %s", async (name, told) => {
    serve(name);
    await show("helio-contents");
    expect(words()).toContain(told);
    expect(words()).not.toContain("Add a title");
  });

  it("adds a server, drains, changes and removes it", async () => {
    const api = serve("ada");
    await show("helio-contents");
    await press("Servers");
    expect(words()).toContain("No server yet.");
    await press("Add a server");
    await fill({ name: "harbour", host: "films.example.org", capacity: "800", probes: "telnet" });
    await press("Add it");
    expect(words()).toContain("“telnet” is no probe");
    await fill({ probes: "icmp\nhttp@0.3:8080/film.mp4" });
    await press("Add it");
    expect(words()).toContain("harbour is there and being measured.");
    expect(words()).toContain("sends 800 Mbit/s");
    expect(words()).toContain("icmp@10, http@0.3:8080/film.mp4");
    await press("Drain");
    expect(words()).toContain("Drained");
    await press("Return");
    expect(words()).toContain("Not measured yet");
    await press("Change");
    await fill({ name: "harbour-1" });
    await press("Save");
    expect(words()).toContain("harbour-1 is changed.");
    await press("Remove");
    await press("Keep it");
    expect(words()).toContain("harbour-1");
    await press("Remove");
    await press("Remove harbour-1");
    expect(words()).toContain("harbour-1 is removed.");
    expect(api.handle("GET", "/api/v1/servers")?.status).toBe(401);
    expect(words()).toContain("No server yet.");
  });

  it("shows what the monitors tell, as it comes", async () => {
    const api = serve("ada");
    api.contents.add("servers", { name: "harbour", host: "films.example.org" });
    await show("helio-contents");
    await press("Servers");
    const state = { server: "harbour", since: new Date().toISOString(), response_ms: 3.2 };
    await SilentSource.last?.tell("states", {
      states: [{ ...state, condition: "up", reason: "" }],
    });
    expect(words()).toContain("Up");
    expect(words()).toContain("3 ms");
    await choose("harbour");
    const reason = "no answer to 2 probes by http";
    await SilentSource.last?.tell("states", { states: [{ ...state, condition: "down", reason }] });
    expect(words()).toContain("Down");
    expect(words()).toContain(reason);
  });

  it("adds a title with copies, withholds and removes it", async () => {
    const api = serve("ada");
    api.contents.add("servers", { name: "harbour", host: "films.example.org" });
    api.contents.add("levels", { code: "12", name: "From 12 years", min_age: 12 });
    await show("helio-contents");
    expect(words()).toContain("No title yet.");
    await press("Add a title");
    await fill({ name: "tides", title: "Tides", duration: "soon", regions: "eu, na" });
    await press("Add it");
    expect(words()).toContain("The length is told as 1:32:00");
    await fill({ duration: "42:00", policy: "nearest" });
    await press("Add it");
    expect(words()).toContain("only for eu, na");
    expect(words()).toContain("server by nearest");
    await press("Change");
    await fill({ policy: "" });
    await press("Save");
    expect(words()).not.toContain("server by");
    expect(words()).toContain("No copy");
    expect(words()).toContain("/go/tides");
    await press("Add a copy");
    const uri = "https://films.example.org/tides.m3u8";
    await fill({ server: "harbour", format: "hls", uri, rate: "4.5" });
    await press("Add it");
    expect(words()).toContain(uri);
    expect(words()).toContain("HLS · 4.5 Mbit/s");
    expect(words()).toContain("1 copy");
    await press("Withhold");
    expect(words()).toContain("Withheld");
    await press("Publish");
    await choose("Tides");
    await choose("Tides");
    const drop = everything().find((one) => one.getAttribute("aria-label") === `Remove ${uri}`);
    (drop as HTMLButtonElement).click();
    await settle();
    expect(words()).toContain("The copy on harbour is forgotten.");
    await press("Remove");
    await press("Remove Tides");
    expect(words()).toContain("tides is removed.");
  });

  it("tells of titles whose servers do not answer, as that changes", async () => {
    const api = serve("ada");
    const uri = "https://films.example.org/tides.m3u8";
    for (const name of ["harbour", "pier"]) {
      api.contents.add("servers", { name, host: "films.example.org" });
      api.contents.add("files", { title: "tides", server: name, format: "hls", uri });
    }
    api.contents.add("titles", { name: "tides" });
    api.contents.add("titles", { name: "kept", stored: true, standing: "playable" });
    await show("helio-contents");
    await choose("tides");
    expect(words()).toContain("Playable");
    expect(words()).toContain("2 copies");
    expect(words()).toContain("on a volume");
    await SilentSource.last?.tell("states", states("up", "up"));
    expect(words()).not.toContain("Down");
    const tides = api.contents.titles.get("tides") ?? {};
    tides.usable = 1;
    await SilentSource.last?.tell("states", states("down", "up"));
    await settle();
    expect(words()).toContain("1 of 2 copies");
    expect(words()).toContain("harbour Down");
    tides.usable = 0;
    await SilentSource.last?.tell("states", states("down", "down"));
    await settle();
    expect(words()).toContain("Out of reach");
    expect(words()).toContain("0 of 2 copies");
    await choose("kept");
    expect(words()).toContain("every node plays it");
    Object.assign(api.contents.titles.get("kept") ?? {}, { standing: "damaged", lost: 3 });
    await SilentSource.last?.tell("states", states("down", "up"));
    await settle();
    expect(words()).toContain("Damaged");
    expect(words()).toContain("on a volume, 3 blocks lost");
  });

  it("begins at the top of a row where that has the place of the list, and goes back", async () => {
    const api = serve("ada");
    api.contents.add("titles", { name: "tides" });
    vi.stubGlobal("matchMedia", () => ({ matches: true }));
    vi.stubGlobal("scrollY", 700);
    const scrolled = vi.fn();
    vi.stubGlobal("scrollTo", scrolled);
    const into = vi.spyOn(Element.prototype, "scrollIntoView").mockReturnValue();
    await show("helio-contents");
    await choose("tides");
    expect(into).toHaveBeenCalledOnce();
    vi.stubGlobal("scrollY", 0);
    await press("Back to all");
    expect(into).toHaveBeenCalledOnce();
    expect(scrolled).toHaveBeenCalledExactlyOnceWith(0, 700);
  });

  it("leaves a form alone that is open while servers change", async () => {
    const api = serve("ada");
    const uri = "https://films.example.org/tides.m3u8";
    api.contents.add("servers", { name: "harbour", host: "films.example.org" });
    api.contents.add("files", { title: "tides", server: "harbour", format: "hls", uri });
    api.contents.add("titles", { name: "tides", title: "Tides" });
    await show("helio-contents");
    await SilentSource.last?.tell("states", states("up"));
    await choose("Tides");
    await press("Change");
    await fill({ title: "High tides", duration: "soon" });
    await press("Save");
    expect(words()).toContain("The length is told as 1:32:00");
    const body = { name: "ada", password: "correct horse" };
    const token = api.handle("POST", "/api/v1/session", body)?.token;
    api.handle("PATCH", "/api/v1/titles/tides", { title: "Other" }, token);
    (api.contents.titles.get("tides") ?? {}).usable = 0;
    await SilentSource.last?.tell("states", states("down"));
    expect(words()).toContain("Out of reach");
    expect(words()).toContain("The length is told as 1:32:00");
    const field = everything().find((one) => one.getAttribute("name") === "title");
    expect((field as HTMLInputElement).value).toBe("High tides");
    await fill({ duration: "42:00" });
    await press("Save");
    expect(words()).toContain("ada changed this meanwhile.");
    const kept = api.handle("GET", "/api/v1/titles/tides", undefined, token)?.body;
    expect(kept).toMatchObject({ title: "Other" });
    await press("Cancel");
    expect(words()).toContain("harbour Down");
    expect(words()).toContain("0 of 1 copy");
  });

  it("says of which servers nothing is known, and how it is when the tab is shown again", async () => {
    const api = serve("ada");
    const uri = "https://films.example.org/tides.m3u8";
    for (const server of ["harbour", "off"]) {
      api.contents.add("files", { title: "tides", server, format: "hls", uri });
    }
    api.contents.add("titles", { name: "tides" });
    await show("helio-contents");
    await choose("tides");
    expect(words()).not.toContain("not measured");
    await SilentSource.last?.tell("states", states("up"));
    expect(words()).toContain("off Switched off, or not measured yet");
    expect(words()).not.toContain("harbour Switched off");
    await press("Servers");
    (api.contents.titles.get("tides") ?? {}).usable = 0;
    await SilentSource.last?.tell("states", states("down"));
    await press("Titles");
    expect(everything().filter((one) => one.textContent === "Out of reach")).toHaveLength(2);
  });

  it("reads titles anew when a server is otherwise, also when it is drained", async () => {
    const api = serve("ada");
    api.contents.add("titles", { name: "tides" });
    await show("helio-contents");
    const asked = countLists();
    const up = states("up");
    await SilentSource.last?.tell("states", up);
    await SilentSource.last?.tell("states", up);
    expect(asked()).toBe(0); // they were read as the servers are
    const drained = up.states.map((one) => ({ ...one, drained: true }));
    await SilentSource.last?.tell("states", { states: drained });
    expect(asked()).toBe(1);
    await SilentSource.last?.tell("states", { states: [] });
    expect(asked()).toBe(2);
  });

  it("reads titles anew when servers are told of late", async () => {
    const api = serve("ada");
    api.contents.add("titles", { name: "tides" });
    await show("helio-contents");
    const asked = countLists();
    SilentSource.last?.onerror();
    await SilentSource.last?.tell("states", states("up"));
    expect(asked()).toBe(1);
  });

  /** Somebody else, who is no account of this page's, changes a row. */
  function change(api: FakeApi, path: string, values: object): void {
    api.addAccount("cleo", PASSWORD, "administrator", "Cleo");
    const body = { name: "cleo", password: PASSWORD };
    const token = api.handle("POST", "/api/v1/session", body)?.token;
    expect(api.handle("PATCH", `/api/v1${path}`, values, token)?.status).toBe(200);
  }

  /** What stands in the fields of these names. */
  const written = (...names: string[]) =>
    names.map((name) => {
      const found = everything().find((one) => one.getAttribute("name") === name);
      return (found as HTMLInputElement | undefined)?.value;
    });

  it("shows what somebody else changed meanwhile, who it was, and does it the second time", async () => {
    const api = serve("ada");
    api.contents.add("titles", { name: "tides" });
    await show("helio-contents");
    await choose("tides");
    change(api, "/titles/tides", { title: "Other", regions: ["eu"] });
    await press("Withhold");
    expect(words()).toContain("cleo changed this meanwhile.");
    expect(words()).toContain("Title: Other; Only for regions: eu.");
    expect(words()).toContain("only for eu");
    expect(api.contents.titles.get("tides")).toMatchObject({ published: true });
    await press("Withhold");
    expect(words()).not.toContain("meanwhile");
    expect(api.contents.titles.get("tides")).toMatchObject({ published: false, title: "Other" });
  });

  it("keeps what was written in a form, and takes the rest from who came before", async () => {
    const api = serve("ada");
    const server = { name: "harbour", host: "films.example.org", weight: 1, region: "na" };
    api.contents.add("servers", server);
    await show("helio-contents");
    await press("Servers");
    await choose("harbour");
    await press("Change");
    await fill({ host: "new.example.org", region: "asia", probes: "tcp@1" });
    change(api, "/servers/harbour", { region: "eu", weight: 3, drained: true });
    await press("Save");
    expect(words()).toContain("cleo changed this meanwhile.");
    expect(words()).toContain("Region: eu (you wrote something else); Weight: 3; Drained: yes.");
    expect(words()).toContain("What you wrote is still here");
    const kept = ["new.example.org", "asia", "3", "tcp@1"];
    expect(written("host", "region", "weight", "probes")).toEqual(kept);
    await press("Save");
    expect(words()).toContain("harbour is changed.");
    expect(api.contents.servers.get("harbour")).toMatchObject({
      host: "new.example.org",
      region: "asia",
      weight: 3,
      drained: true,
    });
  });

  it("keeps what was chosen of a list, and takes what was not", async () => {
    const api = serve("ada");
    for (const code of ["12", "16"]) {
      api.contents.add("levels", { code, name: `From ${code} years`, min_age: Number(code) });
    }
    api.contents.add("titles", { name: "tides", level: "", policy: "" });
    await show("helio-contents");
    await choose("tides");
    await press("Change");
    await fill({ policy: "nearest" });
    change(api, "/titles/tides", { level: "16", description: "sea ".repeat(500) });
    await press("Save");
    expect(words()).toContain(`Description: ${"sea ".repeat(20)}…; Rating: 16.`);
    expect(written("policy", "level")).toEqual(["nearest", "16"]);
    await press("Save");
    expect(api.contents.titles.get("tides")).toMatchObject({ policy: "nearest", level: "16" });
  });

  it("says that a row is gone which somebody renamed while it was in a form", async () => {
    const api = serve("ada");
    api.contents.add("titles", { name: "tides" });
    await show("helio-contents");
    await choose("tides");
    await press("Change");
    await fill({ title: "High tides" });
    const ask = fetch;
    vi.stubGlobal("fetch", (path: string, init: RequestInit) => {
      if (init.method === "GET" && path.endsWith("/titles/tides")) {
        api.contents.titles.delete("tides"); // between the two requests
      }
      return ask(path, init);
    });
    change(api, "/titles/tides", { title: "Other" });
    await press("Save");
    expect(words()).toContain("Somebody removed this meanwhile, or gave it another name.");
    expect(written("title")).toEqual(["High tides"]);
  });

  it("finds by words, and goes on behind a page", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout"], shouldAdvanceTime: true });
    const api = serve("ada");
    for (let i = 0; i < 130; i++) {
      api.contents.add("titles", { name: `film-${String(i).padStart(3, "0")}` });
    }
    await show("helio-contents");
    const rows = (): number => everything().filter((one) => one.classList.contains("pick")).length;
    expect(rows()).toBe(100);
    await press("Show more");
    expect(rows()).toBe(130);
    await SilentSource.last?.tell("states", states("up"));
    await SilentSource.last?.tell("states", states("down"));
    expect(rows()).toBe(130);
    const search = everything().find((one) => one.getAttribute("type") === "search");
    (search as HTMLInputElement).value = "film-12";
    search?.dispatchEvent(new Event("input"));
    await vi.advanceTimersByTimeAsync(300);
    vi.useRealTimers();
    await settle();
    expect(rows()).toBe(10);
  });

  it("looks through a server, and registers what it holds", async () => {
    const api = serve("ada");
    api.contents.add("servers", { name: "harbour", host: "films.example.org" });
    await show("helio-contents");
    await press("Servers");
    await choose("harbour");
    const url = "http://films.example.org/films/";
    await fill({ url });
    await press("Only look");
    expect(words()).toContain("2 files on 1 page");
    expect(words()).toContain(`${url}tides.mp4`);
    expect(words()).toContain("0 files");
    await fill({ url });
    await press("Register");
    expect(words()).toContain("4 rows added, 0 changed.");
    expect(words()).not.toContain("0 files");
    await fill({ url });
    await press("Register");
    expect(words()).toContain("exists already");
  });

  it("imports a file in parts and tells what was not taken", async () => {
    const api = serve("ada");
    const sent = vi.spyOn(api.contents, "import");
    await show("helio-contents");
    await press("Import and export");
    expect(
      everything()
        .filter((one) => one.hasAttribute("download"))
        .map((one) => one.getAttribute("href")),
    ).toEqual(["csv", "json"].map((format) => `/api/v1/contents/export?format=${format}`));
    const bring = async (name: string, text: string): Promise<void> => {
      const input = everything().find((one) => one.getAttribute("type") === "file");
      const files = [new File([text], name)];
      Object.defineProperty(input, "files", { value: files, configurable: true });
      input?.closest("form")?.dispatchEvent(new Event("submit", { cancelable: true }));
      await settle();
    };
    const lines = Array.from({ length: 300 }, (_, at) => `title,film-${at}\n`);
    await bring("a.csv", `kind,name\nsmell,x\n${lines.join("")}`);
    expect(sent).toHaveBeenCalledTimes(2);
    expect(words()).toContain("a.csv: 300 rows added, 0 changed, 0 as before, 1 not taken.");
    expect(words()).toContain("line 2");
    await bring("b.json", '[{"kind": "title", "name": "tides"}, 7]');
    expect(words()).toContain("b.json: 1 row added, 0 changed, 0 as before, 1 not taken.");
    expect(words()).toContain("item 2");
    await bring("c.csv", "name,host\na,b\n");
    expect(words()).toContain("The first line names no column “kind”.");
  });

  it("goes on behind a page while servers change", async () => {
    const api = serve("ada");
    for (let i = 0; i < 130; i++) api.contents.add("titles", { name: `film-${1000 + i}` });
    await show("helio-contents");
    await SilentSource.last?.tell("states", states("up"));
    const more = everything().find((one) => one.classList.contains("more"));
    (more as HTMLButtonElement).click();
    await SilentSource.last?.tell("states", states("down"));
    expect(everything().filter((one) => one.classList.contains("pick"))).toHaveLength(130);
  });

  it("keeps regions, ratings and subjects", async () => {
    serve("ada");
    await show("helio-contents");
    await press("Regions and ratings");
    await fill({ cidr: "198.51.100.0/24", region: "eu" });
    const add = (): HTMLButtonElement[] =>
      everything().filter(
        (one) => one.localName === "button" && one.textContent?.trim() === "Add",
      ) as HTMLButtonElement[];
    add()[0]?.click();
    await settle();
    expect(words()).toContain("198.51.100.0/24 eu");
    const drop = everything().find(
      (one) => one.getAttribute("aria-label") === "Remove 198.51.100.0/24",
    );
    (drop as HTMLButtonElement).click();
    await settle();
    expect(words()).toContain("nowhere in particular");
  });
});

describe("parts of a file", () => {
  const text = (part?: Part): string => (part ? (part.body as { text: string }).text : "");

  it("are of CSV with quotes, in the order in which rows can be made", () => {
    const file =
      'title;kind;name;description\r\nfilm;file;;\r\n;title;film;"two ""lines"";\nof it"\r\n' +
      ';;;\r\n;title;disc;5" of it\r\n;smell;x;\n;server;one;';
    const { parts, rows, rejected } = cut(`\ufeff${file}`);
    expect([parts.length, rows, rejected]).toEqual([1, 5, []]);
    expect(text(parts[0])).toBe(
      "title;kind;name;description\r\n;server;one;\n" +
        ';title;film;"two ""lines"";\nof it"\r\n;title;disc;5" of it\r\n' +
        "film;file;;\r\n;smell;x;\n",
    );
    const place = (at: number): string | undefined => parts[0]?.place(`line ${at}`);
    expect([2, 3, 5, 6, 7].map(place)).toEqual([8, 3, 6, 2, 7].map((line) => `line ${line}`));
    expect(parts[0]?.place("csv")).toBe("csv");
  });

  it("are as small as requests have to be", () => {
    const lines = Array.from({ length: 600 }, (_, at) => `title,t${at},\n`);
    expect(cut(`kind,name,description\n${lines.join("")}`).parts.map((part) => part.rows)).toEqual([
      ROWS,
      ROWS,
      100,
    ]);
    const long = Array.from({ length: 10 }, (_, at) => ({
      kind: "title",
      name: `t${at}`,
      description: "ü".repeat(6000),
    }));
    const { parts } = cut(JSON.stringify(long));
    expect(parts.reduce((sum, { rows }) => sum + rows, 0)).toBe(10);
    for (const { body } of parts) {
      expect(new TextEncoder().encode(JSON.stringify(body)).length).toBeLessThan(BYTES + 100);
    }
  });

  it("are of objects, one a line, too", () => {
    const { parts, rejected } = cut(
      '{"kind": "file", "title": "a"}\n\n{"kind\n{"kind": "title"}\n[]',
    );
    expect(parts.map(({ body }) => body)).toEqual([
      {
        records: [
          { kind: "title", place: "line 4" },
          { kind: "file", title: "a", place: "line 1" },
        ],
      },
    ]);
    expect(rejected.map(({ place }) => place)).toEqual(["line 3", "line 5"]);
  });

  it("are none of what is no file of contents", () => {
    expect(() => cut("[1, 2")).toThrow("This is no JSON");
    expect(() => cut("name\nx\n")).toThrow("no column “kind”");
    expect(() => cut("")).toThrow("no column “kind”");
    expect(cut("kind,name\n").parts).toEqual([]);
  });
});

describe("what is written and read", () => {
  it("reads probes as it writes them", () => {
    const probe = { kind: "http", interval: 0.3, port: 8080, path: "/film.mp4" } as const;
    expect(readProbes(probeLine(probe))).toEqual([probe]);
    expect(readProbes(" \ntcp\n")).toEqual([{ kind: "tcp", interval: 10, port: 0, path: "" }]);
    expect(readProbes("http soon")).toContain("“http soon”");
  });

  it.each([
    ["", null],
    ["63", 63],
    ["1:03", 63],
    ["1:02:03.5", 3723.5],
    ["soon", undefined],
    ["1:2:3:4", undefined],
  ])("reads the length %s", (text, seconds) => {
    expect(readDuration(text)).toBe(seconds);
  });

  it("splits lists", () => {
    expect(list(" eu, na  eu,")).toEqual(["eu", "na"]);
  });

  it("puts what is wanted of a server before what was measured", () => {
    const server = { enabled: true, drained: false } as Server;
    const up = { condition: "up" } as ServerState;
    const down = { condition: "down" } as ServerState;
    expect(standing(server, undefined)).toBe("unknown");
    expect(standing(server, up)).toBe("up");
    expect(standing({ ...server, drained: true }, up)).toBe("drained");
    expect(standing({ ...server, drained: true }, down)).toBe("down");
    expect(standing({ ...server, enabled: false }, up)).toBe("off");
  });
});
