import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { createChannel, deleteChannel } from "../../api/client";
import {
  type ChannelView,
  type Closing,
  closeChannel,
  type Done,
  drainUnit,
  extendChannel,
  moveChannel,
  openChannel,
  removeUnit,
  returnUnit,
  shrinkChannel,
  type UnitView,
} from "../../api/cluster";
import "../../ui/copy-line";
import { choice, dialogs } from "../../ui/dialog";
import { count } from "../../ui/format";
import { field, forms, nameInput, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { reason } from "../reason";

/** What is to be done. */
export type Ask =
  | { readonly kind: "drain" | "return" | "remove"; readonly unit: UnitView }
  | {
      readonly kind: "extend" | "shrink" | "move" | "open" | "close" | "delete";
      readonly channel: ChannelView;
    }
  | { readonly kind: "create" };

/** What was done. */
export interface Outcome {
  readonly ask: Ask;
  /** In words. */
  readonly said: string;
  readonly done: Done | Done<Closing> | null;
}

/** Groups of one order at most, as the server has it. */
const MAX_GROUPS = 50;

interface Words {
  readonly title: string;
  readonly press: string;
  readonly danger?: boolean;
  readonly text: string;
  readonly said: string;
}

export function wordsOf(ask: Ask): Words {
  if (ask.kind === "create") {
    return {
      title: "Make a channel",
      press: "Make it",
      text: "It gets its first group when it is opened, or when somebody publishes or watches.",
      said: "The channel is there.",
    };
  }
  if ("unit" in ask) {
    const { name, viewers } = ask.unit;
    const has = Object.keys(ask.unit.groups ?? {}).length;
    const load = `${count(has, "channel", "channels")} and ${count(viewers, "viewer", "viewers")}`;
    switch (ask.kind) {
      case "drain":
        return {
          title: `Drain ${name}?`,
          press: "Drain",
          text: `Its ${load} move to other units, and it is given nothing more. Who watches hardly notices.`,
          said: `${name} is drained.`,
        };
      case "return":
        return {
          title: `Return ${name}?`,
          press: "Return",
          text: "It may be given channels and viewers again.",
          said: `${name} is back.`,
        };
      case "remove":
        return {
          title: `Remove ${name}?`,
          press: "Remove",
          danger: true,
          text: "It is shown no more. If it runs, or comes back, it gets nothing until it is returned.",
          said: `${name} is removed.`,
        };
    }
  }
  const { name, title, groups } = ask.channel;
  const shown = title || name;
  switch (ask.kind) {
    case "extend":
      return {
        title: `Extend ${shown}`,
        press: "Extend",
        text: "Further groups of places for viewers. They stay until they are taken back by hand.",
        said: `${shown} has further groups.`,
      };
    case "shrink":
      return {
        title: `Shrink ${shown}`,
        press: "Shrink",
        text: `It has ${count(groups, "group", "groups")}. Groups are given back as they empty, the farthest first.`,
        said: `${shown} gives groups back.`,
      };
    case "move":
      return {
        title: `Move ${shown}`,
        press: "Move",
        text: "Its publisher is sent to another unit. Viewers stay where they are and go on from there.",
        said: `${shown} moves.`,
      };
    case "open":
      return {
        title: `Open ${shown}?`,
        press: "Open",
        text: `${ask.channel.state === "closed" ? "Publishers and viewers are let in again. " : ""}It gets a first group of places at once, on the unit with the least load.`,
        said: `${shown} is open.`,
      };
    case "close":
      return {
        title: `Close ${shown}?`,
        press: "Close it",
        danger: true,
        text: "Who is on air and all who watch are sent away, its groups are given back, and nobody gets in until it is opened. Its keys, settings and chat stay.",
        said: `${shown} is closed.`,
      };
    default:
      return {
        title: `Delete ${shown}?`,
        press: "Delete it",
        danger: true,
        text: "Who is on air or watches is sent away; its keys, links and chat are gone for good.",
        said: `${shown} is deleted.`,
      };
  }
}

/**
 * Asks whether something is to be done, and does it.
 *
 * @fires dialog-closed - `detail` is an `Outcome`, or null when nothing was done
 */
@customElement("cluster-dialog")
export class ClusterDialog extends LitElement {
  static override styles = [
    shared,
    forms,
    dialogs,
    css`
      p {
        margin: 0;
      }
      .press.main.danger {
        background: var(--trouble);
        color: var(--surface);
      }
    `,
  ];

  @property({ attribute: false }) ask: Ask = { kind: "create" };
  /** Units that may be chosen. */
  @property({ attribute: false }) units: readonly UnitView[] = [];
  /** They are not all that there are: the manager may not choose either. */
  @property({ type: Boolean }) some = false;
  @state() private trouble = "";
  @state() private busy = false;
  /** The stream key of a channel that was just made; told this once. */
  @state() private key = "";
  @query("dialog") private readonly dialog!: HTMLDialogElement;
  private outcome: Outcome | null = null;

  override firstUpdated(): void {
    this.dialog.showModal();
  }

  override render(): TemplateResult {
    const words = wordsOf(this.ask);
    return html`<dialog aria-labelledby="title" @close=${this.closed}>
      <h2 id="title">${words.title}</h2>
      ${this.key ? this.made() : this.form(words)}
    </dialog>`;
  }

  private form(words: Words): TemplateResult {
    return html`<form @submit=${this.submit}>
      <p>${words.text}</p>
      ${this.fields()} ${wrong(this.trouble)}
      ${choice(words.press, this.busy, words.danger, () => this.dialog.close())}
    </form>`;
  }

  private made(): TemplateResult {
    return html`<form @submit=${this.end}>
      <p>Publishers show this stream key. It is told this once; its owner can make others.</p>
      <copy-line label="stream key" text=${this.key}></copy-line>
      <div class="row"><button class="press main" autofocus>I have it</button></div>
    </form>`;
  }

  private fields(): TemplateResult | typeof nothing {
    const { ask } = this;
    switch (ask.kind) {
      case "create":
        return html`${nameInput("name", "Name, part of its addresses", "")}
          <label>Title <input name="title" maxlength="100" placeholder="The name" autocomplete="off" /></label>`;
      case "extend":
        return html`${this.number(MAX_GROUPS)}
          <label
            >Of
            <select name="unit" ?required=${this.some}>
              <option value="">
                ${this.some ? "Choose a unit" : "any unit; the manager chooses"}
              </option>
              ${this.choices(() => true)}
            </select>
          </label>`;
      case "shrink":
        return this.number(Math.max(1, Math.min(MAX_GROUPS, ask.channel.groups)));
      case "move":
        return html`<label
          >To
          <select name="unit" required>
            <option value="">Choose a unit</option>
            ${this.choices((unit) => unit.id !== ask.channel.ingest)}
          </select>
        </label>`;
      default:
        return nothing;
    }
  }

  private number(most: number): TemplateResult {
    return html`<label
      >Groups <input name="groups" type="number" min="1" max=${most} value="1" required
    /></label>`;
  }

  private choices(wanted: (unit: UnitView) => boolean): TemplateResult[] {
    return this.units
      .filter((unit) => unit.state === "up" && wanted(unit))
      .map(
        ({ id, name, location, load }) => html`<option value=${id}>
          ${name}${location ? `, ${location}` : ""}, ${Math.round(load * 100)} % used
        </option>`,
      );
  }

  private readonly submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    this.busy = true;
    this.trouble = "";
    try {
      const done = await this.act(event.target as HTMLFormElement);
      this.outcome = { ask: this.ask, said: wordsOf(this.ask).said, done };
      if (!this.key) this.dialog.close();
    } catch (error) {
      this.trouble = reason(error);
    }
    this.busy = false;
  };

  private async act(form: HTMLFormElement): Promise<Done | Done<Closing> | null> {
    const { ask } = this;
    switch (ask.kind) {
      case "drain":
        return drainUnit(ask.unit.id);
      case "return":
        return returnUnit(ask.unit.id);
      case "remove":
        return removeUnit(ask.unit.id);
      case "extend":
        return extendChannel(ask.channel.name, Number(field(form, "groups")), field(form, "unit"));
      case "shrink":
        return shrinkChannel(ask.channel.name, Number(field(form, "groups")));
      case "move":
        return moveChannel(ask.channel.name, field(form, "unit"));
      case "open":
        return openChannel(ask.channel.name);
      case "close":
        return closeChannel(ask.channel.name);
      case "delete":
        await deleteChannel(ask.channel.name);
        return null;
      case "create": {
        const title = field(form, "title");
        const values = { name: field(form, "name"), ...(title ? { title } : {}) };
        this.key = (await createChannel(values)).key;
        return null;
      }
    }
  }

  private readonly end = (event: SubmitEvent): void => {
    event.preventDefault();
    this.dialog.close();
  };

  private readonly closed = (): void => {
    this.dispatchEvent(new CustomEvent("dialog-closed", { detail: this.outcome }));
  };
}
