import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { guard } from "lit/directives/guard.js";
import { repeat } from "lit/directives/repeat.js";
import { count } from "../ui/format";
import { shared } from "../ui/shared";
import "./chat-menu";
import type { ChatMenu } from "./chat-menu";
import { chatStyles } from "./chat-styles";
import { messageItems, roomItems } from "./items";
import { browserMemory } from "./memory";
import { ChatModel, type Line, type Own } from "./model";
import { said, who } from "./parts";
import { clockTime } from "./text";
import type { Message } from "./wire";
import { endWords, lasting } from "./words";

/** Pixels from the newest line within which the log follows what is new. */
const NEAR = 48;
/** Milliseconds between two renderings: in a crowded chat, the picture beside it comes first. */
const RENDER_MS = 100;
/** The counter of characters shows up when so few are left. */
const FEW = 80;
/**
 * The chat beside a channel.
 *
 * @attr channel - name of the channel, on the server the page came from
 * @attr query - what follows `?` in the page's address: a key or a token
 * @attr signin - where a person signs in
 */
@customElement("helio-chat")
export class HelioChat extends LitElement {
  static override styles = [shared, chatStyles];

  @property() channel = "";
  @property() query = "";
  @property() signin = "";
  @state() private folded = false;
  /** Lines of others that came while one looked further up, or elsewhere. */
  @state() private unread = 0;
  @state() private naming = false;
  @state() private length = 0;
  /** What is already there is not read out. */
  @state() private settled = false;
  @query(".log") private readonly log!: HTMLElement | null;
  @query("textarea") private readonly input!: HTMLTextAreaElement | null;
  @query("chat-menu") private readonly menu!: ChatMenu;
  private model: ChatModel | null = null;
  private arrived = 0;
  private following = true;
  private renderedAt = 0;
  private waiting = false;
  private nameBefore = "";
  /** The keyboard goes on where one writes, once the name is settled. */
  private joining = false;
  private ticker = 0;

  override connectedCallback(): void {
    super.connectedCallback();
    window.addEventListener("online", this.retry);
    document.addEventListener("visibilitychange", this.visible);
    // Seconds run down while muted and in slow mode.
    this.ticker = window.setInterval(() => {
      if (this.model && (this.model.slowFor > 0 || this.model.muted)) this.requestUpdate();
    }, 1000);
    if (this.hasUpdated) this.open();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    window.removeEventListener("online", this.retry);
    document.removeEventListener("visibilitychange", this.visible);
    clearInterval(this.ticker);
    this.model?.stop();
    this.model = null;
  }

  override willUpdate(changed: PropertyValues<this>): void {
    if (changed.has("channel") || changed.has("query")) this.open();
  }

  override updated(): void {
    this.waiting = false;
    this.renderedAt = performance.now();
    if (this.following && this.log) this.log.scrollTop = this.log.scrollHeight;
    if (this.joining && this.input) {
      this.joining = false;
      this.input.focus();
    }
    this.dataset.state = this.model?.state ?? "";
  }

  override render(): TemplateResult | typeof nothing {
    if (!this.channel) return nothing;
    return html`<section aria-label="Chat" class=${this.folded ? "folded" : ""} @keydown=${this.keep}>
      ${this.head()} ${this.folded ? nothing : this.body()}
      <chat-menu></chat-menu>
    </section>`;
  }

  // ── parts

  private head(): TemplateResult {
    const { model } = this;
    return html`<header>
      <h2>
        <button
          class="fold"
          aria-expanded=${!this.folded}
          @click=${() => {
            this.folded = !this.folded;
            this.unread = 0;
            this.following = true;
          }}
        >
          Chat${this.folded && this.unread ? html`<i>${this.unread}</i>` : nothing}
        </button>
        <span class="title">Chat</span>
      </h2>
      ${model && model.slow > 0 ? html`<span class="slow">Slow mode, ${lasting(model.slow)}</span>` : nothing}
      ${
        model?.you?.moderator && !this.folded
          ? html`<button
              class="more"
              aria-haspopup="menu"
              aria-label="Moderate the chat"
              @click=${(event: Event) => this.roomMenu(event.currentTarget as HTMLElement)}
            >
              ⋯
            </button>`
          : nothing
      }
    </header>`;
  }

  private body(): TemplateResult {
    const { model } = this;
    if (!model || model.state === "refused") return this.refused();
    const { outbox: own, you } = model;
    const empty = model.lines.length === 0 && own.length === 0;
    return html`
      ${
        model.state === "reconnecting"
          ? html`<p class="status" role="status">No connection. Trying again…</p>`
          : nothing
      }
      <div class="room">
        <div
          class="log"
          role="log"
          aria-label="Messages"
          aria-live=${this.settled ? "polite" : "off"}
          tabindex="0"
          @scroll=${this.scrolled}
        >
          ${empty ? this.nothingYet(model) : nothing}
          <ol>
            ${repeat(
              model.lines,
              (line) => (line.type === "message" ? line.id : line.key),
              (line) => guard([line, you?.author, you?.moderator], () => this.line(line)),
            )}
            ${repeat(
              own,
              (one) => one.nonce,
              (one) => this.own(one),
            )}
          </ol>
        </div>
        ${
          this.unread
            ? html`<button class="new" @click=${this.toNewest}>
                ↓ ${count(this.unread, "new message", "new messages")}
              </button>`
            : nothing
        }
      </div>
      <footer>${this.foot(model)}</footer>
    `;
  }

