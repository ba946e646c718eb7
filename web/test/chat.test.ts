import { describe, expect, it } from "vitest";
import { ANSWER_MS, QUIET_MS } from "../src/chat/link";
import type { Memory } from "../src/chat/memory";
import { ChatModel, CONFIRM_MS, MAX_LINES, MAX_OUTBOX } from "../src/chat/model";
import { clockTime, hue, onlyEmoji, parts } from "../src/chat/text";
import { parseMessage } from "../src/chat/wire";
import { lasting, refusalWords } from "../src/chat/words";
import type { Surroundings } from "../src/player/connection";
import { OwnTime } from "./own-time";

class FakeSocket {
  readyState = 0;
  sent: Record<string, unknown>[] = [];
  onopen: (() => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }
  close(): void {
    this.readyState = 3;
  }
  says(message: Record<string, unknown>): void {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  /** Opens, and says who comes and what was said before. */
  welcomes(history: Record<string, unknown> = {}, you: Record<string, unknown> = {}): void {
    this.readyState = 1;
    this.onopen?.();
    this.says({ type: "welcome", version: 1, guest: "token", max_text: 500, max_name: 32 });
    this.says({
      type: "you",
      author: "guest:a",
      name: "Anna",
      badge: "guest",
      moderator: false,
      write: "yes",
      ...you,
    });
    this.says({
      type: "history",
      entries: [],
      cursor: "e.0",
      whole: true,
      slow: 0,
      muted: null,
      ...history,
    });
  }
  dies(code = 1006): void {
    this.readyState = 3;
    this.onclose?.({ code });
  }
  of(type: string): Record<string, unknown>[] {
    return this.sent.filter((message) => message.type === type);
  }
}

const said = (id: number, text: string, more: Record<string, unknown> = {}) => ({
  type: "message",
  id,
  author: "guest:b",
  name: "Berta",
  text,
  at: 0,
  nonce: `n${id}`,
  badge: "guest",
  ...more,
});

/** A chat in a world with its own time. */
function world(memory: Memory = { guest: "", name: "Anna" }) {
  const time = new OwnTime();
  const sockets: FakeSocket[] = [];
  const around: Surroundings = {
    socket: () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket as unknown as WebSocket;
    },
    now: () => time.now * 1000,
    random: () => 1,
    after: time.after,
  };
  const pass = (ms: number): void => time.pass(ms);
  const model = new ChatModel(
    "ws://h/chat/x",
    () => undefined,
    memory,
    around,
    () => time.now,
  );
  model.start();
  const last = (): FakeSocket => sockets[sockets.length - 1] as FakeSocket;
  const texts = (): string[] =>
    model.lines.map((line) => (line.type === "notice" ? `(${line.text})` : line.text));
  return { model, sockets, last, pass, texts, memory };
}

