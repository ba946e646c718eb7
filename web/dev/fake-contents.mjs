/** Servers, titles and their files of a server that is not there, for `FakeApi`. */

const LISTS = {
  servers: { key: "name", one: "server" },
  titles: { key: "name", one: "title" },
  files: { key: "id", one: "file" },
  networks: { key: "cidr", one: "network" },
  levels: { key: "code", one: "level" },
  classes: { key: "code", one: "class" },
};
const PAGE = 100;

const NEW = {
  servers: {
    make: "",
    region: "",
    capacity_bps: 0,
    max_sessions: 0,
    weight: 1,
    enabled: true,
    drained: false,
    probes: [],
  },
  titles: {
    title: "",
    description: "",
    duration: null,
    level: "",
    classes: [],
    regions: [],
    policy: "",
    published: true,
  },
  files: { bits_per_second: 0, size: null },
};

export class FakeContents {
  servers = new Map();
  titles = new Map();
  files = new Map();
  networks = new Map();
  levels = new Map();
  classes = new Map();
  revision = 0;

  /** @param refuse makes what is thrown: (status, message, subject) */
  constructor(refuse) {
    this.refuse = refuse;
  }

  has(kind) {
    return kind in LISTS;
  }

  /** A new row, as by the API. */
  add(kind, values) {
    const { key, one } = LISTS[kind];
    const id = ++this.revision;
    const row = { id, ...NEW[kind], ...values, revision: id };
    if (this[kind].has(row[key])) throw this.refuse(409, `${one} '${row[key]}' exists already`);
    this[kind].set(row[key], row);
    return this.described(kind, row);
  }

  answer(method, [kind, ...rest], query, body, revision) {
    const { key, one } = LISTS[kind];
    const name = rest.join("/");
    if (method === "GET" && !name) return this.list(kind, query);
    if (rest[1] === "scan") return { status: 200, body: this.scan(rest[0], body) };
    if (method === "POST") return { status: 201, body: this.add(kind, body) };
    if (method === "PUT") {
      this[kind].set(name, { [key]: name, ...body });
      return { status: 200, body: this[kind].get(name) };
    }
    const id = kind === "files" ? Number(name) : name;
    const row = this[kind].get(id);
    if (!row) throw this.refuse(404, `no ${one} '${name}'`, name);
    if (method === "GET") return { status: 200, body: this.described(kind, row) };
    if (method === "DELETE") {
      this[kind].delete(id);
      for (const [file, { server, title }] of this.files) {
        if ((kind === "servers" ? server : title) === name) this.files.delete(file);
      }
      return { status: 204, body: null };
    }
    if (revision !== undefined && revision !== row.revision) {
      throw this.refuse(412, `${one} '${name}' was changed meanwhile`, name);
    }
    this[kind].delete(id);
    const changed = { ...row, ...body, revision: ++this.revision };
    this[kind].set(changed[key], changed);
    return { status: 200, body: this.described(kind, changed) };
  }

  /** Rows in order of CSV without quotes, or objects; those that are no titles are refused. */
  import({ text, records }) {
    const [head, ...lines] = (text ?? "").trimEnd().split("\n");
    const columns = head.split(",");
    const rows = (records ?? lines).map((one, at) =>
      typeof one === "object"
        ? one
        : {
            place: `line ${at + 2}`,
            ...Object.fromEntries(one.split(",").map((cell, nth) => [columns[nth], cell])),
          },
    );
    const taken = { added: 0, changed: 0, unchanged: 0, rejected: [] };
    for (const { kind, place, ...values } of rows) {
      if (kind !== "title") taken.rejected.push({ place, reason: `kind is none of title` });
      else if (this.titles.has(values.name)) taken.unchanged++;
      else {
        this.add("titles", values);
        taken.added++;
      }
    }
    return taken;
  }

  /** Every listing has two films. */
  scan(server, { url, dry_run }) {
    const found = ["tides", "dunes"].map((name) => ({ name, uri: `${url}${name}.mp4` }));
    const taken = { added: 0, changed: 0, unchanged: 0, rejected: [] };
    for (const { name, uri } of dry_run ? [] : found) {
      this.add("titles", { name });
      this.add("files", { title: name, server, format: "mp4", uri });
      taken.added += 2;
    }
    return { ...taken, found, pages: 1, failed: [], cut: "" };
  }

  list(kind, query) {
    const words = (query.get("search") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const after = query.get("after") ?? "";
    const { key } = LISTS[kind];
    const fits = (row) =>
      ["title", "server"].every((of) => !query.get(of) || row[of] === query.get(of)) &&
      words.every((word) => JSON.stringify(Object.values(row)).toLowerCase().includes(word)) &&
      (kind === "files" || row[key] > after);
    const rows = [...this[kind].values()]
      .filter(fits)
      .toSorted((a, b) => (a[key] < b[key] ? -1 : 1))
      .map((row) => this.described(kind, row));
    const some = rows.slice(0, PAGE);
    const more = rows.length > PAGE ? some.at(-1)[key] : null;
    return { status: 200, body: { [kind]: some, more } };
  }

  described(kind, row) {
    if (kind !== "servers" && kind !== "titles") return row;
    const of = LISTS[kind].one;
    const files = [...this.files.values()].filter((file) => file[of] === row.name).length;
    if (kind === "servers") return { ...row, files };
    const usable = row.usable ?? files;
    const held = usable ? "playable" : files ? "unreachable" : "empty";
    const standing = row.published ? held : "withheld";
    return { stored: false, standing, ...row, files, usable };
  }
}
