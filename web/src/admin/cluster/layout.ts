/** Where the units of a channel's tree are drawn. Pure. */

import type { ChannelView } from "../../api/cluster";

export interface TreeNode {
  readonly unit: string;
  readonly parent: string | null;
  /** Links from the root. */
  readonly depth: number;
  /** Rows from the top. */
  readonly row: number;
  /** It has no source, and is not where the channel enters. */
  readonly orphan: boolean;
}

export interface TreeLayout {
  readonly nodes: readonly TreeNode[];
  readonly rows: number;
  readonly columns: number;
}

/**
 * What enters is at the top, a parent beside its first child and above the others.
 *
 * @param outline each unit in a row of its own: large trees have no empty room then
 */
export function layoutTree(channel: ChannelView, outline = false): TreeLayout {
  const parents = new Map(channel.tree ?? []);
  const children = new Map<string, string[]>();
  const roots: string[] = [];
  for (const [unit, parent] of parents) {
    if (parent === null || !parents.has(parent)) roots.push(unit);
    else children.set(parent, [...(children.get(parent) ?? []), unit]);
  }
  const orphans = new Set(channel.orphans ?? []);
  const nodes: TreeNode[] = [];
  const seen = new Set<string>();
  let rows = 0;
  const place = (unit: string, depth: number): number => {
    seen.add(unit);
    const own = outline ? rows++ : null;
    const below = (children.get(unit) ?? [])
      .filter((child) => !seen.has(child))
      .map((child) => place(child, depth + 1));
    const row = own ?? below[0] ?? rows++;
    const parent = depth > 0 ? (parents.get(unit) ?? null) : null;
    nodes.push({ unit, parent, depth, row, orphan: orphans.has(unit) });
    return row;
  };
  // Where the source enters first, then what is cut off, then what goes round in a circle.
  roots.sort((a, b) => Number(b === channel.ingest) - Number(a === channel.ingest));
  for (const root of [...roots, ...parents.keys()]) if (!seen.has(root)) place(root, 0);
  return { nodes, rows, columns: 1 + Math.max(-1, ...nodes.map((node) => node.depth)) };
}
