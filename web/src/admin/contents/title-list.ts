import { html, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import { listTitles, type Page, type Title } from "../../api/contents";
import { clock, count } from "../../ui/format";
import { SearchedList } from "./searched-list";

/** Titles that can be played, and how many copies there are. */
@customElement("title-list")
export class TitleList extends SearchedList<Title> {
  protected readonly words = {
    add: "Add a title",
    hint: "Search name or title",
    empty: "No title yet. Add one, or import a list: helio catalogue import FILE.",
  };

  protected override ask(search: string, after: string): Promise<Page<Title>> {
    return listTitles(search, after);
  }

  protected override row(title: Title): TemplateResult {
    const { name, title: shown, duration, regions, published, files } = title;
    const told = [name, duration ? clock(duration) : "", regions.join(", ")].filter(Boolean);
    return html`<strong>${shown || name}</strong>
      <span class="chip ${published ? (files ? "up" : "down") : ""}"
        >${published ? (files ? "Published" : "No copy") : "Withheld"}</span
      >
      <small>${told.join(" · ")}</small>
      <small class="end">${count(files, "copy", "copies")}</small>`;
  }
}
