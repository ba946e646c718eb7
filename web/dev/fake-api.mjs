/**
 * Accounts, sessions, channels, keys, links and the audit log of a server that is not there: the part of
 * the REST API that the pages use, in memory, for the stand-in server and for tests.
 */

import { FakeContents } from "./fake-contents.mjs";

const ROLES = ["viewer", "broadcaster", "administrator"];
const NAME = /^[a-z0-9][a-z0-9._-]{1,31}$/;
const MIN_PASSWORD = 10;
/** Wrong passwords in a row before guesses are slowed. */
const GUESSES = 5;

export const SETUP_KEY = "the-administrators-key";

class Refusal extends Error {
  constructor(status, message, subject = null, headers = {}) {
    super(message);
    Object.assign(this, { status, subject, headers });
  }
}

const now = () => new Date().toISOString();

export class FakeApi {
  accounts = new Map();
  /** Account names by token. */
  sessions = new Map();
  channels = new Map();
  audit = [];
  guesses = new Map();
  titles = new Map();
  contents = new FakeContents((...why) => new Refusal(...why));
  count = 0;

  constructor(host = "127.0.0.1:8080") {
    this.host = host;
  }

  addAccount(name, password, role = "viewer", display_name = "") {
    const account = {
      name,
      display_name: display_name || name,
      role,
      created: now(),
      disabled: null,
      domains: [],
    };
    this.accounts.set(name, { ...account, password });
    return account;
  }

  /** @param more members of the channel's answer that are not the usual ones */
  addChannel(name, owner = null, more = {}) {
    const channel = { name, title: "", private: false, view_access: "everyone", guests_chat: true };
    this.channels.set(name, { ...channel, owner, keys: [], links: 0, more, ...more });
  }

  /** @param more members of the title's answer that are not the usual ones */
  addTitle(name, more = {}) {
    this.titles.set(name, {
      name,
      title: "",
      duration: 3725,
      live: false,
      created: now(),
      bitrate: 5_300_000,
      tracks: [
        { kind: "video", codec: "h264", language: "" },
        { kind: "audio", codec: "aac", language: "eng" },
      ],
      readers: 0,
      channel: "",
      picture: null,
      urls: {
        page: `/watch/${name}`,
        hls: `/hls/${name}/index.m3u8`,
        mp4: more.live ? "" : `/titles/${name}.mp4`,
      },
      ...more,
    });
  }

  title(name, query) {
    if (name) {
      const found = this.titles.get(name);
      if (!found) throw new Refusal(404, `no channel '${name}'`, name);
      return found;
    }
    const channel = query.get("channel");
    const titles = [...this.titles.values()].filter((t) => !channel || t.channel === channel);
    return { titles, more: null };
  }

  /**
   * Answer a request.
   *
   * @returns null where the path is none of the API's
   */
  handle(method, target, body = undefined, token = "", headers = {}) {
    const url = new URL(target, "http://fake");
    if (!url.pathname.startsWith("/api/v1/")) return null;
    const path = url.pathname.slice(8).split("/").map(decodeURIComponent);
    const who = this.accounts.get(this.sessions.get(token));
    try {
      return this.answer(
        `${method} ${path[0]}`,
        path,
        url.searchParams,
        body ?? {},
        who,
        token,
        headers,
      );
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      const { status, message, subject, headers } = error;
      return { status, headers, body: { error: { status, message, subject } } };
    }
  }

  answer(what, path, query, body, who, token, headers) {
    const administrator = () => {
      if (!who) throw new Refusal(401, "sign in as an administrator");
      if (who.role !== "administrator") throw new Refusal(403, "administrators only");
    };
    switch (what) {
      case "GET session":
        return ok(this.session(who));
      case "POST session":
        return path[1] === "password" ? this.password(who, body) : this.signIn(body);
      case "DELETE session":
        this.sessions.delete(token);
        return { status: 204, headers: {}, body: null, token: "" };
      case "POST setup":
        return this.setUp(body);
      case "GET server":
        return ok({ name: "heliograph", version: "0.1.0", uptime: 93_784 });
      case "GET stats":
        return ok(this.stats());
      case "GET audit":
        administrator();
        return ok({ entries: this.entries(query) });
      case "GET ondemand":
        return ok(this.title(path[1], query));
      case "GET channels":
      case "POST channels":
      case "PATCH channels":
      case "DELETE channels":
        return this.channel(what.split(" ")[0], path, body, who);
    }
    if (path[0] === "accounts") {
      administrator();
      return this.account(what.split(" ")[0], path[1], body, who);
    }
    if (path.join("/") === "contents/import") {
      administrator();
      return { status: 200, headers: {}, body: this.contents.import(body) };
    }
    if (this.contents.has(path[0])) {
      administrator();
      const [method] = what.split(" ");
      const match = /^"(\d+)"$/.exec(headers["if-match"] ?? "")?.[1];
      const revision = match === undefined ? undefined : Number(match);
      const answer = this.contents.answer(method, path, query, body, revision);
      if (method === "PATCH") {
        const fields = Object.keys(body).join(" ");
        this.note(who, `${path[0].slice(0, -1)}.change`, path[1], { fields });
      }
      return { headers: {}, ...answer };
    }
    throw new Refusal(404, "no such resource");
  }

