import { html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import { repeat } from "lit/directives/repeat.js";
import { reason } from "../admin/reason";
import type { Ask } from "../admin/storage/asks";
import "../admin/storage/dialog";
import "../admin/storage/import-list";
import "../admin/storage/recording-list";
import "../admin/storage/title-list";
import "../admin/storage/volume-card";
import { stranger } from "../admin/stranger";
import { EventFeed } from "../api/events";
import { Poll } from "../api/poll";
import { WithSession } from "../api/session";
import {
  getStorage,
  listRecordings,
  listStored,
  type Recording,
  type StorageView,
  type StoredTitle,
} from "../api/storage";
import { sayStyles } from "../ui/cards";
import { forms, wrong } from "../ui/forms";
import { tabbedPageStyles, tabStyles, tabs } from "../ui/panes";
import { ridge, shared } from "../ui/shared";
import "../ui/site-header";
import { Toast, toastStyles } from "../ui/toast";
import { pageStyles } from "./storage-styles";

type Tab = "volumes" | "titles";

const TABS: readonly [Tab, string][] = [
  ["volumes", "Volumes"],
  ["titles", "Titles"],
];
/** Between two looks at titles; what changes otherwise is looked at once. */
const TITLES_MS = 10_000;

const tabOf = (hash: string): Tab => TABS.find(([tab]) => `#${tab}` === hash)?.[0] ?? "volumes";

/** The page `/admin/storage`. */
@customElement("helio-storage")
export class StoragePage extends LitElement {
  static override styles = [
    shared,
    forms,
    sayStyles,
    tabStyles,
    tabbedPageStyles,
    toastStyles,
    pageStyles,
  ];

  @state() private tab: Tab = tabOf(location.hash);
  @state() private view: StorageView | null = null;
  @state() private titles: readonly StoredTitle[] | null = null;
  @state() private recordings: readonly Recording[] = [];
  @state() private ask: Ask | null = null;
  @state() private connected = true;
  /** Why there is no view, or it is not the newest. */
  @state() private trouble = "";
  private readonly toast = new Toast(this);
  private started = false;
  private readonly session = new WithSession(this);
  private readonly feed = new EventFeed("/storage/events", ["view", "trouble"], {
    heard: (name, data) => {
      if (name === "view") this.take(data as StorageView);
      else this.trouble = (data as { message: string }).message;
    },
    connected: (is) => {
      this.connected = is;
      if (!is && !this.view) void this.load();
    },
  });
  private readonly titlesPoll = new Poll(
    listStored,
    (titles) => {
      if (titles) this.titles = titles;
    },
    TITLES_MS,
  );
  private readonly recordingsPoll = new Poll(listRecordings, (recordings) => {
    if (!recordings) return;
    const grown = recordings.length !== this.recordings.length;
    this.recordings = recordings;
    if (grown) void this.titlesPoll.now();
  });

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.feed.stop();
    this.follow(false);
    this.started = false;
  }

  override willUpdate(): void {
    if (this.started || !this.session.current?.administrator) return;
    this.started = true;
    void this.load();
    this.feed.start();
    this.follow(this.tab === "titles");
  }

  override render(): TemplateResult {
    return html`<site-header></site-header>
      <main class="frame">${this.content()}</main>`;
  }

  private content(): TemplateResult {
    const { current } = this.session;
    if (!current) return html`<p role="status">Asking the server…</p>`;
    if (!current.administrator) return stranger(current.account !== null, "/admin/storage");
    return html`<div class="top">
        <h1>Storage</h1>
        ${tabs(TABS, this.tab, (tab) => this.show(tab))}
      </div>
      ${wrong(this.trouble)}
      ${
        this.view && !this.connected
          ? html`<p class="banner" role="status">
              <strong>The server does not answer.</strong> What is shown may be old.
            </p>`
          : nothing
      }
      <div @wanted=${this.want} @changed=${this.look}>${this.panes()}</div>
      ${
        this.ask
          ? html`<storage-dialog
              .ask=${this.ask}
              .nodes=${this.nodes()}
              @dialog-closed=${this.closed}
            ></storage-dialog>`
          : nothing
      }
      ${this.toast.render()}`;
  }

  private panes(): TemplateResult | typeof nothing {
    const { view } = this;
    if (!view) {
      return this.trouble ? nothing : html`<p role="status">Asking the server…</p>`;
    }
    return html`<div class="pane" ?hidden=${this.tab !== "volumes"}>${this.volumes(view)}</div>
      <div class="pane" ?hidden=${this.tab !== "titles"}>${this.films(view)}</div>`;
  }

  private volumes({ volumes }: StorageView): TemplateResult {
    const names = volumes.map(({ name }) => name);
    const make = html`<button
      class="press ${volumes.length ? "" : "main"}"
      @click=${() => {
        this.ask = { kind: "create", names };
      }}
    >
      Make a volume
    </button>`;
    if (volumes.length === 0) {
      return html`<section class="card say">
        ${ridge(false)}
        <p class="lead">
          No volume yet. The first film you import makes one, with a disk in the server's own
          directory. To spread films over several disks, or to survive the loss of some, make one
          yourself.
        </p>
        <div class="row">
          ${make}
          <button class="press" @click=${() => this.show("titles")}>Import a film</button>
        </div>
      </section>`;
    }
    return html`${repeat(
      volumes,
      ({ name }) => name,
      (volume) => html`<volume-card .volume=${volume}></volume-card>`,
    )}
      <div>${make}</div>`;
  }

  private films({ volumes, imports }: StorageView): TemplateResult {
    const names = volumes.map(({ name }) => name);
    return html`<div class="films">
      <section class="card">
        <stored-titles .titles=${this.titles} ?several=${volumes.length > 1}></stored-titles>
      </section>
      <div class="beside">
        <section class="card">
          <import-list
            .imports=${imports}
            .taken=${(this.titles ?? []).map(({ name }) => name)}
            .volumes=${names}
          ></import-list>
        </section>
        <section class="card">
          <recording-list .recordings=${this.recordings} .volumes=${names}></recording-list>
        </section>
      </div>
    </div>`;
  }

  private nodes(): readonly string[] {
    const disks = (this.view?.volumes ?? []).flatMap((volume) => volume.disks);
    return [...new Set(disks.map(({ node_name }) => node_name).filter(Boolean))].sort();
  }

  private async load(): Promise<void> {
    try {
      this.take(await getStorage());
    } catch (error) {
      // What was heard meanwhile counts.
      if (!this.view) this.trouble = reason(error);
    }
  }

  private take(view: StorageView): void {
    const before = this.view;
    this.view = view;
    this.trouble = "";
    if (before && signature(before) !== signature(view)) void this.titlesPoll.now();
  }

  /** Ask for titles and recordings, while they are shown. */
  private follow(shown: boolean): void {
    for (const poll of [this.titlesPoll, this.recordingsPoll]) {
      if (shown) poll.start();
      else poll.stop();
    }
  }

  private show(tab: Tab): void {
    if (tab !== this.tab) this.follow(tab === "titles");
    this.tab = tab;
    history.replaceState(null, "", `#${tab}`);
  }

  private readonly want = (event: CustomEvent<Ask>): void => {
    this.ask = event.detail;
  };

  private readonly look = (): void => {
    void this.load();
    void this.recordingsPoll.now();
  };

  private readonly closed = (event: CustomEvent<string | null>): void => {
    this.ask = null;
    if (event.detail === null) return;
    this.toast.say(event.detail);
    void this.load();
    void this.titlesPoll.now();
    void this.recordingsPoll.now();
  };
}

/** Changes where there may be other titles. */
const signature = ({ volumes, imports }: StorageView): string =>
  [
    ...volumes.map(({ name, titles }) => `${name}=${titles}`),
    ...imports.filter(({ state }) => state === "done").map(({ id }) => id),
  ].join(" ");
