// @vitest-environment happy-dom

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { actionWords, detailWords } from "../src/admin/audit-words";
import "../src/pages/admin";
import { bytes } from "../src/ui/format";
import { everything, fill, PASSWORD, press, serve, settle, show, words } from "./fake-server";

beforeEach(() => document.body.replaceChildren());

afterEach(() => {
  document.body.replaceChildren();
  vi.unstubAllGlobals();
});

describe("administration", () => {
  it.each([
    ["", "Sign in as one"],
    ["vera", "Your account is not one."],
    ["ben", "Your account is not one."],
  ])("is closed to %s", async (name, told) => {
    serve(name);
    await show("helio-admin");
    expect(words()).toContain(told);
    expect(words()).not.toContain("Accounts");
  });

  it("adds an account that can sign in", async () => {
    const api = serve("ada");
    await show("helio-admin");
    await press("Add an account");
    await fill({ name: "cleo", password: "short", role: "viewer" });
    await press("Add");
    expect(words()).not.toContain("cleo may sign in");
    await fill({ password: PASSWORD });
    await press("Add");
    expect(words()).toContain("cleo may sign in now.");
    const body = { name: "cleo", password: PASSWORD };
    expect(api.handle("POST", "/api/v1/session", body)?.status).toBe(200);
  });

  it("changes roles, disables, sets passwords", async () => {
    const api = serve("ada");
    await show("helio-admin");
    const role = everything().find((e) => e.getAttribute("aria-label") === "Role of ben");
    (role as HTMLSelectElement).value = "viewer";
    role?.dispatchEvent(new Event("change"));
    await settle();
    expect(api.audit.at(-1)).toMatchObject({ action: "account.edit", subject: "ben" });
    // The last account in the list is vera's.
    await press("Disable");
    expect(words()).toContain("disabled");
    await press("Enable");
    expect(words()).not.toContain("disabled");
    await press("New password");
    await fill({ password: "another password" });
    await press("Set it");
    expect(api.audit.at(-1)).toMatchObject({ action: "account.password", subject: "vera" });
  });

  it("lets an account administer domains, and none any more", async () => {
    const api = serve("ada");
    await show("helio-admin");
    await press("Domains");
    await fill({ domains: " asia, eu-west " });
    await press("Set them");
    expect(words()).toContain("administers asia, eu-west");
    const body = { name: "vera", password: PASSWORD };
    expect(api.handle("POST", "/api/v1/session", body)?.body).toMatchObject({
      domains: ["asia", "eu-west"],
    });
    await press("Domains");
    await fill({ domains: "" });
    await press("Set them");
    expect(words()).not.toContain("administers");
  });

  it("asks before it deletes, and says why it cannot", async () => {
    const api = serve("ada");
    api.addChannel("yard", "vera");
    await show("helio-admin");
    await press("Delete");
    await press("Delete");
    expect(words()).toContain("Account 'vera' has channels.");
    expect(words()).toContain("vera, since");
  });

  it("gives nobody the means to lock oneself out", async () => {
    serve("ada");
    await show("helio-admin");
    const role = everything().find((e) => e.getAttribute("aria-label") === "Role of ada");
    expect((role as HTMLSelectElement).disabled).toBe(true);
  });

  it("turns the pages of the audit log", async () => {
    const api = serve("ada");
    const named = { name: "ben", password: PASSWORD };
    for (let i = 0; i < 40; i++) api.handle("POST", "/api/v1/session", named);
    await show("helio-admin");
    const lines = (): number => words().split("signed in").length - 1;
    expect(lines()).toBe(25);
    await press("Older");
    expect(lines()).toBe(16);
    await press("Newer");
    expect(lines()).toBe(25);
  });
});

describe("words of the log", () => {
  it("say actions, and leave unknown ones as they are", () => {
    expect(actionWords("key.revoke")).toBe("revoked a stream key of");
    expect(actionWords("session.open", true)).toBe("signed in");
    expect(actionWords("moon.rise", true)).toBe("moon.rise");
  });

  it("say details", () => {
    expect(detailWords({ title: "The yard", private: true, owner: null, slow_mode_ms: 0 })).toBe(
      "title: The yard, private: yes, slow mode ms: 0",
    );
  });
});

describe("amounts", () => {
  it("have three digits at most", () => {
    expect([0, 999, 1_500, 123_400_000, 9.99e14].map(bytes)).toEqual([
      "0 B",
      "999 B",
      "1.5 kB",
      "123 MB",
      "999 TB",
    ]);
  });
});
