import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, query, state } from "lit/decorators.js";
import type { Changed } from "../admin/contents/detail";
import "../admin/contents/exchange";
import "../admin/contents/rules";
import "../admin/contents/server-detail";
import "../admin/contents/server-list";
import type { ServerList } from "../admin/contents/server-list";
import "../admin/contents/title-detail";
import "../admin/contents/title-list";
import type { TitleList } from "../admin/contents/title-list";
import { stranger } from "../admin/stranger";
import { getTitle, type Server, type ServerState, type Title } from "../api/contents";
import { EventFeed } from "../api/events";
import { WithSession } from "../api/session";
import { sayStyles } from "../ui/cards";
import { forms } from "../ui/forms";
import { tabbedPageStyles, tabStyles, tabs } from "../ui/panes";
import { shared } from "../ui/shared";
import "../ui/site-header";
import { Toast, toastStyles } from "../ui/toast";

type Tab = "titles" | "servers" | "rules" | "exchange";

const TABS: readonly [Tab, string][] = [
  ["titles", "Titles"],
  ["servers", "Servers"],
  ["rules", "Regions and ratings"],
  ["exchange", "Import and export"],
];
/** Where a row is shown in the place of its list; as the styles below have it. */
const NARROW = "(max-width: 56rem)";

const tabOf = (hash: string): Tab => TABS.find(([tab]) => `#${tab}` === hash)?.[0] ?? "titles";

/** The page `/admin/contents`. */
@customElement("helio-contents")
export class ContentsPage extends LitElement {
  static override styles = [
    shared,
    forms,
    sayStyles,
    tabStyles,
    tabbedPageStyles,
    toastStyles,
    css`
      .panes {
        display: grid;
        grid-template-columns: minmax(0, 1fr) minmax(0, 1.05fr);
        gap: 1.1rem;
        align-items: start;
      }
      .panes > .beside {
        position: sticky;
        top: 1rem;
      }
      .hint {
        color: var(--ink-soft);
      }
      .back {
        display: none;
        margin-bottom: 1rem;
      }
      @media (max-width: 56rem) {
        .panes {
          grid-template-columns: minmax(0, 1fr);
        }
        .panes > .beside {
          position: static;
        }
        .panes.open > :not(.beside),
        .panes:not(.open) > .beside {
          display: none;
        }
        .back {
          display: inline-flex;
        }
      }
    `,
  ];