  private nothingYet(model: ChatModel): TemplateResult {
    return html`<p class="empty">
      ${model.state === "connecting" ? "Connecting…" : "Nothing was said yet."}
    </p>`;
  }

  private refused(): TemplateResult {
    const { title, text } = endWords(this.model?.refusal?.reason ?? "");
    return html`<div class="empty refused" role="status">
      <strong>${title}</strong>
      <p>${text}</p>
      ${
        this.model?.refusal?.reason === "sign_in" && this.signin
          ? html`<a class="action" href=${this.signin}>Sign in</a>`
          : html`<button class="action" @click=${this.retry}>Try again</button>`
      }
    </div>`;
  }

  private line(line: Line): TemplateResult {
    if (line.type === "notice") return html`<li class="notice">${line.text}</li>`;
    const mine = line.author === this.model?.you?.author;
    const may = mine || this.model?.you?.moderator;
    return html`<li
      class="said ${mine ? "mine" : ""}"
      data-id=${line.id}
      tabindex=${may ? -1 : nothing}
      @contextmenu=${may ? (event: Event) => this.messageMenu(event, line) : nothing}
    >
      ${who(line.author, line.name, line.badge)}
      <time datetime=${new Date(line.at * 1000).toISOString()}>${clockTime(line.at, Date.now())}</time>
      ${said(line.text)}
      ${
        may
          ? html`<button
              class="more"
              tabindex="-1"
              aria-haspopup="menu"
              aria-label=${`What to do with the message of ${line.name}`}
              @click=${(event: Event) => this.messageMenu(event, line)}
            >
              ⋯
            </button>`
          : nothing
      }
    </li>`;
  }

  private own(own: Own): TemplateResult {
    const you = this.model?.you;
    return html`<li class="said mine ${own.state}">
      ${you ? who(you.author, you.name, you.badge) : nothing}
      <time>${own.state === "failed" ? "not sent" : "sending…"}</time>
      ${said(own.text)}
      ${
        own.state === "failed"
          ? html`<p class="why" role="alert">
              ${own.why}
              <button class="link" @click=${() => this.model?.retry(own.nonce)}>Send again</button>
              <button class="link" @click=${() => this.model?.discard(own.nonce)}>Discard</button>
            </p>`
          : nothing
      }
    </li>`;
  }

  private foot(model: ChatModel): TemplateResult {
    const { you } = model;
    if (!you) return html`<p class="hint">…</p>`;
    if (you.write === "sign_in") {
      return html`<p class="hint">
        ${this.signin ? html`<a href=${this.signin}>Sign in</a> to write here.` : "Sign in to write here."}
      </p>`;
    }
    if (you.write === "no")
      return html`<p class="hint">You may read this chat, and not write in it.</p>`;
    if (you.write === "name" || this.naming) return this.nameForm(model);
    const muted = model.mutedFor;
    if (muted > 0) {
      return html`<p class="hint" role="status">
        You are muted${Number.isFinite(muted) ? html` for ${lasting(muted)}` : nothing}.
      </p>`;
    }
    return this.composer(model);
  }

  private nameForm(model: ChatModel): TemplateResult {
    return html`<form class="naming" @submit=${this.named}>
      <label for="name">Your name in the chat</label>
      <div class="row">
        <input
          id="name"
          name="name"
          required
          maxlength=${model.maxName}
          autocomplete="nickname"
          .value=${model.you?.name || model.wantedName}
          aria-invalid=${model.nameTrouble !== ""}
          aria-describedby="trouble"
        />
        <button class="send">${this.naming ? "Save" : "Join"}</button>
      </div>
      <p id="trouble" class="why" role="status">${model.nameTrouble}</p>
    </form>`;
  }

  private composer(model: ChatModel): TemplateResult {
    const left = model.maxText - this.length;
    const wait = model.slowFor;
    const guest = model.you?.badge === "guest";
    return html`<form class="composer" @submit=${this.submitted}>
      <div class="row">
        <textarea
          rows="1"
          aria-label="Message"
          placeholder=${wait ? `Slow mode: ${wait} s` : "Say something"}
          enterkeyhint="send"
          autocomplete="off"
          @input=${this.typed}
          @keydown=${this.entered}
        ></textarea>
        <button class="send" ?disabled=${left < 0 || wait > 0 || this.length === 0}>Send</button>
      </div>
      <div class="under">
        ${
          guest
            ? html`<button
                type="button"
                class="link"
                title="Change your name"
                @click=${() => this.rename()}
              >
                as <bdi>${model.you?.name}</bdi>
              </button>`
            : html`<span>as <bdi>${model.you?.name}</bdi></span>`
        }
        ${left < FEW ? html`<span class=${left < 0 ? "over" : ""}>${left}</span>` : nothing}
      </div>
    </form>`;
  }

