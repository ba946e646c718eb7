import { css, html, LitElement, type TemplateResult } from "lit";
import { customElement } from "lit/decorators.js";
import { ridge, shared } from "../ui/shared";
import "../ui/site-header";

/** 404 in Morse. */
const MORSE = ["····−", "−−−−−", "····−"];

@customElement("helio-not-found")
export class NotFound extends LitElement {
  static override styles = [
    shared,
    css`
      :host {
        display: flex;
        flex-direction: column;
        min-height: 100dvh;
        position: relative;
        overflow: hidden;
      }
      .ridge {
        position: absolute;
        inset: auto 0 0;
        width: 100%;
        height: 52%;
      }
      main {
        position: relative;
        flex: 1;
        padding-block: clamp(1.5rem, 9vh, 6rem);
      }
      .morse {
        display: flex;
        flex-wrap: wrap;
        gap: 0.6rem clamp(0.8rem, 3.5vw, 1.6rem);
        margin: 0 0 1.4rem;
      }
      .morse span {
        display: inline-flex;
        align-items: center;
        gap: 0.35rem;
      }
      .morse i {
        height: clamp(0.45rem, 2vw, 0.7rem);
        width: clamp(0.45rem, 2vw, 0.7rem);
        border-radius: 99px;
        background: var(--sun);
      }
      .morse i.dash {
        width: clamp(1.2rem, 5.5vw, 2rem);
      }
      h1 {
        margin: 0 0 0.5rem;
        max-width: 18ch;
        font-size: clamp(2rem, 7vw, 3.4rem);
        font-weight: 700;
        letter-spacing: -0.03em;
        line-height: 1.08;
      }
      p {
        max-width: 44ch;
        margin: 0 0 1.6rem;
        color: var(--ink-soft);
      }
      .back {
        display: inline-block;
        padding: 0.7rem 1.2rem;
        border-radius: 10px;
        background: var(--sun);
        color: var(--on-sun);
        font-weight: 620;
        text-decoration: none;
      }
    `,
  ];

  override render(): TemplateResult {
    return html`
      ${ridge(false, true)}
      <site-header></site-header>
      <main class="frame">
        <div class="morse" role="img" aria-label="404 in Morse code">
          ${MORSE.map(
            (digit) =>
              html`<span>${[...digit].map((s) => html`<i class=${s === "−" ? "dash" : ""}></i>`)}</span>`,
          )}
        </div>
        <h1>No signal from this peak</h1>
        <p>There is no page at this address. It may have been mistyped, or what was here is gone.</p>
        <a class="back" href="/">See what is on air</a>
      </main>
    `;
  }
}
