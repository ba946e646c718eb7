import { describe, expect, it } from "vitest";
import { backoff, LAST_DELAY_MS } from "../src/player/backoff";
import { Connection, type ConnectionEvents, type Surroundings } from "../src/player/connection";
import type { MediaFrame, ServerMessage } from "../src/player/wire";
import { OwnTime } from "./own-time";

class FakeSocket {
  readyState = 0;
  binaryType = "";
  sent: string[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;

  send(text: string): void {
    this.sent.push(text);
  }
  close(): void {
    this.closed = true;
  }
  opens(): void {
    this.readyState = 1;
    this.onopen?.();
  }
  says(data: unknown): void {
    this.onmessage?.({ data: typeof data === "object" ? JSON.stringify(data) : data });
  }
}

/** A world with its own time. */
function world() {
  const time = new OwnTime();
  const sockets: FakeSocket[] = [];
  const log: string[] = [];
  const messages: ServerMessage[] = [];
  const frames: MediaFrame[] = [];
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
  const events: ConnectionEvents = {
    message: (m) => messages.push(m),
    frame: (f) => frames.push(f),
    pong: (server, sent, received) => log.push(`pong ${server} ${sent} ${received}`),
    down: (started, retry) => log.push(`down ${started} ${retry}`),
  };
  const pass = (ms: number): void => time.pass(ms);
  const connection = new Connection("ws://h/ws/demo", events, around);
  const last = (): FakeSocket => sockets[sockets.length - 1] as FakeSocket;
  return { connection, sockets, log, messages, frames, pass, last, pending: () => time.pending };
}

const START = {
  type: "start",
  version: 1,
  channel: "d",
  state: "on_air",
  server_time_us: 1,
  tracks: [],
};

describe("backoff", () => {
  it("doubles from a quarter second to five seconds", () => {
    const delays = [0, 1, 2, 3, 4, 5, 50].map((n) => backoff(n, 1));
    expect(delays).toEqual([250, 500, 1000, 2000, 4000, LAST_DELAY_MS, LAST_DELAY_MS]);
  });

  it("spreads over the upper half", () => {
    expect(backoff(2, 0)).toBe(500);
  });
});

describe("Connection", () => {
  it("reports messages and measures with pings", () => {
    const w = world();
    w.connection.open();
    w.last().opens();
    w.pass(30);
    w.last().says(START);
    w.last().says({ type: "pong", t: 0, server_time_us: 77 });
    expect(w.messages.map((m) => m.type)).toEqual(["start"]);
    expect(w.log).toEqual(["pong 77 0 30000"]);
  });

  it("sends pings no closer than two seconds, then every ten", () => {
    const w = world();
    w.connection.open();
    w.last().opens();
    w.last().says(START);
    const times: number[] = [];
    for (let ms = 0; ms < 40_000; ms += 100) {
      const before = w.last().sent.length;
      w.pass(100);
      w.last().says({ type: "state", state: "on_air" });
      if (w.last().sent.length > before) times.push(ms);
    }
    const gaps = times.slice(1).map((t, i) => t - (times[i] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(2_000);
    expect(Math.max(...gaps)).toBe(10_000);
  });

  it("comes back after growing delays, and quickly again once it worked", () => {
    const w = world();
    w.connection.open();
    w.last().onclose?.();
    w.pass(250);
    w.last().onclose?.();
    expect(w.log).toEqual(["down false 250", "down false 500"]);
    w.pass(500);
    expect(w.sockets.length).toBe(3);
    w.last().opens();
    w.last().says(START);
    w.last().onclose?.();
    expect(w.log.at(-1)).toBe("down true 250");
  });

  it("gives up on a server that fell silent", () => {
    const w = world();
    w.connection.open();
    w.last().opens();
    w.last().says(START);
    w.pass(20_000);
    expect(w.log[0]).toBe("down true 250");
    expect(w.sockets[0]?.closed).toBe(true);
  });

  it("gives up on an attempt that never opens", () => {
    const w = world();
    w.connection.open();
    w.pass(8_001);
    expect(w.log).toEqual(["down false 250"]);
  });

  it("counts what breaks the format and goes on", () => {
    const w = world();
    w.connection.open();
    w.last().opens();
    w.last().says("{");
    w.last().onmessage?.({ data: new ArrayBuffer(3) });
    w.last().says(START);
    expect(w.connection.malformed).toBe(2);
    expect(w.messages.length).toBe(1);
  });

  it("leaves nothing behind when closed", () => {
    const w = world();
    w.connection.open();
    w.last().opens();
    w.connection.close();
    expect(w.pending()).toBe(0);
    w.pass(60_000);
    expect(w.sockets.length).toBe(1);
    expect(w.log).toEqual([]);
  });

  it("tries at once when told to, and only when it is not connected", () => {
    const w = world();
    w.connection.open();
    w.last().onclose?.();
    w.connection.retryNow();
    expect(w.sockets.length).toBe(2);
    w.last().opens();
    w.last().says(START);
    w.connection.retryNow();
    expect(w.sockets.length).toBe(2);
  });
});
