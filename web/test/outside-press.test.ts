// @vitest-environment happy-dom

import { html, LitElement, type TemplateResult } from "lit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { OutsidePress } from "../src/ui/outside-press";

class Menu extends LitElement {
  presses = 0;

  constructor() {
    super();
    new OutsidePress(this, () => this.presses++);
  }

  override render(): TemplateResult {
    return html`<button>Open</button>`;
  }
}
customElements.define("test-menu", Menu);

const press = (where: EventTarget | null | undefined): void => {
  where?.dispatchEvent(new Event("pointerdown", { bubbles: true, composed: true }));
};

describe("a press outside", () => {
  let menu: Menu;

  beforeEach(async () => {
    menu = new Menu();
    document.body.append(menu);
    await menu.updateComplete;
  });

  afterEach(() => menu.remove());

  it("is told, and one inside is not", () => {
    press(menu);
    press(menu.renderRoot.querySelector("button"));
    expect(menu.presses).toBe(0);
    press(document.body);
    expect(menu.presses).toBe(1);
  });

  it("is told where the menu lies in the shadow of something else", async () => {
    const page = document.createElement("div");
    const shadow = page.attachShadow({ mode: "open" });
    shadow.append(menu, document.createElement("p"));
    document.body.append(page);
    await menu.updateComplete;
    press(menu.renderRoot.querySelector("button"));
    expect(menu.presses).toBe(0);
    press(shadow.querySelector("p"));
    expect(menu.presses).toBe(1);
    page.remove();
  });

  it("is heard as long as the menu is on the page, also when it came back", () => {
    menu.remove();
    press(document.body);
    expect(menu.presses).toBe(0);
    document.body.append(menu);
    press(document.body);
    expect(menu.presses).toBe(1);
  });
});
