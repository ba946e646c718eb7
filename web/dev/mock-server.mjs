/**
 * A stand-in for `helio serve`, for work on the pages alone: REST, `helio.v1` WebSockets and the built
 * pages, with pictures and sound made by ffmpeg.
 *
 *   npm run build && npm run mock -- [--port 8080] [--empty] [--many] [--fresh]
 *
 * Channels: demo (H.264, Opus), talk (G.711 only), silent (source gone), old (MPEG-2), crowded (full).
 * Accounts: ada (administrator), ben (broadcaster) and vera (viewer), password `correct horse`; with --fresh
 * none yet, and the key is `the-administrators-key`.
 * While it runs: POST /mock/state?value=waiting|on_air, /mock/jitter?ms=N, /mock/gap, /mock/kick.
 *
 * WHIP and WHEP answer as the server does, but nothing behind them speaks WebRTC: pictures come by
 * WebSocket. POST /mock/whip?status=N or /mock/whep?status=N sets the answer: 201 is one that ICE never
 * reaches, 0 none at all. By itself WHEP says 406, and WHIP looks at the key (`right`) and the channel:
 * studio-2 takes it, demo and talk are on air (409), crowded is full (503), old is for others (403),
 * silent has no codec in common (406).
 */

import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { WebSocketServer } from "ws";
import { FakeApi } from "./fake-api.mjs";

const { values: options } = parseArgs({
  options: {
    port: { type: "string", default: "8080" },
    empty: { type: "boolean", default: false },
    many: { type: "boolean", default: false },
    fresh: { type: "boolean", default: false },
    codec: { type: "string", default: "h264" },
  },
});
const port = Number(options.port);
const pages = fileURLToPath(new URL("../../src/heliograph/web/static/", import.meta.url));
const nowUs = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
const started = new Date(Date.now() - 754_000).toISOString();

/** One ring: what came since the last keyframe. */
class Live {
  constructor(name, title, tracks) {
    Object.assign(this, { name, title, tracks, state: "on_air", epoch: 1 });
    this.numbers = tracks.map(() => 0);
    this.held = [];
    this.sockets = new Set();
    this.bytes = 0;
    this.bitrate = 0;
    setInterval(() => {
      this.bitrate = this.bytes * 8;
      this.bytes = 0;
    }, 1000);
  }

  push(track, data, ptsUs, keyframe) {
    if (this.state !== "on_air") return;
    const message = Buffer.alloc(32 + data.length);
    message[0] = 1;
    message[1] = track;
    message[2] = keyframe ? 1 : 0;
    message.writeUInt32BE(this.epoch, 4);
    message.writeBigUInt64BE(BigInt(this.numbers[track]++), 8);
    message.writeBigInt64BE(BigInt(ptsUs), 16);
    message.writeBigInt64BE(BigInt(nowUs()), 24);
    data.copy(message, 32);
    this.bytes += data.length;
    const isMain = this.tracks[track].kind === "video" || this.tracks.length === 1;
    if (keyframe && isMain) this.held = [];
    if (this.held.length < 2000) this.held.push(message);
    for (const socket of this.sockets) deliver(socket, message);
  }

  join(socket) {
    send(socket, {
      type: "start",
      version: 1,
      channel: this.name,
      title: this.title,
      state: this.state === "on_air" ? "on_air" : "waiting",
      server_time_us: nowUs(),
      tracks: this.tracks,
    });
    for (const message of this.held) socket.send(message);
    this.sockets.add(socket);
    socket.on("close", () => this.sockets.delete(socket));
  }

  setState(state) {
    this.state = state;
    this.held = [];
    this.epoch++;
    for (const socket of this.sockets) send(socket, { type: "state", state });
  }
}

let jitterMs = 0;
let gapUntil = 0;

/** TCP delays but keeps the order: a held-up message holds up all that follow. */
function deliver(socket, message) {
  if (Date.now() < gapUntil) {
    socket.gap = true;
    return;
  }
  const copy = socket.gap && message[1] === 0 ? Buffer.from(message) : message;
  if (copy !== message) {
    copy[2] |= 2;
    socket.gap = false;
  }
  socket.queue ??= [];
  socket.queue.push({ copy, due: Date.now() + Math.random() ** 3 * jitterMs });
  drain(socket);
}

function drain(socket) {
  clearTimeout(socket.timer);
  while (socket.queue[0]?.due <= Date.now()) socket.send(socket.queue.shift().copy);
  if (socket.queue[0]) {
    socket.timer = setTimeout(() => drain(socket), socket.queue[0].due - Date.now());
  }
}

