// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { SETUP_KEY } from "../dev/fake-api.mjs";
import "../src/pages/list";
import "../src/pages/setup";
import "../src/pages/sign-in";
import { fill, PASSWORD, press, serve, settle, show, words } from "./fake-server";

let went: string[] = [];

beforeEach(() => {
  went = [];
  document.body.replaceChildren();
  const go = (to: string | URL): void => void went.push(String(to));
  vi.spyOn(window.location, "assign").mockImplementation(go);
  vi.spyOn(window.location, "replace").mockImplementation(go);
});

afterEach(() => {
  document.body.replaceChildren();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("signing in", () => {
  it("says that name or password is wrong, and goes on when they are right", async () => {
    serve();
    await show("helio-sign-in");
    await fill({ name: "ben", password: "not the one" });
    await press("Sign in");
    expect(words()).toContain("The name or the password is not right.");
    expect(went).toEqual([]);
    await fill({ password: PASSWORD });
    await press("Sign in");
    expect(went).toEqual(["/"]);
  });

  it("says how long to wait when guesses are slowed", async () => {
    serve();
    await show("helio-sign-in");
    await fill({ name: "ben", password: "a guess at it" });
    for (let i = 0; i < 6; i++) await press("Sign in");
    expect(words()).toContain("Too many attempts. Wait 30 s and try again.");
  });

  it("says so when somebody is signed in already", async () => {
    serve("ben");
    await show("helio-sign-in");
    expect(words()).toContain("You are signed in As Ben.");
  });

  it("leads to the first set-up while there is no account", async () => {
    serve("", true);
    await show("helio-sign-in");
    expect(went).toContain("/setup");
  });
});

describe("the first set-up", () => {
  it("takes the administrator's key and nothing else", async () => {
    serve("", true);
    await show("helio-setup");
    await fill({ key: "a guess", name: "ada", password: PASSWORD });
    await press("Make the account");
    expect(words()).toContain("This is not the administrator's key.");
    await fill({ key: SETUP_KEY });
    await press("Make the account");
    expect(went).toEqual(["/mine"]);
  });

  it("is over once there is an account", async () => {
    serve();
    await show("helio-setup");
    expect(words()).toContain("This server is set up");
  });

  it("is what the list of channels leads to", async () => {
    serve("", true);
    await show("helio-list");
    expect(words()).toContain("This server has no accounts yet.");
    serve("ben");
    document.body.replaceChildren();
    await show("helio-list");
    expect(words()).not.toContain("no accounts yet");
  });
});

describe("the account menu", () => {
  const open = async (): Promise<void> => {
    await show("site-header");
    const button = document
      .querySelector("site-header")
      ?.shadowRoot?.querySelector("account-menu")
      ?.shadowRoot?.querySelector<HTMLElement>(".who");
    button?.click();
    await settle();
  };

  it("offers a stranger to sign in and to come back", async () => {
    serve();
    await show("site-header");
    expect(words()).toContain("Sign in");
  });

  it.each([
    ["vera", false, false],
    ["ben", true, false],
    ["ada", true, true],
  ])("shows %s what is for that person", async (name, channels, administration) => {
    serve(name);
    await open();
    expect(words().includes("My channels")).toBe(channels);
    expect(words().includes("Administration")).toBe(administration);
  });

  it("changes the password, and says what is wrong with a new one", async () => {
    const api = serve("vera");
    await open();
    await press("Change password");
    await fill({ "old-password": "not the one", password: "a longer password" });
    await press("Change");
    expect(words()).toContain("The password until now is not right.");
    await fill({ "old-password": PASSWORD });
    await press("Change");
    expect(words()).toContain("Your password is changed.");
    const again = { name: "vera", password: "a longer password" };
    expect(api.handle("POST", "/api/v1/session", again)?.status).toBe(200);
  });

  it("signs out", async () => {
    serve("ben");
    await open();
    await press("Sign out");
    expect(went).toEqual(["/"]);
    expect(words()).toContain("Sign in");
  });
});

describe("the list of channels", () => {
  it("shows owners and how long they are on air, and what is not for everybody", async () => {
    const api = serve("ben");
    const since = new Date(Date.now() - 65_000).toISOString();
    api.addChannel("a", "ada", { title: "Hers", state: "on_air", on_air_since: since, readers: 2 });
    api.addChannel("b", "ben", { title: "His", private: true });
    api.addChannel("c", null, { view_access: "invited" });
    await show("helio-list");
    expect(words()).toContain("2 viewers");
    expect(words()).toContain("for 1 min");
    expect(words()).toMatch(/Hers\s*Ada/);
    expect(words()).toMatch(/His\s*You/);
    expect(words()).toContain("Private");
    expect(words()).toContain("By invitation");
  });

  it("tells a stranger and a broadcaster different ways on air", async () => {
    serve();
    await show("helio-list");
    expect(words()).toContain("without an account");
    document.body.replaceChildren();
    serve("ben");
    await show("helio-list");
    expect(words()).not.toContain("without an account");
    expect(words()).toContain("My channels");
  });
});