describe("what is received", () => {
  it("shows the history and what follows, once", () => {
    const { model, last, texts, memory } = world();
    expect(model.state).toBe("connecting");
    last().welcomes({ entries: [said(1, "one"), said(2, "two")], cursor: "e.2" });
    expect(last().of("hello")).toEqual([{ type: "hello", guest: "", name: "Anna", cursor: "" }]);
    expect(memory.guest).toBe("token");
    last().says(said(3, "three"));
    last().says(said(3, "three"));
    expect(texts()).toEqual(["one", "two", "three"]);
    expect([model.state, model.arrived]).toEqual(["open", 1]);
  });

  it("asks for what it missed, and adds that", () => {
    const { model, last, pass, texts } = world();
    last().welcomes({ entries: [said(1, "one")], cursor: "e.1" });
    last().says(said(2, "two"));
    last().dies();
    expect(model.state).toBe("reconnecting");
    pass(5000);
    last().welcomes({ entries: [said(3, "three")], cursor: "e.3", whole: false });
    expect(last().of("hello")[0]?.cursor).toBe("e.2");
    expect(texts()).toEqual(["one", "two", "three"]);
  });

  it("takes a history as a whole for everything shown", () => {
    const { last, pass, texts } = world();
    last().welcomes({ entries: [said(8, "old")], cursor: "e.8" });
    last().dies();
    pass(5000);
    last().welcomes({ entries: [said(4, "kept"), said(5, "new")], cursor: "f.5" });
    expect(texts()).toEqual(["kept", "new"]);
    last().says(said(6, "goes on"));
    expect(texts().at(-1)).toBe("goes on");
  });

  it("removes what was deleted, and everything when cleared", () => {
    const { last, texts } = world();
    last().welcomes({ entries: [said(1, "one"), said(2, "two")], cursor: "e.2" });
    last().says({ type: "deleted", id: 3, message: 1 });
    expect(texts()).toEqual(["two"]);
    last().says({ type: "cleared", id: 4 });
    expect(texts()).toEqual(["(The chat was cleared.)"]);
  });

  it("keeps a bounded number of lines", () => {
    const { model, last } = world();
    last().welcomes();
    for (let id = 1; id <= MAX_LINES + 50; id++) last().says(said(id, `${id}`));
    expect(model.lines.length).toBe(MAX_LINES);
  });

  it("survives messages that are none", () => {
    const { last, texts } = world();
    last().welcomes();
    const warn = console.warn;
    console.warn = () => undefined;
    for (const data of ["{", "[]", "null", '{"type":"message","id":1}', '{"type":"news"}']) {
      last().onmessage?.({ data });
    }
    console.warn = warn;
    last().says(said(1, "fine"));
    expect(texts()).toEqual(["fine"]);
  });

  it("knows who is muted, itself too", () => {
    const { model, last, texts } = world();
    last().welcomes({ entries: [said(1, "rude")], cursor: "e.1" });
    last().says({ type: "muted", id: 2, author: "guest:b", until: 60 });
    expect(texts()).toEqual(["rude", "(Berta was muted for 60 seconds.)"]);
    expect(model.mutedAuthors).toEqual(["guest:b"]);
    last().says({ type: "muted", id: 3, author: "guest:a", until: null });
    expect(model.mutedFor).toBe(Number.POSITIVE_INFINITY);
    last().says({ type: "unmuted", id: 4, author: "guest:a" });
    expect(model.mutedFor).toBe(0);
    expect(texts().at(-1)).toBe("(You may write again.)");
  });
});

