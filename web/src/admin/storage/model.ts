/** What the page about storage says, purely. */

import type {
  Change,
  Check,
  Disk,
  Import,
  ImportState,
  Recording,
  Scheme,
  StoredTitle,
  Volume,
} from "../../api/storage";
import { bytes, clock, count, duration, percent } from "../../ui/format";

// protection

/** What a volume survives, and what that costs. */
export interface Protection {
  readonly data: number;
  readonly parity: number;
  /** Disks it needs. */
  readonly needs: number;
  /** Space that a byte of titles takes. */
  readonly factor: number;
  readonly survives: string;
}

const PARITIES = ["no disk", "any one disk", "any two disks", "any three disks", "any four disks"];

export const protection = (data: number, parity: number): Protection => ({
  data,
  parity,
  needs: data + parity,
  factor: (data + parity) / data,
  survives: PARITIES[parity] ?? `any ${parity} disks`,
});

/** What the form offers: the usual ones, as docs/operate/storage.md has them. */
export const CHOICES: readonly Protection[] = [
  protection(1, 0),
  protection(1, 1),
  protection(2, 1),
  protection(4, 2),
];

/** Members of a group that one node has at most, as nodes have as even a number as can be. */
const together = (scheme: Scheme, nodes: number): number =>
  Math.ceil((scheme.data + scheme.parity) / Math.max(1, nodes));

/** How a volume is protected, as its disks are now. */
export function protectionLine({ scheme, disks }: Volume): string {
  if (scheme.parity === 0) return "No redundancy";
  const there = disks.filter(({ state }) => state === "active");
  const nodes = new Set(there.map(({ node }) => node)).size;
  const { survives } = protection(scheme.data, scheme.parity);
  const whole = nodes > 1 && together(scheme, nodes) <= scheme.parity;
  return `Survives the loss of ${survives}${whole ? ", or of a whole node" : ""}`;
}

/** How blocks lie, in one line. */
export function layoutLine({ scheme, policy, disks, groups }: Volume): string {
  const { data, parity } = scheme;
  const block =
    scheme.block >= 1 << 20 ? `${scheme.block / (1 << 20)} MiB` : `${scheme.block / 1024} KiB`;
  const form =
    parity === 0
      ? "blocks alone"
      : data === 1
        ? `${parity + 1} copies of each block`
        : `groups of ${data} + ${parity}`;
  const there = disks.filter(({ state }) => state === "active").length;
  return `${count(there, "disk", "disks")} as ${count(
    groups.logical,
    "logical disk",
    "logical disks",
  )} · ${form} · blocks of ${block} · placed by ${policy}`;
}

// disks

/** How a disk is, as people see it. */
export type Standing = "active" | "leaving" | "lost" | "away";

export const STANDINGS: Readonly<Record<Standing, string>> = {
  active: "Active",
  leaving: "Leaving",
  lost: "Lost",
  away: "Away",
};

export function standing(disk: Disk): Standing {
  if (disk.state === "lost") return "lost";
  return disk.up ? disk.state : "away";
}

export interface DiskGroup {
  readonly node: string;
  readonly name: string;
  readonly disks: readonly Disk[];
}

/** Disks by their node, in the order in which nodes came. */
export function byNode(disks: readonly Disk[]): readonly DiskGroup[] {
  const found = new Map<string, Disk[]>();
  for (const disk of disks) {
    const group = found.get(disk.node);
    if (group) group.push(disk);
    else found.set(disk.node, [disk]);
  }
  return [...found].map(([node, group]) => ({
    node,
    // While a node is away nobody tells its name.
    name: group.find(({ node_name }) => node_name)?.node_name || `Node ${node.slice(0, 8)}`,
    disks: group,
  }));
}

/** Share of the space that is not free, 0 to 1; null where nobody tells. */
export function fill(capacity: number, free: number | null): number | null {
  if (free === null || capacity <= 0) return null;
  return Math.min(1, Math.max(0, 1 - free / capacity));
}

/** What is told of a disk beside its state. */
export function diskLine(disk: Disk): string {
  const parts = [
    disk.free === null
      ? bytes(disk.capacity)
      : `${bytes(disk.free)} free of ${bytes(disk.capacity)}`,
    `reads ${bytes(disk.bandwidth)}/s`,
  ];
  if (disk.blocks !== null) parts.push(count(disk.blocks, "block", "blocks"));
  if (disk.late) parts.push(count(disk.late, "late read", "late reads"));
  if (disk.errors) parts.push(count(disk.errors, "error", "errors"));
  return parts.join(" · ");
}

// what goes on

/** Share of a change that is done; null before it is known how much there is. */
export const changeShare = (change: Change): number | null =>
  change.bytes_total > 0 ? Math.min(1, change.bytes_done / change.bytes_total) : null;

export function changeLine(change: Change): string {
  if (change.bytes_total <= 0) return "Finding out what has to move";
  const parts = [`${bytes(change.bytes_done)} of about ${bytes(change.bytes_total)}`];
  if (change.lacking) parts.push(`${count(change.lacking, "block", "blocks")} to go`);
  if (change.forecast_s !== null) parts.push(`about ${duration(change.forecast_s)} left`);
  return parts.join(" · ");
}

export function scrubLine({ scrub, limits }: Volume): string {
  const parts = [
    limits.scrub > 0 ? `${percent(scrub.share)} of round ${scrub.rounds + 1}` : "Switched off",
  ];
  parts.push(
    scrub.found
      ? `${count(scrub.found, "damaged block", "damaged blocks")} found, ${scrub.mended.toLocaleString("en")} mended`
      : "nothing damaged found",
  );
  return parts.join(" · ");
}

// titles

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Whether a title may be called so. */
export const goodName = (name: string): boolean => NAME.test(name);