  // ── menus

  private messageMenu(event: Event, message: Message): void {
    event.preventDefault();
    const row = (event.currentTarget as HTMLElement).closest("li");
    if (!this.model || !row) return;
    const from = event.type === "contextmenu" ? row : row.querySelector<HTMLElement>(".more");
    void this.menu.show(from ?? row, message.name, messageItems(this.model, message));
  }

  private roomMenu(from: HTMLElement): void {
    if (this.model) void this.menu.show(from, "Moderate the chat", roomItems(this.model));
  }

  // ── what happens

  private open(): void {
    this.model?.stop();
    this.settled = false;
    this.unread = 0;
    this.arrived = 0;
    this.following = true;
    if (!this.channel) {
      this.model = null;
      return;
    }
    const url = new URL(`/chat/${encodeURIComponent(this.channel)}${this.query}`, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.model = new ChatModel(url.href, () => this.modelChanged(), browserMemory());
    this.model.start();
  }

  private modelChanged(): void {
    const { model } = this;
    if (!model) return;
    const news = model.arrived - this.arrived;
    this.arrived = model.arrived;
    if (news && (!this.following || this.folded)) this.unread += news;
    if (model.state === "open" && !this.settled) {
      setTimeout(() => {
        this.settled = true;
      }, 500);
    }
    if (this.naming && model.you?.name !== this.nameBefore) this.naming = false;
    const wait = this.renderedAt + RENDER_MS - performance.now();
    if (wait <= 0) this.requestUpdate();
    else if (!this.waiting) {
      this.waiting = true;
      setTimeout(() => this.requestUpdate(), wait);
    }
  }

  private readonly scrolled = (): void => {
    const { log } = this;
    if (!log) return;
    this.following = log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
    if (this.following) this.unread = 0;
  };

  private readonly toNewest = (): void => {
    this.following = true;
    this.unread = 0;
    this.log?.focus();
    this.requestUpdate();
  };

  private readonly typed = (): void => {
    // As the server counts: characters, not halves of them.
    this.length = [...(this.input?.value ?? "")].length;
  };

  private readonly entered = (event: KeyboardEvent): void => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.submit();
  };

  private readonly submitted = (event: Event): void => {
    event.preventDefault();
    this.submit();
  };

  private submit(): void {
    const { input, model } = this;
    if (!input || !model || model.slowFor > 0 || this.length > model.maxText) return;
    if (!model.say(input.value)) return;
    input.value = "";
    this.length = 0;
    this.following = true;
    this.unread = 0;
    input.focus();
  }

  private readonly named = (event: Event): void => {
    event.preventDefault();
    const name = String(new FormData(event.target as HTMLFormElement).get("name") ?? "").trim();
    if (!name) return;
    this.joining = true;
    if (name === this.model?.you?.name) this.naming = false;
    else this.model?.chooseName(name);
  };

  private async rename(): Promise<void> {
    this.naming = true;
    this.nameBefore = this.model?.you?.name ?? "";
    await this.updateComplete;
    this.renderRoot.querySelector<HTMLInputElement>("#name")?.select();
  }

  /** Letters typed here are no commands to the player; arrows go from message to message. */
  private readonly keep = (event: KeyboardEvent): void => {
    if (event.key !== "Escape") event.stopPropagation();
    const from = event.composedPath()[0];
    if (!(from instanceof HTMLElement)) return;
    if (event.key === "Escape" && this.naming) this.naming = false;
    if (from instanceof HTMLTextAreaElement || from instanceof HTMLInputElement) return;
    const rows = [...this.renderRoot.querySelectorAll<HTMLElement>("li[tabindex]")];
    const at = rows.indexOf(from);
    if (at < 0 && from !== this.log) return;
    const last = rows.length - 1;
    const to = {
      ArrowUp: at < 0 ? last : Math.max(0, at - 1),
      ArrowDown: at < 0 ? last : Math.min(last, at + 1),
      Home: 0,
      End: last,
    }[event.key];
    if (to !== undefined && rows.length) {
      rows[to]?.focus();
      event.preventDefault();
    } else if ((event.key === "Enter" || event.key === " ") && at >= 0) {
      rows[at]?.querySelector<HTMLElement>(".more")?.click();
      event.preventDefault();
    }
  };

  private readonly retry = (): void => this.model?.retryNow();

  private readonly visible = (): void => {
    if (!document.hidden && this.model?.state !== "refused") this.retry();
  };
}

declare global {
  interface HTMLElementTagNameMap {
    "helio-chat": HelioChat;
  }
}
