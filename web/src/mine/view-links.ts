import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { type Channel, createLink, type ViewLink, withdrawLinks } from "../api/client";
import { explain } from "../api/session";
import "../ui/copy-line";
import { moment } from "../ui/format";
import { field, forms, wrong } from "../ui/forms";
import { shared } from "../ui/shared";
import { watchersOf } from "./access";

const HOUR = 3_600;
const LIFETIMES: readonly [number, string][] = [
  [HOUR, "an hour"],
  [24 * HOUR, "a day"],
  [7 * 24 * HOUR, "a week"],
  [30 * 24 * HOUR, "30 days"],
  [365 * 24 * HOUR, "a year"],
];

/** Links that let people without an account watch. */
@customElement("view-links")
export class ViewLinks extends LitElement {
  static override styles = [
    shared,
    forms,
    css`
      :host {
        display: grid;
        gap: 1rem;
      }
      p {
        margin: 0;
      }
      .two {
        display: grid;
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 13rem), 1fr));
        gap: 1rem;
      }
      .new {
        display: grid;
        gap: 0.6rem;
        padding: 1rem;
        border-radius: 12px;
        border: 2px solid var(--sun);
      }
      .new > * {
        min-width: 0;
      }
    `,
  ];

  @property({ attribute: false }) channel: Channel | null = null;
  @state() private link: ViewLink | null = null;
  @state() private once = false;
  @state() private asks = false;
  @state() private withdrawn = false;
  @state() private trouble = "";

  override render(): TemplateResult {
    const needed = this.channel && watchersOf(this.channel) !== "everyone";
    return html`
      <p class="hint">
        ${
          needed
            ? "Whoever opens such a link watches, without an account, until it runs out or you withdraw it."
            : "Everybody may watch this channel: a link is needed only when you change that."
        }
      </p>
      ${this.link ? this.shown(this.link) : nothing}
      <form @submit=${this.make}>
        <div class="two">
          <label
            >For whom
            <input name="subject" required maxlength="64" autocomplete="off" placeholder="The choir" />
          </label>
          <label
            >Good for
            <select name="lifetime">
              ${LIFETIMES.map(
                ([seconds, name]) =>
                  html`<option value=${seconds} ?selected=${name === "a week"}>${name}</option>`,
              )}
            </select>
          </label>
        </div>
        <label class="tick"
          ><input type="checkbox" name="single" /><span
            >For one use<span class="hint"
              >The first who opens it watches; for others it is spent.</span
            ></span
          ></label
        >
        ${wrong(this.trouble)}
        <div class="row">
          <button class="press">Make a link</button>
          <button
            class="press danger"
            type="button"
            @click=${() => {
              this.asks = true;
            }}
          >
            Withdraw all links
          </button>
        </div>
      </form>
      ${this.asks ? this.question() : nothing}
      ${this.withdrawn ? html`<p class="good" role="status">All links are withdrawn.</p>` : nothing}
    `;
  }

  private shown(link: ViewLink): TemplateResult {
    return html`<section class="new" aria-label="The new link">
      <p role="status">
        Good until ${moment(link.expires)}${this.once ? ", for one use" : ""}. Whoever has it can pass it on.
      </p>
      <copy-line text=${link.url} label="the link"></copy-line>
    </section>`;
  }

  private question(): TemplateResult {
    return html`<div class="asks" role="alertdialog" aria-label="Withdraw all links">
      <p>No link given out so far is good any more. People with accounts are not touched.</p>
      <div class="row">
        <button class="press small danger" @click=${this.withdraw}>Withdraw all</button>
        <button
          class="press small"
          @click=${() => {
            this.asks = false;
          }}
        >
          Keep them
        </button>
      </div>
    </div>`;
  }

  private readonly make = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    if (!this.channel) return;
    this.trouble = "";
    this.withdrawn = false;
    const single = new FormData(form).has("single");
    try {
      this.link = await createLink(this.channel.name, {
        subject: field(form, "subject"),
        lifetime_s: Number(field(form, "lifetime")),
        ...(single ? { single } : {}),
      });
      this.once = single;
    } catch (error) {
      this.trouble = explain(error);
    }
  };

  private readonly withdraw = async (): Promise<void> => {
    if (!this.channel) return;
    this.trouble = "";
    this.asks = false;
    try {
      await withdrawLinks(this.channel.name);
      this.link = null;
      this.withdrawn = true;
    } catch (error) {
      this.trouble = explain(error);
    }
  };
}