/** A name for a file's title: as `helio title import` makes it, and none that is taken. */
export function nameFor(file: string, taken: ReadonlySet<string>): string {
  const stem = file.replace(/(?!^)\.[^.]*$/, "");
  const name =
    stem
      .replace(/[^A-Za-z0-9._-]+/g, "-")
      .replace(/^[-._]+|[-._]+$/g, "")
      .slice(0, 64) || "title";
  if (!taken.has(name)) return name;
  for (let number = 2; ; number++) {
    const other = `${name.slice(0, 60)}-${number}`;
    if (!taken.has(other)) return other;
  }
}

/** A file's name without its type, as a title for people. */
export const titleFor = (file: string): string => file.replace(/(?!^)\.[^.]*$/, "").slice(0, 200);

/** Kinds with their codecs and languages. */
export function tracksLine(tracks: StoredTitle["tracks"]): string {
  const codecs = (kind: string): string => {
    const found = new Map<string, number>();
    for (const { codec, language } of tracks.filter((track) => track.kind === kind)) {
      const name = `${codec}${language ? ` (${language})` : ""}`;
      found.set(name, (found.get(name) ?? 0) + 1);
    }
    return [...found].map(([name, times]) => (times > 1 ? `${times} × ${name}` : name)).join(", ");
  };
  return [...new Set(tracks.map(({ kind }) => kind))]
    .map((kind) => `${kind} ${codecs(kind)}`)
    .join(" · ");
}

export function titleLine(title: StoredTitle): string {
  const length = title.live ? `${clock(title.duration)} so far` : clock(title.duration);
  return [length, bytes(title.bytes), tracksLine(title.tracks)].filter(Boolean).join(" · ");
}

/** What came of a check, or how far it is. */
export function checkLine(check: Check): string {
  if (check.ended === null) {
    return `Reading it: ${check.done.toLocaleString("en")} of ${count(check.total, "block", "blocks")}`;
  }
  if (check.error) return `The check failed: ${check.error}.`;
  if (check.good) return `Whole: all ${count(check.total, "block", "blocks")} are as they were.`;
  const first = check.faults[0];
  return `${count(check.count, "fault", "faults")}${
    first ? `; the first in block ${first.block}: ${first.reason}` : ""
  }.`;
}

// imports

const IMPORT_WORDS: Readonly<Record<ImportState, string>> = {
  receiving: "Being sent",
  waiting: "Waits for its turn",
  importing: "Being cut into blocks",
  done: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

export const underWay = ({ state }: Import): boolean =>
  state === "receiving" || state === "waiting" || state === "importing";

/** Share of an import's step that is done; null where that cannot be told. */
export function importShare(one: Import): number | null {
  if (one.state === "waiting") return null;
  if (one.state === "importing" && one.duration > 0) return Math.min(1, one.media / one.duration);
  return one.total ? Math.min(1, one.bytes / one.total) : null;
}

export function importLine(one: Import): string {
  const parts = [IMPORT_WORDS[one.state]];
  if (one.state === "receiving") {
    parts.push(one.total ? `${bytes(one.bytes)} of ${bytes(one.total)}` : bytes(one.bytes));
  }
  if (one.state === "importing" && one.duration > 0) {
    parts.push(`${clock(one.media)} of ${clock(one.duration)}`);
  }
  if (underWay(one) && one.remaining !== null) parts.push(`about ${duration(one.remaining)} left`);
  if (one.state === "failed") parts.push(one.error);
  if (one.state === "done") parts.push(...one.remarks);
  return parts.filter(Boolean).join(" · ");
}

/** A file that this page sends, or is about to. */
export interface Sending {
  readonly name: string;
  readonly title: string;
  readonly volume: string;
  readonly file: string;
  /** Further files of it. */
  readonly renditions: number;
  /** Bytes of all its files. */
  readonly size: number;
  readonly sent: number;
  readonly state: "queued" | "sending" | "failed";
  readonly error: string;
}

/** The files of a title, in a few words. */
export const filesLine = (one: Sending | Import): string =>
  one.renditions
    ? `${one.file} and ${count(one.renditions, "other size", "other sizes")}`
    : one.file;

export function sendingLine(one: Sending): string {
  if (one.state === "failed") return `Failed · ${one.error}`;
  if (one.state === "queued") return `Waits to be sent · ${bytes(one.size)}`;
  return `Being sent · ${bytes(one.sent)} of ${bytes(one.size)}`;
}

/** What the server tells of imports, without files of which this page knows more. */
export function others(
  imports: readonly Import[],
  sendings: readonly Sending[],
): readonly Import[] {
  const own = new Set(sendings.filter(({ state }) => state === "sending").map(({ name }) => name));
  return imports.filter(({ name, state }) => !(state === "receiving" && own.has(name)));
}

// recordings

export function recordingLine(one: Recording): string {
  if (one.waiting) return `Waits for volume ${one.volume}${one.error && ` · ${one.error}`}`;
  const parts = [one.ended === null ? "Recording" : "Ended"];
  if (one.seconds !== undefined) parts.push(clock(one.seconds));
  if (one.bytes !== undefined) parts.push(bytes(one.bytes));
  if (one.lost_units) parts.push(`${count(one.lost_units, "frame", "frames")} lost`);
  if (one.error) parts.push(one.error);
  else if (one.reason) parts.push(one.reason);
  return parts.join(" · ");
}

/** Bytes of an amount in `unit` bytes; null: not told; undefined: no amount. */
export function readAmount(text: string, unit: number): number | null | undefined {
  if (!text) return null;
  const found = Number(text.replace(",", "."));
  return Number.isFinite(found) && found >= 0 ? Math.round(found * unit) : undefined;
}
