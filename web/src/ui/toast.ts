import type { TemplateResult } from "lit";
import { css, html, type ReactiveController, type ReactiveControllerHost } from "lit";

/** How long it is told what was done. */
const SAID_MS = 8_000;

export const toastStyles = css`
  .toast {
    position: fixed;
    z-index: 6;
    left: 50%;
    bottom: 1.5rem;
    max-width: calc(100vw - 2rem);
    margin: 0;
    padding: 0.75rem 1.2rem;
    border-radius: 12px;
    background: var(--ink);
    color: var(--surface);
    font-size: 0.92rem;
    font-weight: 550;
    box-shadow: var(--shadow);
    transform: translateX(-50%);
    transition: opacity 0.2s;
  }
  .toast.none {
    opacity: 0;
    pointer-events: none;
  }
`;

/** Tells for a moment what was done; it is there all the time, so that it is read out when it speaks. */
export class Toast implements ReactiveController {
  private said = "";
  private timer = 0;

  constructor(private readonly host: ReactiveControllerHost) {
    host.addController(this);
  }

  hostDisconnected(): void {
    clearTimeout(this.timer);
    this.said = "";
  }

  say(said: string): void {
    this.show(said);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => this.show(""), SAID_MS);
  }

  render(): TemplateResult {
    return html`<p class="toast ${this.said ? "" : "none"}" role="status">${this.said}</p>`;
  }

  private show(said: string): void {
    this.said = said;
    this.host.requestUpdate();
  }
}
