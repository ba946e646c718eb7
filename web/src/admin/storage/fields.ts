/** Fields of forms about volumes and disks. */

import { html, type TemplateResult } from "lit";
import type { DiskWish, VolumeNew } from "../../api/storage";
import { field } from "../../ui/forms";
import { CHOICES, readAmount } from "./model";

const GB = 1e9;

/** One disk: where it is, and how much it may hold. The form has a list `nodes` of names. */
export const diskFields = (remove?: {
  readonly label: string;
  readonly press: () => void;
}): TemplateResult =>
  html`<div class="disk-fields">
    <label
      >Path <input
        name="path"
        required
        minlength="2"
        maxlength="4096"
        pattern="/.+"
        title="An absolute path, such as /mnt/b"
        placeholder="/mnt/b"
        autocapitalize="none"
        autocomplete="off"
        spellcheck="false"
    /></label>
    <label
      >Node <input
        name="node"
        maxlength="64"
        placeholder="this one"
        list="nodes"
        autocapitalize="none"
        autocomplete="off"
        spellcheck="false"
    /></label>
    <label
      >At most, GB <input
        name="capacity"
        inputmode="decimal"
        placeholder="all of it"
        autocomplete="off"
    /></label>
    ${
      remove
        ? html`<button class="press" type="button" aria-label=${remove.label} @click=${remove.press}>
            Leave out
          </button>`
        : ""
    }
  </div>`;

/**
 * Whether directories may be emptied that were disks of something else.
 *
 * @param volume that takes back a disk of its own with what it has; null: there is none yet
 * @param changed the tick was set, or taken away
 */
export const eraseField = (
  volume: string | null,
  changed: (is: boolean) => void,
): TemplateResult => {
  const refused = "Those blocks are gone for good; other files stay. Without this it is refused.";
  const back = volume === null ? "" : ` One that was of ${volume} is taken back with its blocks.`;
  return html`<label class="tick"
    ><input
      type="checkbox"
      name="erase"
      @change=${(event: Event) => changed((event.target as HTMLInputElement).checked)}
    /><span
      >Erase what a directory holds as a disk of another volume<span class="hint"
        >${refused}${back}</span
      ></span
    ></label
  >`;
};

/** What the fields of disks say, one after the other; a sentence says what is amiss. */
export function readDisks(form: HTMLFormElement): readonly DiskWish[] | string {
  const data = new FormData(form);
  const texts = (name: string): string[] => data.getAll(name).map((one) => String(one).trim());
  const [nodes, capacities] = [texts("node"), texts("capacity")];
  const erase = data.has("erase");
  const wishes: DiskWish[] = [];
  for (const [at, path] of texts("path").entries()) {
    if (!path.startsWith("/")) return `“${path}” is no absolute path, such as /mnt/b.`;
    const capacity = readAmount(capacities[at] ?? "", GB);
    if (capacity === undefined) return "Tell the space in GB as a number, or leave it empty.";
    wishes.push({ node: nodes[at] ?? "", path, capacity, erase });
  }
  const keys = wishes.map(({ node, path }) => `${node}:${path}`);
  return new Set(keys).size < keys.length ? "Two of the disks are the same directory." : wishes;
}

/** What a volume can be made to survive, as a table to choose from. */
export const protectionFields = (disks: number): TemplateResult =>
  html`<fieldset>
    <legend>Protection</legend>
    <table>
      <thead>
        <tr>
          <th><span class="visually-hidden">Choice</span></th>
          <th>Survives</th>
          <th>1 TB of titles takes</th>
          <th>Needs</th>
        </tr>
      </thead>
      <tbody>
        ${CHOICES.map(
          ({ data, parity, needs, factor, survives }) => html`<tr>
            <td>
              <input
                type="radio"
                name="scheme"
                id=${`scheme-${data}-${parity}`}
                value=${`${data}+${parity}`}
                ?checked=${data === 1 && parity === 0}
              />
            </td>
            <td>
              <label for=${`scheme-${data}-${parity}`}
                >${survives === "no disk" ? "nothing" : `the loss of ${survives}`}</label
              >
            </td>
            <td>${factor.toLocaleString("en")} TB</td>
            <td class=${needs > disks ? "short" : ""}>
              ${needs} ${needs === 1 ? "disk" : "disks"}
            </td>
          </tr>`,
        )}
      </tbody>
    </table>
    <span class="hint"
      >With disks on as many nodes as are needed, a whole node may be lost instead of a disk.</span
    >
  </fieldset>`;

/** A whole new volume; a sentence says what is amiss. */
export function readVolume(form: HTMLFormElement): VolumeNew | string {
  const disks = readDisks(form);
  if (typeof disks === "string") return disks;
  const [data = 1, parity = 0] = field(form, "scheme").split("+").map(Number);
  if (disks.length < data + parity) {
    return `This protection needs ${data + parity} disks; there ${disks.length === 1 ? "is 1" : `are ${disks.length}`}.`;
  }
  return { name: field(form, "name"), data, parity, disks };
}

/** Which volume; nothing to choose where there is one or none. */
export const volumeSelect = (volumes: readonly string[]): TemplateResult | string =>
  volumes.length < 2
    ? ""
    : html`<label
        >Volume
        <select name="volume">
          ${volumes.map((name) => html`<option value=${name}>${name}</option>`)}
        </select>
      </label>`;