const send = (socket, json) => socket.send(JSON.stringify(json));
const track = (id, kind, codec, clock_rate, channels = 0, codec_string = null) => ({
  id,
  kind,
  codec,
  codec_string,
  description: null,
  clock_rate,
  channels,
});

const demo = new Live("demo", "Test pattern with tone", [
  track(0, "video", options.codec, 90_000),
  track(1, "audio", "opus", 48_000, 2),
]);
const talk = new Live("talk", "Radio, telephone quality", [track(0, "audio", "pcmu", 8_000, 1)]);
const silent = new Live("silent", "Roof camera, south", [track(0, "video", "h264", 90_000)]);
silent.state = "waiting";
const old = new Live("old", "Broadcast archive", [track(0, "video", "mpeg2", 90_000)]);
const crowded = new Live("crowded", "Town hall meeting", [track(0, "video", "h264", 90_000)]);
const idle = new Live("studio-2", "", []);
idle.state = "idle";
let channels = options.empty ? [] : [demo, talk, crowded, old, silent, idle];
if (options.many) {
  const more = Array.from({ length: 7 }, (_, i) => {
    const live = new Live(`camera-${i + 1}`, `Camera ${i + 1}, north ridge lift station`, []);
    live.bitrate = 1;
    return live;
  });
  channels = [...channels, ...more];
}

function ffmpeg(args, onData) {
  const child = spawn("ffmpeg", ["-hide_banner", "-loglevel", "error", ...args], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.on("data", onData);
  return child;
}

/** Cut an Annex B stream at access unit delimiters. */
function annexB(onUnit, isDelimiter) {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    let from = 0;
    for (let at = rest.indexOf("00000001", 4, "hex"); at > 0; ) {
      if (isDelimiter(rest[at + 4])) {
        onUnit(rest.subarray(from, at));
        from = at;
      }
      at = rest.indexOf("00000001", at + 4, "hex");
    }
    rest = Buffer.from(rest.subarray(from));
  };
}

/** Packets of an Ogg stream (RFC 3533) without its two header packets. */
function ogg(onPacket) {
  let rest = Buffer.alloc(0);
  let packets = 0;
  let part = [];
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 27) {
      const segments = rest[26];
      const body = 27 + segments;
      if (rest.length < body) return;
      const lacing = rest.subarray(27, body);
      const size = lacing.reduce((a, b) => a + b, 0);
      if (rest.length < body + size) return;
      let at = body;
      for (const length of lacing) {
        part.push(rest.subarray(at, at + length));
        at += length;
        if (length === 255) continue;
        if (packets++ >= 2) onPacket(Buffer.concat(part));
        part = [];
      }
      rest = Buffer.from(rest.subarray(body + size));
    }
  };
}

const START = Buffer.from([0, 0, 1]);
const fps = 30;
let pictureJpeg = null;
if (!options.empty) {
  // One zero for all, so that pictures and sound of one moment carry the same time.
  let zero = 0;
  const timeOf = (seconds) => {
    zero ||= nowUs();
    return zero + Math.round(seconds * 1e6);
  };
  let n = 0;
  const h265 = options.codec === "h265";
  const onUnit = (unit) => {
    const types = [];
    for (let at = unit.indexOf(START); at >= 0; at = unit.indexOf(START, at + 3)) {
      const first = unit[at + 3];
      types.push(h265 ? (first >> 1) & 63 : first & 31);
    }
    demo.push(0, unit, timeOf(n++ / fps), types.includes(h265 ? 33 : 7));
  };
  const source = `testsrc2=size=1280x720:rate=${fps}`;
  ffmpeg(
    h265
      ? `-re -f lavfi -i ${source} -c:v libx265 -preset ultrafast -tune zerolatency -x265-params log-level=1:keyint=60:aud=1:repeat-headers=1 -f hevc -flush_packets 1 -`.split(
          " ",
        )
      : `-re -f lavfi -i ${source} -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 60 -b:v 2M -bsf:v h264_metadata=aud=insert -f h264 -flush_packets 1 -`.split(
          " ",
        ),
    annexB(onUnit, (b) => (h265 ? ((b >> 1) & 63) === 35 : (b & 31) === 9)),
  );
  let packets = 0;
  ffmpeg(
    "-re -f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=48000 -ac 2 -c:a libopus -b:a 96k -page_duration 20000 -f ogg -flush_packets 1 -".split(
      " ",
    ),
    ogg((packet) => demo.push(1, packet, timeOf(packets++ / 50), true)),
  );
  let samples = 0;
  let pending = Buffer.alloc(0);
  ffmpeg(
    "-re -f lavfi -i sine=frequency=300 -ar 8000 -ac 1 -f mulaw -flush_packets 1 -".split(" "),
    (data) => {
      pending = Buffer.concat([pending, data]);
      for (; pending.length >= 160; pending = pending.subarray(160)) {
        talk.push(0, Buffer.from(pending.subarray(0, 160)), timeOf(samples / 8000), true);
        samples += 160;
      }
    },
  );
  setInterval(() => old.push(0, Buffer.from("000001b3", "hex"), nowUs(), true), 40);
  const parts = [];
  ffmpeg("-f lavfi -i testsrc2=size=640x360 -ss 3 -frames:v 1 -f mjpeg -q:v 4 -".split(" "), (d) =>
    parts.push(d),
  ).on("close", () => {
    pictureJpeg = Buffer.concat(parts);
  });
}

