/** The look of the pages where people come in: a ridge with a card before it. */

import { css, html, type TemplateResult } from "lit";
import { ridge } from "../ui/shared";
import "../ui/site-header";

export const entranceStyles = css`
  :host {
    display: flex;
    flex-direction: column;
    position: relative;
    min-height: 100dvh;
    overflow: hidden;
  }
  .ridge {
    position: absolute;
    inset: auto 0 0;
    width: 100%;
    height: 46%;
  }
  main {
    position: relative;
    flex: 1;
    padding-block: clamp(1rem, 7vh, 4rem) 3rem;
  }
  .card {
    width: min(100%, 27rem);
    margin-inline: auto;
  }
  h1 {
    margin: 0 0 0.4rem;
    font-size: 1.65rem;
    font-weight: 680;
    letter-spacing: -0.02em;
    line-height: 1.2;
  }
  .foot {
    margin: 1.1rem 0 0;
    font-size: 0.9rem;
    color: var(--ink-soft);
  }
`;

export const entrance = (content: TemplateResult): TemplateResult => html`
  ${ridge(false, true)}
  <site-header bare></site-header>
  <main class="frame"><div class="card">${content}</div></main>
`;
