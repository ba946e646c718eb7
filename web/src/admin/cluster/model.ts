/** What the page about the cluster works out of the manager's view. Pure. */

import type {
  ChannelState,
  ChannelView,
  ClusterView,
  GroupNumbers,
  Manager,
  Progress,
  UnitState,
  UnitView,
} from "../../api/cluster";

/** A view that has only the numbers that change, with what was known of the rest. */
export function merged(before: ClusterView | null, after: ClusterView): ClusterView {
  if (after.whole !== false || !before) return after;
  const units = new Map(before.units.map((unit) => [unit.id, unit]));
  const channels = new Map(before.channels.map((channel) => [channel.name, channel]));
  return {
    ...after,
    units: after.units.map((unit) => ({ ...units.get(unit.id), ...unit })),
    channels: after.channels.map((channel) => ({ ...channels.get(channel.name), ...channel })),
  };
}

/** A group in its place among those of a unit. */
export interface Seat {
  readonly index: number;
  readonly channel: string;
  readonly viewers: number;
  readonly reserved: number;
  readonly places: number;
}

/** Groups of a unit by their index; null where nobody has it. */
export function seats(unit: UnitView): readonly (Seat | null)[] {
  const found: (Seat | null)[] = new Array<Seat | null>(unit.budget?.groups ?? 0).fill(null);
  for (const [channel, groups] of Object.entries(unit.groups ?? {})) {
    for (const [index, viewers, reserved, places] of groups) {
      // A unit whose budget became smaller keeps what it has.
      while (found.length <= index) found.push(null);
      found[index] = { index, channel, viewers, reserved, places };
    }
  }
  return found;
}

export const viewersOf = (groups: readonly GroupNumbers[]): number =>
  groups.reduce((sum, [, viewers]) => sum + viewers, 0);
export const placesOf = (groups: readonly GroupNumbers[]): number =>
  groups.reduce((sum, [, , , places]) => sum + places, 0);

/** Where a channel is on a unit. */
export const groupsOf = (unit: UnitView, channel: string): readonly GroupNumbers[] =>
  unit.groups?.[channel] ?? [];

/** Places a unit could have with all of its groups granted. */
export const capacity = (unit: UnitView): number =>
  unit.budget ? unit.budget.groups * unit.budget.places : unit.places;

/** Whether a unit may be removed: nobody would notice. */
export const removable = (unit: UnitView): boolean =>
  unit.state === "gone" || (unit.state === "draining" && !unit.viewers && !unit.places);

/** The share that is used of something; 0 where it is not known. */
export const share = (used: number | undefined, of: number | undefined): number =>
  used && of ? Math.min(1, used / of) : 0;

/** A hue for a channel, the same on each page and after each start: FNV-1a of its name. */
export function hue(channel: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < channel.length; i++) {
    hash = Math.imul(hash ^ channel.charCodeAt(i), 0x01000193) >>> 0;
  }
  // Last characters alone differ among names such as camera-1 and camera-2: spread them.
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d) >>> 0;
  return Math.floor((((hash ^ (hash >>> 12)) >>> 0) / 2 ** 32) * 360);
}

/** Words of which each has to be somewhere in the texts, in any case. */
export function matcher(search: string): (...texts: readonly string[]) => boolean {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  return (...texts) => {
    if (words.length === 0) return true;
    const all = texts.join("\n").toLowerCase();
    return words.every((word) => all.includes(word));
  };
}

export function findUnits(units: readonly UnitView[], search: string): readonly UnitView[] {
  if (!search.trim()) return units;
  const matches = matcher(search);
  return units.filter((one) =>
    matches(
      one.name,
      one.id,
      one.domain ?? "",
      one.location ?? "",
      one.address ?? "",
      STATES[one.state].toLowerCase(),
    ),
  );
}

/** A channel with its number in the list. */
export interface Numbered {
  readonly number: number;
  readonly channel: ChannelView;
}

export function findChannels(
  channels: readonly ChannelView[],
  search: string,
): readonly Numbered[] {
  const all = channels.map((channel, i) => ({ number: i + 1, channel }));
  if (!search.trim()) return all;
  const matches = matcher(search);
  return all.filter(({ number, channel }) =>
    matches(channel.name, channel.title ?? "", `#${number}`, stateOf(channel)),
  );
}

export const stateOf = (channel: ChannelView): ChannelState => channel.state ?? "open";

export const STATES: Readonly<Record<UnitState, string>> = {
  up: "Up",
  pressed: "Under pressure",
  draining: "Draining",
  gone: "Gone",
};

export interface Totals {
  readonly units: number;
  /** Units that may be given anything. */
  readonly up: number;
  /** Channels that a unit carries. */
  readonly open: number;
  readonly viewers: number;
  readonly places: number;
  readonly capacity: number;
  readonly bandwidth: number;
  readonly bandwidthLimit: number;
}

export function totals(view: ClusterView): Totals {
  const sum = (of: (unit: UnitView) => number): number =>
    view.units.reduce((total, unit) => total + of(unit), 0);
  return {
    units: view.units.length,
    up: view.units.filter((unit) => unit.state === "up").length,
    open: view.channels.filter((channel) => stateOf(channel) === "open").length,
    viewers: sum((unit) => unit.viewers),
    places: sum((unit) => unit.places),
    capacity: sum(capacity),
    bandwidth: sum((unit) => unit.used?.bandwidth ?? 0),
    bandwidthLimit: sum((unit) => unit.limits?.bandwidth ?? 0),
  };
}

/** Packets that came and that never came on the links of the node that answers, since they began. */
export function carried(view: ClusterView): { received: number; lost: number } | null {
  const links = view.units.flatMap(({ link }) => (link ? [link] : []));
  if (links.length === 0) return null;
  return {
    received: links.reduce((sum, link) => sum + link.received, 0),
    lost: links.reduce((sum, link) => sum + link.lost, 0),
  };
}

/** How much a unit that is drained still has, as one number. */
export const left = (progress: Progress): number =>
  progress.viewers + progress.reserved + progress.groups + progress.ingests + progress.links;

/** The same in words: `3 viewers, 1 source to go`. */
export function leftWords(progress: Progress): string {
  const parts = [
    [progress.viewers, "viewer", "viewers"],
    [progress.groups, "group", "groups"],
    [progress.ingests, "source", "sources"],
    [progress.bound, "of them bound to this unit", "of them bound to this unit"],
    [progress.links, "link", "links"],
  ] as const;
  const words = parts
    .filter(([n]) => n > 0)
    .map(([n, one, many]) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`);
  return words.length ? `${words.join(", ")} to go` : "nearly done";
}

/** Who leads, in words. */
export function leadership(managers: readonly Manager[]): { active: string; standby: number } {
  return {
    active: managers
      .filter((one) => one.active)
      .sort((a, b) => b.epoch - a.epoch)
      .map((one) => one.name)
      .slice(0, 1)
      .join(""),
    standby: managers.filter((one) => !one.active).length,
  };
}