  session(who) {
    const { name, display_name, role } = who ?? {};
    return {
      account: who ? { name, display_name, role } : null,
      administrator: role === "administrator",
      domains: who?.domains ?? [],
      setup: this.accounts.size === 0,
    };
  }

  open(account) {
    const token = `session-${++this.count}`;
    this.sessions.set(token, account.name);
    this.note(account, "session.open", account.name);
    return { status: 200, headers: {}, body: this.session(account), token };
  }

  signIn({ name, password }) {
    const account = this.accounts.get(String(name).toLowerCase());
    const wrong = this.guesses.get(name) ?? 0;
    if (wrong >= GUESSES) {
      throw new Refusal(429, "too many attempts", null, { "retry-after": "30" });
    }
    if (!account || account.disabled || account.password !== password) {
      this.guesses.set(name, wrong + 1);
      throw new Refusal(401, "the name or the password is wrong");
    }
    this.guesses.delete(name);
    return this.open(account);
  }

  setUp({ key, name, password, display_name }) {
    if (this.accounts.size) throw new Refusal(409, "this server is set up already");
    if (key !== SETUP_KEY) throw new Refusal(401, "the key is wrong");
    check(name, password);
    this.addAccount(name, password, "administrator", display_name);
    return this.open(this.accounts.get(name));
  }

  password(who, { old, new: fresh }) {
    if (!who) throw new Refusal(401, "sign in");
    if (who.password !== old) throw new Refusal(401, "the password until now is wrong", "old");
    check(who.name, fresh);
    who.password = fresh;
    this.note(who, "account.password", who.name);
    return { status: 204, headers: {}, body: null };
  }

  account(method, name, body, who) {
    if (method === "GET") return ok({ accounts: [...this.accounts.values()].map(without) });
    if (method === "POST") {
      check(body.name, body.password);
      if (this.accounts.has(body.name))
        throw new Refusal(409, `account '${body.name}' exists already`);
      this.note(who, "account.create", body.name, { role: body.role });
      return ok(this.addAccount(body.name, body.password, body.role, body.display_name), 201);
    }
    const account = this.accounts.get(name);
    if (!account) throw new Refusal(404, `no account '${name}'`, name);
    if (method === "DELETE") {
      if ([...this.channels.values()].some((one) => one.owner === name)) {
        throw new Refusal(409, `account '${name}' has channels`, name);
      }
      this.accounts.delete(name);
      this.note(who, "account.delete", name);
      return { status: 204, headers: {}, body: null };
    }
    if (body.role && !ROLES.includes(body.role))
      throw new Refusal(400, "role: no such role", "role");
    if (body.password !== undefined) check(name, body.password);
    const { disabled, ...values } = body;
    Object.assign(account, values);
    if (disabled !== undefined) account.disabled = disabled ? now() : null;
    this.note(who, body.password ? "account.password" : "account.edit", name);
    return ok(without(account));
  }

  channel(method, [, name, part, id], body, who) {
    if (!name && method === "GET") {
      const seen = [...this.channels.values()].filter((one) => this.sees(one, who));
      return ok({ channels: seen.map((one) => this.describe(one, who)) });
    }
    if (!name) return this.create(body, who);
    const channel = this.channels.get(name);
    if (!channel || !this.sees(channel, who)) throw new Refusal(404, `no channel '${name}'`, name);
    if (method === "GET" && !part) return ok(this.describe(channel, who));
    if (!owns(channel, who))
      throw new Refusal(who ? 403 : 401, `you may not edit channel '${name}'`);
    if (part === "keys") return this.keys(method, channel, id, body, who);
    if (part === "tokens") return this.tokens(method, channel, body, who);
    if (method === "DELETE") {
      this.channels.delete(name);
      this.note(who, "channel.delete", name);
      return { status: 204, headers: {}, body: null };
    }
    Object.assign(channel, body);
    this.note(who, "channel.edit", name, body);
    return ok(this.describe(channel, who));
  }

