import { html, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { listServers, type Page, type Server, type ServerState } from "../../api/contents";
import { count, milliseconds } from "../../ui/format";
import { STANDINGS, standing } from "./model";
import { SearchedList } from "./searched-list";

/** Servers that hold files, and how they are. */
@customElement("server-list")
export class ServerList extends SearchedList<Server> {
  @property({ attribute: false }) states: ReadonlyMap<string, ServerState> = new Map();

  protected readonly words = {
    add: "Add a server",
    hint: "Search name, host, make or region",
    empty:
      "No server yet. Any that plays files by HTTP or RTSP will do; nothing is installed on it.",
  };

  protected override ask(search: string, after: string): Promise<Page<Server>> {
    return listServers(search, after);
  }

  protected override row(server: Server): TemplateResult {
    const state = this.states.get(server.name);
    const is = standing(server, state);
    const where = [server.host, server.make, server.region].filter(Boolean).join(" · ");
    return html`<strong>${server.name}</strong>
      <span class="chip ${is}">${STANDINGS[is]}</span>
      <small>${where}</small>
      <small class="end"
        >${state?.response_ms == null ? "" : `${milliseconds(state.response_ms)} · `}${count(
          server.files,
          "file",
          "files",
        )}</small
      >`;
  }
}
