import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement, property, state } from "lit/decorators.js";
import { shared } from "./shared";

/** A line to be copied: a command or an address. */
@customElement("copy-line")
export class CopyLine extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: block;
      }
    `,
  ];

  @property() text = "";
  /** What is copied, for screen readers. */
  @property() label = "";
  @state() private done = "";

  override render(): TemplateResult {
    return html`<div class="copy">
      <code>${this.text}</code>
      <button @click=${this.copy} aria-label=${`Copy ${this.label}`}>
        <span aria-live="polite">${this.done || "Copy"}</span>
      </button>
    </div>`;
  }

  private async copy(): Promise<void> {
    this.done = (await toClipboard(this.text)) ? "Copied" : "Select it";
    if (this.done !== "Copied") this.select();
    setTimeout(() => {
      this.done = "";
    }, 2_000);
  }

  private select(): void {
    const code = this.renderRoot.querySelector("code");
    if (code) getSelection()?.selectAllChildren(code);
  }
}

async function toClipboard(text: string): Promise<boolean> {
  try {
    // Missing on pages that are not secure; those people select by hand.
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
