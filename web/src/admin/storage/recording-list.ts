import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { type Recording, stopRecording } from "../../api/storage";
import { forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { reason } from "../reason";
import type { Ask } from "./asks";
import { recordingLine } from "./model";
import { barStyles, listStyles } from "./styles";

/** Recordings that ended and are still shown. */
const ENDED = 5;

/**
 * Channels that are recorded, and the last that were.
 *
 * @fires wanted - `detail` is an `Ask`
 * @fires changed - something was stopped
 */
@customElement("recording-list")
export class RecordingList extends LitElement {
  static override styles = [shared, forms, barStyles, listStyles];

  @property({ attribute: false }) recordings: readonly Recording[] = [];
  @property({ attribute: false }) volumes: readonly string[] = [];
  @state() private trouble = "";
  @state() private stopping: ReadonlySet<string> = new Set();

  override render(): TemplateResult {
    const going = this.recordings.filter(({ ended }) => ended === null);
    const ended = this.recordings.filter((one) => one.ended !== null).slice(0, ENDED);
    return html`<div class="head">
        <h2>Recordings</h2>
        <button class="press small" @click=${this.record}>Record a channel</button>
      </div>
      ${wrong(this.trouble)}
      ${
        this.recordings.length === 0
          ? html`<p class="none">Nothing is being recorded.</p>`
          : html`<ul>
              ${[...going, ...ended].map((one) => this.row(one))}
            </ul>`
      }`;
  }

  private row(one: Recording): TemplateResult {
    return html`<li data-recording=${one.name}>
      <div>
        <strong>${one.name}</strong>
        <small>of ${one.channel} · ${recordingLine(one)}</small>
        ${one.remarks.map((remark) => html`<small>${remark}</small>`)}
      </div>
      ${one.ended === null ? html`<div class="does">${this.end(one)}</div>` : nothing}
    </li>`;
  }

  private end(one: Recording): TemplateResult {
    if (one.waiting) {
      return html`<button
        class="press small"
        aria-label=${`Drop what is left of ${one.name}`}
        @click=${() => this.want({ kind: "drop", recording: one })}
      >
        Drop
      </button>`;
    }
    return html`<button
      class="press small"
      ?disabled=${this.stopping.has(one.name)}
      aria-label=${`Stop recording ${one.name}`}
      @click=${() => this.stop(one.name)}
    >
      Stop
    </button>`;
  }

  private readonly record = (): void => this.want({ kind: "record", volumes: this.volumes });

  private want(detail: Ask): void {
    this.dispatchEvent(new CustomEvent<Ask>("wanted", { detail, bubbles: true, composed: true }));
  }

  private async stop(name: string): Promise<void> {
    this.stopping = new Set(this.stopping).add(name);
    this.trouble = "";
    try {
      await stopRecording(name);
    } catch (error) {
      this.trouble = reason(error);
    }
    const rest = new Set(this.stopping);
    rest.delete(name);
    this.stopping = rest;
    this.dispatchEvent(new CustomEvent("changed", { bubbles: true, composed: true }));
  }
}