  create(body, who) {
    if (!who || who.role === "viewer") throw new Refusal(403, "you may not make channels");
    if (this.channels.has(body.name))
      throw new Refusal(409, `channel '${body.name}' exists already`);
    const { name, ...values } = body;
    this.addChannel(name, who.name);
    Object.assign(this.channels.get(name), values);
    this.note(who, "channel.create", name);
    const channel = this.channels.get(name);
    return ok({ ...this.describe(channel, who), key: this.key(channel, "").key }, 201);
  }

  key(channel, label) {
    const key = `hk_${channel.name}_${++this.count}_4fQ2mZ7tVw9xLr3c`;
    const made = { id: this.count, label, hint: key.slice(-4), created: now() };
    channel.keys.unshift({ ...made, last_used: null, revoked: null });
    return { ...channel.keys[0], key };
  }

  keys(method, channel, id, body, who) {
    if (method === "GET") return ok({ keys: channel.keys });
    if (method === "POST") {
      this.note(who, "key.create", channel.name, { label: body.label });
      return ok(this.key(channel, body.label ?? ""), 201);
    }
    const found = channel.keys.find((one) => one.id === Number(id));
    if (!found) throw new Refusal(404, "no such key");
    found.revoked = now();
    this.note(who, "key.revoke", channel.name, { label: found.label });
    return { status: 204, headers: {}, body: null };
  }

  tokens(method, channel, body, who) {
    if (method === "DELETE") {
      this.note(who, "token.revoke-all", channel.name);
      return { status: 204, headers: {}, body: null };
    }
    const token = `v1.eyJrIjoiazEiLCJjIjoi${++this.count}.q8Zk3vTt0s1Yw2`;
    this.note(who, "token.issue", channel.name, { to: body.subject, single: body.single ?? false });
    const expires = new Date(Date.now() + body.lifetime_s * 1000).toISOString();
    return ok(
      { token, url: `http://${this.host}/watch/${channel.name}?token=${token}`, expires },
      201,
    );
  }

  sees(channel, who) {
    return !channel.private || owns(channel, who);
  }

  describe(channel, who) {
    const { name, title, owner, more, keys: _keys, links: _links, ...rest } = channel;
    const { host } = this;
    return {
      state: "idle",
      since: null,
      on_air_since: null,
      tracks: [],
      readers: 0,
      max_readers: null,
      bitrate: 0,
      inputs: [],
      picture: null,
      ...rest,
      ...(typeof more === "function" ? more() : more),
      name,
      title: title || name,
      owner: this.accounts.get(owner)?.display_name ?? null,
      mine: owner !== null && owner === who?.name,
      urls: {
        page: `http://${host}/watch/${name}`,
        websocket: `ws://${host}/ws/${name}`,
        rtsp: `rtsp://${host.split(":")[0]}:8554/${name}`,
        rtmp: `rtmp://${host.split(":")[0]}:1935/live`,
        hls: `http://${host}/hls/${name}/index.m3u8`,
      },
    };
  }

  stats() {
    const all = [...this.channels.values()].map((one) => this.describe(one, undefined));
    const readers = all.reduce((sum, one) => sum + one.readers, 0);
    return {
      channels: all.length,
      channels_on_air: all.filter((one) => one.state === "on_air").length,
      readers,
      connections: readers + 7,
      bytes_in: Date.now() * 260,
      bytes_out: Date.now() * 5_100,
      send_errors: 0,
    };
  }

  entries(query) {
    const before = Number(query.get("before") ?? Number.POSITIVE_INFINITY);
    const older = this.audit.filter((entry) => entry.id < before);
    return older.toReversed().slice(0, Number(query.get("limit") ?? 100));
  }

  note(who, action, subject, detail = {}) {
    const id = this.audit.length + 1;
    const actor = who?.name ?? "";
    this.audit.push({ id, at: now(), actor, action, subject, address: "192.0.2.7", detail });
  }
}

const ok = (body, status = 200) => ({ status, headers: {}, body });
const owns = (channel, who) =>
  who !== undefined && (who.role === "administrator" || channel.owner === who.name);

function without(account) {
  const { password: _password, ...rest } = account;
  return rest;
}

function check(name, password) {
  if (!NAME.test(String(name))) throw new Refusal(400, "account name: it cannot be one", "name");
  if (String(password).length < MIN_PASSWORD) {
    throw new Refusal(400, `password: it has fewer than ${MIN_PASSWORD} characters`, "password");
  }
}
