import { css, html, LitElement, svg, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import type { ChannelView, UnitView } from "../../api/cluster";
import { shared } from "../../ui/shared";
import { layoutTree, type TreeNode } from "./layout";
import { groupsOf, placesOf, viewersOf } from "./model";
import { clusterStyles, colour } from "./parts";

const WIDTH = 168;
const HEIGHT = 40;
const DOWN = HEIGHT + 10;
/** From one column to the next: beside each other, or in an outline. */
const ACROSS = WIDTH + 44;
const INDENT = 30;
/** Trees of more units are drawn as an outline. */
const LARGE = 12;
/** Characters of a name that fit in a box. */
const FIT = 17;

const shortened = (text: string): string =>
  text.length > FIT ? `${text.slice(0, FIT - 1)}…` : text;

/**
 * The way of a channel over its units, from where it enters on the left.
 *
 * @fires unit-chosen - `detail` is the id of the unit that was pressed
 */
@customElement("channel-tree")
export class ChannelTree extends LitElement {
  static override styles = [
    shared,
    clusterStyles,
    css`
      :host {
        display: block;
        overflow: auto;
        scrollbar-width: thin;
      }
      svg {
        display: block;
      }
      .edge {
        fill: none;
        stroke: var(--line);
        stroke-width: 2;
      }
      .box {
        fill: var(--field);
        stroke: var(--line);
      }
      g.node {
        cursor: pointer;
      }
      g.node:hover .box,
      g.node:focus-visible .box {
        stroke: var(--sun-edge);
        stroke-width: 2;
      }
      g.node:focus-visible {
        outline: none;
      }
      .root .box {
        stroke: var(--sun-edge);
      }
      .orphan .box {
        stroke: var(--trouble);
        stroke-dasharray: 4 3;
      }
      text {
        font: 600 12.5px var(--font);
        fill: var(--ink);
      }
      text.small {
        font: 500 11px var(--font);
        fill: var(--ink-soft);
      }
      p {
        margin: 0;
        color: var(--ink-soft);
      }
    `,
  ];

  @property({ attribute: false }) channel: ChannelView | null = null;
  @property({ attribute: false }) units: ReadonlyMap<string, UnitView> = new Map();

  override render(): TemplateResult {
    const { channel } = this;
    if (!channel?.tree?.length)
      return html`<p>No unit carries it: nobody has sent or asked for it.</p>`;
    const outline = channel.tree.length > LARGE;
    const across = outline ? INDENT : ACROSS;
    const { nodes, rows, columns } = layoutTree(channel, outline);
    const width = (columns - 1) * across + WIDTH + 2;
    const height = rows * DOWN - (DOWN - HEIGHT) + 2;
    const at = new Map(nodes.map((node) => [node.unit, node]));
    return html`<svg
      width=${width}
      height=${height}
      viewBox="-1 -1 ${width} ${height}"
      role="group"
      aria-label="Units that carry the channel"
    >
      ${nodes.map((node) => {
        const parent = node.parent === null ? undefined : at.get(node.parent);
        return parent ? edge(parent, node, outline) : null;
      })}
      ${nodes.map((node) => this.node(channel, node, across))}
    </svg>`;
  }

  private node(channel: ChannelView, node: TreeNode, across: number): TemplateResult {
    const unit = this.units.get(node.unit);
    const name = unit?.name ?? node.unit;
    const groups = unit ? groupsOf(unit, channel.name) : [];
    const watching = groups.length
      ? `${viewersOf(groups)} of ${placesOf(groups)} watch`
      : "passes it on";
    const root = node.unit === channel.ingest;
    const words = node.orphan ? "cut off" : root ? `enters here, ${watching}` : watching;
    const kind = `${root ? "root" : ""} ${node.orphan ? "orphan" : ""}`;
    return svg`<g
      class="node ${kind}"
      transform="translate(${node.depth * across} ${node.row * DOWN})"
      role="button"
      tabindex="0"
      aria-label="${name}, ${words}"
      @click=${() => this.choose(node.unit)}
      @keydown=${(event: KeyboardEvent) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          this.choose(node.unit);
        }
      }}
    >
      <title>${name}</title>
      <rect class="box" width=${WIDTH} height=${HEIGHT} rx="9"></rect>
      <rect width="4" height=${HEIGHT - 16} x="8" y="8" rx="2" fill=${
        groups.length ? colour(channel.name) : "var(--line)"
      }></rect>
      <text x="20" y="17">${shortened(name)}</text>
      <text x="20" y="32" class="small">${root && !node.orphan ? `☀ ${watching}` : words}</text>
    </g>`;
  }

  private choose(unit: string): void {
    this.dispatchEvent(new CustomEvent("unit-chosen", { detail: unit }));
  }
}

function edge(from: TreeNode, to: TreeNode, outline: boolean): TemplateResult {
  if (outline) {
    const x = from.depth * INDENT + INDENT / 2;
    const y = to.row * DOWN + HEIGHT / 2;
    return svg`<path
      class="edge"
      d="M${x} ${from.row * DOWN + HEIGHT}V${y - 8}q0 8 8 8H${to.depth * INDENT}"
    ></path>`;
  }
  const x = from.depth * ACROSS + WIDTH;
  const y = from.row * DOWN + HEIGHT / 2;
  const end = to.depth * ACROSS;
  const y2 = to.row * DOWN + HEIGHT / 2;
  const middle = (x + end) / 2;
  return svg`<path class="edge" d="M${x} ${y}C${middle} ${y} ${middle} ${y2} ${end} ${y2}"></path>`;
}
