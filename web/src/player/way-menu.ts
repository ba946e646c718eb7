/** The small menu that says which way is used and lets a person choose. */

import { css, html, nothing, type TemplateResult } from "lit";
import { customElement, property } from "lit/decorators.js";
import { Menu, menuStyles } from "../ui/menu";
import { shared } from "../ui/shared";
import { type Choice, type WayState, whyNot } from "./way";

const NAMES = { webrtc: "WebRTC", websocket: "WebSocket", hls: "HLS" } as const;

const OPTIONS: readonly {
  readonly choice: Choice;
  readonly name: string;
  readonly text: string;
}[] = [
  { choice: "auto", name: "Automatic", text: "the best way that gets through" },
  { choice: "webrtc", name: "WebRTC", text: "least delay, by UDP" },
  { choice: "websocket", name: "WebSocket", text: "through firewalls, by TCP" },
  { choice: "hls", name: "HLS", text: "through anything, a second or two later" },
];

/** @fires way-choice - a person chose; `detail` is the choice */
@customElement("way-menu")
export class WayMenu extends Menu<Choice> {
  static override styles = [
    shared,
    menuStyles,
    css`
      .open::after {
        content: "";
        display: inline-block;
        width: 0.4em;
        height: 0.4em;
        margin: 0 0 0.12em 0.5em;
        border: solid currentcolor;
        border-width: 2px 2px 0 0;
        rotate: -45deg;
        vertical-align: baseline;
      }
      .menu {
        width: 20.5rem;
      }
      .menu button::before {
        grid-row: 1 / 3;
      }
      small {
        font-size: 0.78rem;
        color: rgb(255 255 255 / 72%);
      }
      b {
        font-weight: 620;
      }
      p {
        margin: 0.2rem 0 0;
        padding: 0.5rem 0.6rem 0.35rem;
        border-top: 1px solid rgb(255 255 255 / 16%);
        font-size: 0.8rem;
        line-height: 1.4;
        color: rgb(255 255 255 / 85%);
      }
      @media (max-width: 30rem) {
        .open {
          padding: 0 0.45rem;
        }
        .menu {
          width: auto;
        }
      }
    `,
  ];

  @property({ attribute: false }) way: WayState | null = null;
  protected readonly chosen = "way-choice";

  override render(): TemplateResult | typeof nothing {
    const { way } = this;
    if (!way) return nothing;
    const name = NAMES[way.way];
    return this.menu(`Way: ${name}. Choose`, "Which way pictures come", name, () => this.ways(way));
  }

  private ways(way: WayState): TemplateResult {
    const why = whyNot(way.reason);
    return html`${OPTIONS.filter(
      (option) => option.choice === "auto" || way.can[option.choice],
    ).map(({ choice, name, text }) =>
      this.item(choice, choice === way.choice, html`<b>${name}</b><small>${text}</small>`),
    )}
    ${why ? html`<p role="status">${why} Choose again to try once more.</p>` : nothing}`;
  }
}
