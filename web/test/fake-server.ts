/** The stand-in REST API behind `fetch`, with a cookie as a browser keeps it; and helpers for elements. */

import type { LitElement } from "lit";
import { vi } from "vitest";
import { FakeApi } from "../dev/fake-api.mjs";
import { session } from "../src/api/session";

export const PASSWORD = "correct horse";

/** A server with accounts ada, ben and vera, of falling rank; who is named is signed in. */
export function serve(signedIn = "", fresh = false): FakeApi {
  const api = new FakeApi();
  if (!fresh) {
    api.addAccount("ada", PASSWORD, "administrator", "Ada");
    api.addAccount("ben", PASSWORD, "broadcaster", "Ben");
    api.addAccount("vera", PASSWORD, "viewer", "Vera");
  }
  let cookie = "";
  if (signedIn) {
    const body = { name: signedIn, password: PASSWORD };
    cookie = api.handle("POST", "/api/v1/session", body)?.token ?? "";
  }
  vi.stubGlobal("fetch", async (path: string, init: RequestInit = {}) => {
    const body = init.body ? (JSON.parse(String(init.body)) as unknown) : undefined;
    const headers = init.headers as Record<string, string>;
    const answer = api.handle(init.method ?? "GET", path, body, cookie, headers);
    if (!answer) throw new TypeError(`nothing answers at ${path}`);
    cookie = answer.token ?? cookie;
    const text = answer.body === null ? null : JSON.stringify(answer.body);
    return new Response(text, { status: answer.status, headers: answer.headers });
  });
  vi.stubGlobal("EventSource", SilentSource);
  forget();
  return api;
}

/** A stream of events of which a test tells what comes. */
export class SilentSource {
  static last: SilentSource | null = null;
  onopen = (): void => {};
  onerror = (): void => {};
  private readonly hearers = new Map<string, (event: { data: string }) => void>();

  constructor(readonly url: string) {
    SilentSource.last = this;
  }

  addEventListener(name: string, hearer: (event: { data: string }) => void): void {
    this.hearers.set(name, hearer);
  }

  /** Such an event comes. */
  async tell(name: string, data: unknown): Promise<void> {
    this.hearers.get(name)?.({ data: JSON.stringify(data) });
    await settle();
  }

  close(): void {}
}

/** A page that was just opened knows nobody. */
function forget(): void {
  Object.assign(session, { current: null, asked: null });
}

/** Put an element on the page and let it ask what it has to. */
export async function show<T extends LitElement>(tag: string): Promise<T> {
  const element = document.createElement(tag) as T;
  document.body.append(element);
  await settle();
  return element;
}

/** Let answers come and elements render. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 30; i++) await new Promise((resolve) => setTimeout(resolve, 0));
}

/** All elements, those in shadow roots among them. */
export function everything(root: ParentNode = document.body): Element[] {
  return [...root.querySelectorAll("*")].flatMap((element) => [
    element,
    ...(element.shadowRoot ? everything(element.shadowRoot) : []),
  ]);
}

/** What can be read on the page. */
export function words(): string {
  const read = (node: Node): string => {
    if (node instanceof Element && node.localName === "style") return "";
    const root = node instanceof Element ? node.shadowRoot : null;
    const own = node.nodeType === Node.TEXT_NODE ? (node.textContent ?? "") : "";
    return own + [...(root ?? node).childNodes].map(read).join("");
  };
  return read(document.body).replace(/\s+/g, " ");
}

export async function press(name: string): Promise<void> {
  const found = everything().filter(
    (element) =>
      element.localName === "button" && element.textContent?.replace(/\s+/g, " ").trim() === name,
  );
  if (found.length === 0) throw new Error(`no button ${name} in: ${words()}`);
  (found.at(-1) as HTMLButtonElement).click();
  await settle();
}

/** Write into the fields of that name, and tick boxes by `true`. */
export async function fill(values: Record<string, string | boolean>): Promise<void> {
  for (const [name, value] of Object.entries(values)) {
    const fields = everything().filter((element) => element.getAttribute("name") === name);
    const field = fields.at(-1) as HTMLInputElement | undefined;
    if (!field) throw new Error(`no field ${name}`);
    if (typeof value === "boolean") field.checked = value;
    else if (field.type === "radio") {
      for (const one of fields as HTMLInputElement[]) one.checked = one.value === value;
    } else field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }
  await settle();
}