const api = new FakeApi(`127.0.0.1:${port}`);
if (!options.fresh) {
  api.addAccount("ada", "correct horse", "administrator", "Ada");
  api.addAccount("ben", "correct horse", "broadcaster", "Ben of the Hill");
  api.addAccount("vera", "correct horse", "viewer", "Vera");
}
api.contents.add("servers", {
  name: "harbour",
  host: "films.example.org",
  make: "nginx",
  region: "eu",
});
api.contents.add("titles", { name: "tides", title: "Tides of the bay", duration: 2_520 });
for (const live of channels) {
  const owner = options.fresh
    ? null
    : ({ demo: "ben", silent: "ben", crowded: "ada" }[live.name] ?? null);
  api.addChannel(live.name, owner, () => ofLive(live));
  const channel = api.channels.get(live.name);
  channel.title = live.title;
  if (live === silent && owner) channel.private = true;
  if (live === crowded && owner) channel.view_access = "invited";
}

function ofLive(live) {
  const full = live === crowded;
  const onAir = live.state === "on_air";
  return {
    state: live.state,
    since: live.state === "idle" ? null : started,
    on_air_since: onAir ? started : null,
    tracks: live.tracks,
    readers: full ? 40 : live.sockets.size,
    max_readers: full ? 40 : null,
    bitrate: live.bitrate,
    picture: live === demo || live === silent ? `/api/v1/channels/${live.name}/picture` : null,
  };
}

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

async function page(path, response) {
  const file =
    path === "/"
      ? "index.html"
      : path.startsWith("/watch/")
        ? "watch.html"
        : /^\/live(\/|$)/.test(path)
          ? "live.html"
          : path === "/admin/contents"
            ? "contents.html"
            : /^\/(sign-in|setup|mine|admin)$/.test(path)
              ? `${path}.html`
              : normalize(path);
  const found = await readFile(join(pages, file)).catch(() => null);
  const name = found ? file : "404.html";
  response.writeHead(found ? 200 : 404, {
    "content-type": TYPES[extname(name)] ?? "text/plain",
    "content-security-policy": "default-src 'self'",
  });
  response.end(found ?? (await readFile(join(pages, name))));
}

function json(response, status, body) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}

function control(url, response) {
  if (url.pathname === "/mock/state") demo.setState(url.searchParams.get("value"));
  if (url.pathname === "/mock/jitter") jitterMs = Number(url.searchParams.get("ms"));
  const kind = /^\/mock\/(whip|whep)$/.exec(url.pathname)?.[1];
  if (kind) answers[kind] = Number(url.searchParams.get("status") ?? Number.NaN);
  if (kind && Number.isNaN(answers[kind])) answers[kind] = null;
  if (url.pathname === "/mock/gap") gapUntil = Date.now() + 400;
  if (url.pathname === "/mock/kick") {
    for (const socket of demo.sockets) {
      send(socket, { type: "end", reason: "kicked" });
      socket.close();
    }
  }
  json(response, 200, {});
}

const answers = { whip: null, whep: null };
const REFUSALS = {
  401: "a key is needed, or it is wrong",
  403: "not from this address",
  404: "no such channel",
  406: "no codec in common",
  409: "somebody else is on air",
  503: "no free place",
};
let sessions = 0;