  @state() private tab: Tab = tabOf(location.hash);
  @state() private server: Server | null = null;
  @state() private entry: Title | null = null;
  /** A form for a new row is open. */
  @state() private making = false;
  /** How servers are, by name; null: nobody has told yet. */
  @state() private states: ReadonlyMap<string, ServerState> | null = null;
  /** How far the list was scrolled when a row was chosen that is shown in its place. */
  private scrolled = 0;
  private wasOpen = false;
  @query(".panes") private readonly shown!: HTMLElement | null;
  @query("server-list") private readonly servers!: ServerList | null;
  @query("title-list") private readonly titles!: TitleList | null;
  private readonly toast = new Toast(this);
  private started = false;
  /** What is told first is how servers were when the titles were read. */
  private atOnce = true;
  private readonly session = new WithSession(this);
  private readonly feed = new EventFeed("/monitor/states/events", ["states"], {
    heard: (_, data) => {
      const { states } = data as { states: readonly ServerState[] };
      const before = this.states;
      this.states = new Map(states.map((one) => [one.server, one]));
      const same = ({ server, condition, drained }: ServerState): boolean => {
        const was = before?.get(server);
        return was?.condition === condition && was.drained === drained;
      };
      if (before ? before.size !== states.length || !states.every(same) : !this.atOnce) {
        void this.titles?.again();
        void this.followTitle();
      }
    },
    // What was heard last stands; the lists themselves tell that the server is away.
    connected: (is) => {
      if (!is) this.atOnce = false;
    },
  });

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.feed.stop();
    this.started = false;
  }

  override willUpdate(): void {
    if (this.started || !this.session.current?.administrator) return;
    this.started = true;
    this.feed.start();
  }

  /** On a narrow screen a row has the place of the list: it begins at its top, and the list is
   * where it was when it is back. */
  override updated(): void {
    const open = this.open;
    if (open === this.wasOpen) return;
    this.wasOpen = open;
    if (!matchMedia(NARROW).matches) return;
    if (open) this.shown?.scrollIntoView();
    else scrollTo(0, this.scrolled);
  }

  /** A row is shown, or the form of a new one. */
  private get open(): boolean {
    if (this.tab !== "servers" && this.tab !== "titles") return false;
    return this.making || (this.tab === "servers" ? this.server : this.entry) !== null;
  }

  override render(): TemplateResult {
    return html`<site-header></site-header>
      <main class="frame">${this.content()}</main>`;
  }

  private content(): TemplateResult {
    const { current } = this.session;
    if (!current) return html`<p role="status">Asking the server…</p>`;
    if (!current.administrator) return stranger(current.account !== null, "/admin/contents");
    return html`<div class="top">
        <h1>Titles and servers</h1>
        ${tabs(TABS, this.tab, (tab) => this.show(tab))}
      </div>
      ${this.pane()}
      ${this.toast.render()}`;
  }

  private pane(): TemplateResult {
    if (this.tab === "rules") return html`<contents-rules></contents-rules>`;
    if (this.tab === "exchange") return html`<contents-exchange></contents-exchange>`;
    return this.panes();
  }

  private panes(): TemplateResult {
    const servers = this.tab === "servers";
    const { open } = this;
    return html`<div class="panes ${open ? "open" : ""}">
      <section class="card">${servers ? this.serverList() : this.titleList()}</section>
      <section
        class="card beside"
        @changed=${this.changed}
        @reread=${this.reread}
        @left=${this.left}
      >
        ${open ? html`<button class="press small back" @click=${this.back}>Back to all</button>` : nothing}
        ${
          open
            ? servers
              ? html`<server-detail
                  .server=${this.making ? null : this.server}
                  .state=${this.states?.get(this.server?.name ?? "")}
                ></server-detail>`
              : html`<title-detail
                  .entry=${this.making ? null : this.entry}
                  .states=${this.states}
                ></title-detail>`
            : html`<p class="hint">
                ${
                  servers
                    ? "Choose a server to see how it is and what it holds."
                    : "Choose a title to see where its copies are."
                }
              </p>`
        }
      </section>
    </div>`;
  }

  private serverList(): TemplateResult {
    return html`<server-list
      chosen=${this.making ? "" : (this.server?.name ?? "")}
      .states=${this.states ?? new Map()}
      @chosen=${(event: CustomEvent<Server | null>) => {
        this.scrolled = scrollY;
        this.server = event.detail;
        this.making = false;
      }}
      @wanted=${this.make}
    ></server-list>`;
  }

  private titleList(): TemplateResult {
    return html`<title-list
      chosen=${this.making ? "" : (this.entry?.name ?? "")}
      @chosen=${(event: CustomEvent<Title | null>) => {
        this.scrolled = scrollY;
        this.entry = event.detail;
        this.making = false;
      }}
      @wanted=${this.make}
    ></title-list>`;
  }

  private show(tab: Tab): void {
    this.tab = tab;
    this.making = false;
    history.replaceState(null, "", `#${tab}`);
    if (tab === "titles") void this.followTitle();
  }

  private readonly make = (): void => {
    this.scrolled = scrollY;
    this.making = true;
  };

  private readonly left = (): void => {
    this.making = false;
  };

  private readonly back = (): void => {
    this.making = false;
    this.server = null;
    this.entry = null;
  };

  private readonly changed = (event: CustomEvent<Changed>): void => {
    const { said, name } = event.detail;
    this.toast.say(said);
    void this.refresh(name);
  };

  /** Somebody else changed the row that is shown. */
  private readonly reread = (event: CustomEvent<Server | Title>): void => {
    if (this.tab === "servers") {
      this.server = event.detail as Server;
      void this.servers?.again();
    } else {
      this.entry = event.detail as Title;
      void this.titles?.again();
    }
  };

  /**
   * Servers are otherwise than before, and so is how the chosen title is to be had. What else is
   * known of it stays with its revision: it may be in a form, and what others changed meanwhile is
   * not to be lost.
   */
  private async followTitle(): Promise<void> {
    const name = this.entry?.name;
    if (!name || this.tab !== "titles") return;
    const fresh = await getTitle(name).catch(() => null); // the list tells what is the matter
    if (!fresh || this.entry?.name !== name) return;
    const { standing, usable, files, stored, lost } = fresh;
    this.entry = { ...this.entry, standing, usable, files, stored, lost };
  }

  /** Read the list anew, and choose the row that was changed. */
  private async refresh(name: string): Promise<void> {
    this.making = false;
    if (this.tab === "servers") {
      await this.servers?.load();
      this.server = this.servers?.named(name) ?? null;
    } else {
      await this.titles?.load();
      this.entry = this.titles?.named(name) ?? null;
    }
  }
}
