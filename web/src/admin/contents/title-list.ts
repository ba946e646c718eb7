import { html, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import { listTitles, type Page, type Title } from "../../api/contents";
import { clock } from "../../ui/format";
import { held, TITLE_STANDINGS } from "./model";
import { SearchedList } from "./searched-list";

/** Titles that can be played, and how many copies there are. */
@customElement("title-list")
export class TitleList extends SearchedList<Title> {
  protected readonly words = {
    add: "Add a title",
    hint: "Search name or title",
    empty: "No title yet. Add one, or import a list.",
  };

  protected override ask(search: string, after: string): Promise<Page<Title>> {
    return listTitles(search, after);
  }

  protected override row(title: Title): TemplateResult {
    const { name, title: shown, duration, regions } = title;
    const [word, chip] = TITLE_STANDINGS[title.standing];
    const told = [name, duration ? clock(duration) : "", regions.join(", ")].filter(Boolean);
    return html`<strong>${shown || name}</strong>
      <span class="chip ${chip}">${word}</span>
      <small>${told.join(" · ")}</small>
      <small class="end">${held(title)}</small>`;
  }
}