/** A well-formed answer (RFC 8829) to a place where nobody is. */
function answerTo(offer, direction) {
  const section = (media) => {
    const kept = /^(m=|a=mid:|a=rtpmap:|a=fmtp:|a=rtcp-mux)/;
    return [
      ...media.split(/\r?\n/).filter((line) => kept.test(line)),
      "c=IN IP4 127.0.0.1",
      "a=setup:passive",
      "a=ice-ufrag:mock",
      "a=ice-pwd:mockmockmockmockmockmock",
      `a=fingerprint:sha-256 ${Array(32).fill("AB").join(":")}`,
      "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host",
      `a=${direction}`,
    ];
  };
  const [head, ...media] = offer.split(/(?=^m=)/m);
  const group = /^a=group:.*$/m.exec(head)?.[0].trim();
  const lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite"];
  // What belongs to media comes in the order m=, c=, a= (RFC 8866 section 5).
  const ordered = media.map((one) => {
    const all = section(one);
    const c = all.findIndex((line) => line.startsWith("c="));
    all.splice(1, 0, ...all.splice(c, 1));
    return all;
  });
  return `${[...lines, ...(group ? [group] : []), ...ordered.flat()].join("\r\n")}\r\n`;
}

function statusOf(kind, name, key) {
  const live = channels.find((c) => c.name === name);
  if (!live) return 404;
  if (answers[kind] !== null) return answers[kind];
  if (kind === "whep") return live === crowded ? 503 : 406;
  if (key !== "right") return 401;
  if (live === old) return 403;
  if (live === crowded) return 503;
  if (live.state === "on_air") return 409;
  return live === silent ? 406 : 201;
}

async function signal(request, response, kind, name, session) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const key = request.headers.authorization?.replace("Bearer ", "") ?? "";
  const refuse = (status) =>
    json(response, status, { error: { status, message: REFUSALS[status] ?? "", subject: name } });
  if (session) {
    if (request.method === "DELETE") return response.writeHead(200).end();
    return refuse(404);
  }
  if (request.method !== "POST") return refuse(405);
  const status = statusOf(kind, name, key);
  if (status === 0) return request.socket.destroy();
  if (status !== 201) return refuse(status);
  response.writeHead(201, {
    "content-type": "application/sdp",
    location: `/${kind}/${name}/${++sessions}`,
    etag: '"1"',
  });
  const direction = kind === "whip" ? "recvonly" : "sendonly";
  return response.end(answerTo(Buffer.concat(chunks).toString(), direction));
}

const server = createServer((request, response) => {
  const url = new URL(request.url, "http://mock");
  const webrtc = /^\/(whip|whep)\/([^/]+)(?:\/([^/]+))?$/.exec(url.pathname);
  if (webrtc) return signal(request, response, webrtc[1], webrtc[2], webrtc[3]);
  if (url.pathname.startsWith("/mock/")) return control(url, response);
  if (/^\/api\/v1\/channels\/[^/]+\/picture$/.test(url.pathname)) {
    if (!pictureJpeg) return json(response, 404, { error: { status: 404, message: "no picture" } });
    response.writeHead(200, { "content-type": "image/jpeg", "cache-control": "max-age=5" });
    return response.end(pictureJpeg);
  }
  if (url.pathname.startsWith("/api/")) return rest(request, response);
  return page(url.pathname, response);
});

async function rest(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : undefined;
  const token = /helio_session=([^;]*)/.exec(request.headers.cookie ?? "")?.[1] ?? "";
  const answer = api.handle(request.method, request.url, body, token, request.headers);
  const headers = { ...answer.headers };
  if (answer.token !== undefined) {
    headers["set-cookie"] = `helio_session=${answer.token}; HttpOnly; SameSite=Lax; Path=/`;
  }
  if (answer.body === null) return response.writeHead(answer.status, headers).end();
  response.writeHead(answer.status, { ...headers, "content-type": "application/json" });
  return response.end(JSON.stringify(answer.body));
}

const sockets = new WebSocketServer({ noServer: true });
server.on("upgrade", (request, socket, head) => {
  const { pathname } = new URL(request.url, "http://mock");
  const live = channels.find((c) => `/ws/${c.name}` === pathname);
  const status = !live ? "404 Not Found" : live === crowded ? "503 Service Unavailable" : null;
  if (status) return socket.end(`HTTP/1.1 ${status}\r\nContent-Length: 0\r\n\r\n`);
  return sockets.handleUpgrade(request, socket, head, (ws) => {
    ws.on("message", (text) => {
      const { type, t } = JSON.parse(text);
      if (type === "ping") send(ws, { type: "pong", t, server_time_us: nowUs() });
    });
    live.join(ws);
  });
});
server.listen(port, "127.0.0.1", () => console.log(`http://127.0.0.1:${port}/`));