describe("what is sent", () => {
  const nonceOf = (socket: FakeSocket, at = -1): string => String(socket.of("say").at(at)?.nonce);

  it("is there at once, and once when it comes back", () => {
    const { model, last, texts } = world();
    last().welcomes();
    expect(model.say("hello")).toBe(true);
    expect(model.outbox.map((own) => [own.text, own.state])).toEqual([["hello", "pending"]]);
    const nonce = nonceOf(last());
    last().says(said(1, "hello", { author: "guest:a", nonce }));
    expect([model.outbox, texts()]).toEqual([[], ["hello"]]);
    last().says({ type: "done", nonce, id: 1 });
    expect(model.outbox).toEqual([]);
  });

  it("waits for the line when the confirmation is faster", () => {
    const { model, last } = world();
    last().welcomes();
    model.say("hello");
    const nonce = nonceOf(last());
    last().says({ type: "done", nonce, id: 1 });
    expect(model.outbox.map((own) => own.state)).toEqual(["sent"]);
    last().says(said(1, "hello", { author: "guest:a", nonce }));
    expect(model.outbox).toEqual([]);
  });

  it("goes again with the same id after a lost connection, until it is confirmed", () => {
    const { model, last, pass, texts } = world();
    last().welcomes();
    model.say("one");
    const nonce = nonceOf(last());
    // Others saw it, and the server fell before it was safe.
    last().says(said(1, "one", { author: "guest:a", nonce }));
    last().dies();
    model.say("two");
    pass(5000);
    last().welcomes({ cursor: "f.0" });
    expect(
      last()
        .of("say")
        .map((m) => [m.text, m.nonce === nonce]),
    ).toEqual([
      ["one", true],
      ["two", false],
    ]);
    last().says(said(1, "one", { author: "guest:a", nonce }));
    last().says({ type: "done", nonce, id: 1 });
    expect(texts()).toEqual(["one"]);
    last().dies();
    pass(5000);
    last().welcomes({ cursor: "f.1", whole: false });
    expect(
      last()
        .of("say")
        .map((m) => m.text),
    ).toEqual(["two"]);
  });

  it("is gone when it was deleted meanwhile", () => {
    const { model, last, pass } = world();
    last().welcomes();
    model.say("rude");
    const nonce = nonceOf(last());
    last().dies();
    pass(5000);
    last().welcomes({
      entries: [{ type: "deleted", id: 2, message: 1 }],
      cursor: "e.2",
      whole: false,
    });
    last().says({ type: "done", nonce, id: 1 });
    expect(model.outbox).toEqual([]);
  });

  it("fails with words, and is sent again when asked", () => {
    const { model, last } = world();
    last().welcomes();
    model.say("hello");
    const nonce = nonceOf(last());
    last().says({ type: "refused", nonce, reason: "slow", message: "", retry_after: 7 });
    expect(model.outbox[0]).toMatchObject({ state: "failed", why: "Slow mode: wait 7 seconds." });
    model.retry(nonce);
    expect(last().of("say").length).toBe(2);
    last().says({ type: "refused", nonce, reason: "too_large", message: "", retry_after: null });
    model.discard(nonce);
    expect(model.outbox).toEqual([]);
  });

  it("comes by itself when it was too fast, and gives up", () => {
    const { model, last, pass } = world();
    last().welcomes();
    model.say("hello");
    const nonce = nonceOf(last());
    const refuse = () =>
      last().says({ type: "refused", nonce, reason: "rate", message: "", retry_after: 2 });
    for (let n = 1; n < 4; n++) {
      refuse();
      pass(2000);
      expect(last().of("say").length).toBe(n + 1);
    }
    refuse();
    expect(model.outbox[0]?.state).toBe("failed");
  });

  it("fails when nobody confirms it, and not while there is no connection", () => {
    const { model, last, pass } = world();
    last().welcomes();
    model.say("hello");
    for (let waited = 0; waited < CONFIRM_MS; waited += 1000) {
      pass(1000);
      last().says({ type: "pong" });
    }
    expect(model.outbox[0]?.state).toBe("failed");
    last().dies();
    model.say("later");
    pass(120_000);
    expect(model.outbox[1]?.state).toBe("pending");
  });

  it("is bounded", () => {
    const { model } = world();
    for (let n = 0; n < MAX_OUTBOX; n++) expect(model.say("x")).toBe(true);
    expect(model.say("x")).toBe(false);
    expect(model.say("   ")).toBe(false);
  });

  it("keeps to slow mode", () => {
    const { model, last, pass } = world();
    last().welcomes({ slow: 10 });
    expect(model.slowFor).toBe(0);
    model.say("hello");
    expect(model.slowFor).toBe(10);
    pass(4000);
    expect(model.slowFor).toBe(6);
    last().says({ type: "slow", id: 1, seconds: 0 });
    expect(model.slowFor).toBe(0);
  });
});

describe("who one is", () => {
  it("tells why a name cannot be had", () => {
    const { model, last, memory } = world({ guest: "g", name: "" });
    last().welcomes({}, { name: "", write: "name" });
    model.chooseName("Berta");
    const nonce = last().of("name")[0]?.nonce;
    last().says({ type: "refused", nonce, reason: "name_taken", message: "", retry_after: null });
    expect(model.nameTrouble).toContain("Somebody here has this name");
    model.chooseName("Bea");
    expect([model.nameTrouble, memory.name]).toEqual(["", "Bea"]);
  });

  it("tells a moderator what could not be done", () => {
    const { model, last, texts } = world();
    last().welcomes({}, { moderator: true });
    model.act({ type: "mute", author: "account:1", seconds: 60 });
    const nonce = last().of("mute")[0]?.nonce;
    last().says({ type: "refused", nonce, reason: "moderator", message: "", retry_after: null });
    expect(texts()).toEqual(["(Not done: A moderator cannot be muted.)"]);
  });
});

