/** What can be asked of storage, and how it is said. */

import type { Disk, Recording, StoredTitle, Volume } from "../../api/storage";
import { bytes, count } from "../../ui/format";

/** What is to be done. */
export type Ask =
  | { readonly kind: "create"; readonly names: readonly string[] }
  | { readonly kind: "add" | "limits" | "forget"; readonly volume: Volume }
  | { readonly kind: "remove" | "replace"; readonly volume: Volume; readonly disk: Disk }
  | { readonly kind: "erase"; readonly title: StoredTitle }
  | { readonly kind: "record"; readonly volumes: readonly string[] }
  | { readonly kind: "drop"; readonly recording: Recording };

export interface Words {
  readonly title: string;
  readonly text: string;
  readonly press: string;
  readonly danger?: boolean;
  /** Once it is done. */
  readonly said: string;
}

/** A disk as people know it. */
export const place = (disk: Disk): string =>
  `${disk.path} of ${disk.node_name || `node ${disk.node.slice(0, 8)}`}`;

export function wordsOf(ask: Ask): Words {
  switch (ask.kind) {
    case "create":
      return {
        title: "Make a volume",
        text: "Titles are cut into blocks that are spread over its disks. A disk is a directory of its own on a file system of its own; how fast it reads is measured first.",
        press: "Make it",
        said: "The volume is there.",
      };
    case "add":
      return {
        title: `Add a disk to ${ask.volume.name}`,
        text: "It is measured first. Then what belongs on it moves there, while everything is played.",
        press: "Add it",
        said: "The disk is there. What belongs on it moves there now.",
      };
    case "replace":
      return {
        title: `Replace ${place(ask.disk)}`,
        text: "The new disk takes its place, and only what the old one had moves. It holds as much at least.",
        press: "Replace it",
        said: "The new disk takes the place of the old one.",
      };
    case "remove":
      return {
        title: `Remove ${place(ask.disk)}?`,
        text: ask.disk.up
          ? "The volume has that much less space afterwards."
          : "It is away. When it comes back, everything on it is used again.",
        press: "Remove it",
        danger: true,
        said: "The disk leaves.",
      };
    case "limits":
      return {
        title: `Limits of ${ask.volume.name}`,
        text: "What work in the background may read, each second on each node. What viewers need goes first all the same.",
        press: "Save",
        said: "The limits are changed.",
      };
    case "forget":
      return {
        title: `Remove the volume ${ask.volume.name}?`,
        text: "It has no titles. Its directories stay where they are and are nobody's.",
        press: "Remove it",
        danger: true,
        said: `The volume ${ask.volume.name} is removed.`,
      };
    case "erase":
      return {
        title: `Erase ${ask.title.title || ask.title.name}?`,
        text: `Its ${bytes(ask.title.bytes)} are gone for good, and who watches it is cut off.`,
        press: "Erase it",
        danger: true,
        said: `${ask.title.title || ask.title.name} is erased.`,
      };
    case "record":
      return {
        title: "Record a channel",
        text: "It becomes a title that can be watched, and sought, while it grows.",
        press: "Record",
        said: "The channel is being recorded.",
      };
    case "drop":
      return {
        title: `Drop what is left of ${ask.recording.name}?`,
        text: `What was recorded last and is not in its volume ${ask.recording.volume} is gone for good then.`,
        press: "Drop it",
        danger: true,
        said: `What was left of ${ask.recording.name} is dropped.`,
      };
  }
}

/** What it means to take a disk for lost, in clear words. */
export function forceWords({ scheme, disks }: Volume, disk: Disk): string {
  const other = disks.filter(
    (one) => one.id !== disk.id && (one.state === "lost" || !one.up),
  ).length;
  const has = disk.blocks === null ? "What it has" : count(disk.blocks, "block", "blocks");
  if (scheme.parity === 0) {
    return `${has} on it cannot be made anew, as this volume has no redundancy: titles lose parts for good.`;
  }
  if (other >= scheme.parity) {
    return `With it ${count(other + 1, "disk is", "disks are")} gone, and the volume bears ${scheme.parity}: titles may lose parts for good.`;
  }
  return `It is not read any more. ${has === "What it has" ? has : `What was in its ${has}`} is made anew from the other disks.`;
}
