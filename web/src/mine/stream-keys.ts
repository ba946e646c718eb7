import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { type Channel, createKey, listKeys, revokeKey, type StreamKey } from "../api/client";
import { explain } from "../api/session";
import "../ui/copy-line";
import { day } from "../ui/format";
import { field, forms, wrong } from "../ui/forms";
import { shared } from "../ui/shared";
import { encoderLines } from "./encoders";

/** Keys with which other programs publish on a channel. */
@customElement("stream-keys")
export class StreamKeys extends LitElement {
  static override styles = [
    shared,
    forms,
    css`
      :host {
        display: grid;
        gap: 1rem;
      }
      ul {
        display: grid;
        gap: 0.5rem;
        margin: 0;
        padding: 0;
        list-style: none;
      }
      li {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        justify-content: space-between;
        gap: 0.4rem 1rem;
        padding: 0.6rem 0.6rem 0.6rem 0.9rem;
        border: 1px solid var(--line);
        border-radius: 10px;
      }
      li.gone {
        color: var(--ink-soft);
        border-style: dashed;
      }
      li strong {
        overflow-wrap: anywhere;
      }
      small {
        display: block;
        color: var(--ink-soft);
      }
      .new {
        display: grid;
        gap: 0.8rem;
        padding: 1rem;
        border-radius: 12px;
        border: 2px solid var(--sun);
      }
      .new > * {
        min-width: 0;
      }
      h4 {
        margin: 0 0 0.3rem;
        font-size: 0.87rem;
      }
      p {
        margin: 0;
      }
      form {
        grid-template-columns: minmax(0, 1fr) auto;
        align-items: end;
      }
      .wrong {
        grid-column: 1 / -1;
      }
    `,
  ];

  @property({ attribute: false }) channel: Channel | null = null;
  /** A key just made, shown until the person has it; empty: none. */
  @property({ attribute: false }) fresh = "";
  @state() private keys: readonly StreamKey[] | null = null;
  @state() private asked: number | null = null;
  @state() private trouble = "";

  override connectedCallback(): void {
    super.connectedCallback();
    void this.load();
  }

  override render(): TemplateResult {
    return html`
      <p class="hint">
        A key lets OBS, ffmpeg or another encoder go on air here. In this browser you need none.
      </p>
      ${this.fresh ? this.shown(this.fresh) : nothing} ${this.list()}
      <form @submit=${this.make}>
        <label
          >A new key for
          <input name="label" maxlength="64" autocomplete="off" placeholder="Studio" />
        </label>
        <button class="press">Make a key</button>
        ${wrong(this.trouble)}
      </form>
    `;
  }

  /** The one time that the key is seen. */
  private shown(key: string): TemplateResult {
    const { channel } = this;
    if (!channel) return html``;
    const lines = encoderLines(channel.name, key, channel.urls);
    const line = (title: string, text: string): TemplateResult | typeof nothing =>
      text
        ? html`<div>
            <h4>${title}</h4>
            <copy-line text=${text} label=${title}></copy-line>
          </div>`
        : nothing;
    return html`<section class="new" aria-label="The new key">
      <p role="status"><strong>Copy it now.</strong> It is not shown again; make another one when it is lost.</p>
      ${line("Key", key)} ${line("OBS: server", lines.obsServer)}
      ${line("OBS: stream key", lines.obsKey)} ${line("ffmpeg", lines.ffmpeg)}
      ${line("GStreamer", lines.gstreamer)}
      <div>
        <button
          class="press small"
          @click=${() => {
            this.fresh = "";
          }}
        >
          I have it
        </button>
      </div>
    </section>`;
  }

  private list(): TemplateResult | typeof nothing {
    if (!this.keys) return this.trouble ? nothing : html`<p role="status">Looking for keys…</p>`;
    if (this.keys.length === 0) return nothing;
    // What is good stands before what was revoked.
    const keys = this.keys.toSorted(
      (a, b) => Number(a.revoked !== null) - Number(b.revoked !== null),
    );
    return html`<ul>
      ${keys.map((key) => html`<li class=${key.revoked ? "gone" : ""}>${this.row(key)}</li>`)}
    </ul>`;
  }

  private row(key: StreamKey): TemplateResult {
    const name = key.label || "Key";
    const used = key.last_used ? `last used ${day(key.last_used)}` : "never used";
    const text = key.revoked ? `revoked ${day(key.revoked)}` : `made ${day(key.created)}, ${used}`;
    if (this.asked === key.id) {
      return html`<span>Revoke “${name}”? Who publishes with it is refused from now on.</span>
        <span class="row">
          <button class="press small danger" @click=${() => void this.revoke(key.id)}>Revoke</button>
          <button
            class="press small"
            @click=${() => {
              this.asked = null;
            }}
          >
            Keep
          </button>
        </span>`;
    }
    return html`<span
        ><strong>${name}</strong> <code>…${key.hint}</code><small>${text}</small></span
      >
      ${
        key.revoked
          ? nothing
          : html`<button
              class="press small danger"
              aria-label=${`Revoke ${name}`}
              @click=${() => {
                this.asked = key.id;
              }}
            >
              Revoke
            </button>`
      }`;
  }

  private async load(): Promise<void> {
    if (!this.channel) return;
    try {
      this.keys = await listKeys(this.channel.name);
    } catch (error) {
      this.trouble = explain(error);
    }
  }

  private readonly make = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    if (!this.channel) return;
    this.trouble = "";
    try {
      const { key } = await createKey(this.channel.name, field(form, "label"));
      this.fresh = key;
      form.reset();
      await this.load();
    } catch (error) {
      this.trouble = explain(error);
    }
  };

  private async revoke(id: number): Promise<void> {
    if (!this.channel) return;
    this.trouble = "";
    try {
      await revokeKey(this.channel.name, id);
      this.asked = null;
      this.fresh = "";
      await this.load();
    } catch (error) {
      this.trouble = explain(error);
    }
  }
}