describe("the connection", () => {
  it("is given up where asking again is no use, until a person does", () => {
    const { model, sockets, last, pass } = world();
    last().readyState = 1;
    last().onopen?.();
    last().says({ type: "end", status: 404, reason: "unknown", message: "", retry_after: null });
    last().dies(4404);
    expect([model.state, model.refusal?.reason]).toEqual(["refused", "unknown"]);
    pass(600_000);
    expect(sockets.length).toBe(1);
    model.retryNow();
    expect([model.state, sockets.length]).toEqual(["connecting", 2]);
  });

  it("knows the reason from the code alone", () => {
    const { model, last } = world();
    last().dies(4401);
    expect(model.refusal?.reason).toBe("sign_in");
  });

  it("waits as long as a full server says", () => {
    const { sockets, last, pass } = world();
    last().readyState = 1;
    last().onopen?.();
    last().says({ type: "end", status: 503, reason: "places", message: "", retry_after: 10 });
    last().dies(4503);
    pass(9_900);
    expect(sockets.length).toBe(1);
    pass(15_000);
    expect(sockets.length).toBe(2);
  });

  it("is asked for a sign of life when nothing comes, and made anew without one", () => {
    const { model, sockets, last, pass } = world();
    last().welcomes();
    pass(QUIET_MS + 10);
    expect(last().of("ping").length).toBe(1);
    last().says({ type: "pong" });
    pass(ANSWER_MS + QUIET_MS + 10);
    expect([model.state, last().of("ping").length]).toEqual(["open", 2]);
    pass(ANSWER_MS + 10);
    expect(model.state).toBe("reconnecting");
    pass(5_000);
    expect(sockets.length).toBe(2);
  });
});

describe("texts", () => {
  it("finds links of the web and nothing else", () => {
    const links = (text: string) => parts(text).flatMap((part) => (part.href ? [part.href] : []));
    expect(links("see https://example.org/a?b=1, and http://x.example.")).toEqual([
      "https://example.org/a?b=1",
      "http://x.example/",
    ]);
    for (const text of [
      "javascript:alert(1)",
      "data:text/html,x",
      "https://bank.example@evil.example/",
      "https://",
      "<a href=x>",
    ]) {
      expect(links(text), text).toEqual([]);
    }
    const text = 'a <b> https://e.example/"onload= c';
    expect(
      parts(text)
        .map((part) => part.text)
        .join(""),
    ).toBe(text);
  });

  it("gives one author one colour", () => {
    expect(hue("guest:a")).toBe(hue("guest:a"));
    const hues = new Set(Array.from({ length: 100 }, (_, n) => hue(`guest:${n}`)));
    expect(hues.size).toBeGreaterThan(60);
  });

  it("tells emoji from digits", () => {
    expect(["👍", "👩‍👩‍👧 🎉", "🇩🇪"].every(onlyEmoji)).toBe(true);
    expect(["1", "#", "hi 👍", ""].some(onlyEmoji)).toBe(false);
  });

  it("has times and lengths in words", () => {
    const noon = new Date(2026, 5, 1, 12, 0).getTime();
    expect(clockTime(noon / 1000, noon)).not.toContain("1 ");
    expect(clockTime(noon / 1000 - 86_400 * 3, noon)).toContain(",");
    expect([1, 90, 600, 7200, 864_000].map(lasting)).toEqual([
      "1 second",
      "90 seconds",
      "10 minutes",
      "2 hours",
      "10 days",
    ]);
    expect(refusalWords("busy", "the chat is full", null)).toBe("The chat is full.");
  });

  it("refuses malformed messages of a known type", () => {
    expect(() => parseMessage('{"type":"history","cursor":1}')).toThrow();
    expect(() => parseMessage('{"type":"muted","id":"x","author":"a"}')).toThrow();
    expect(parseMessage('{"type":"later","id":1}')).toBeNull();
  });
});
