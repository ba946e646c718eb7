import { css } from "lit";
import { titleStyles } from "../live/channel-title";
import { boxes, card, press, ticks } from "../ui/forms";

export const liveStyles = css`
  ${card}
  ${boxes}
  ${press}
  ${ticks}
  ${titleStyles}
  :host {
    display: block;
    padding-bottom: 3rem;
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.4rem 0.9rem;
    margin: 0.4rem 0 1.1rem;
  }
  .grid {
    display: grid;
    grid-template: "view side" auto "fields side" 1fr / minmax(0, 1fr) 21rem;
    gap: 1rem 1.5rem;
    align-items: start;
  }
  .view {
    grid-area: view;
  }
  .side {
    grid-area: side;
  }
  .stage {
    position: relative;
    aspect-ratio: 16 / 9;
    max-height: max(12rem, calc(100dvh - 16rem));
    width: 100%;
    border-radius: var(--radius);
    background: #05090c;
    color: #fff;
    box-shadow: var(--shadow);
    overflow: hidden;
  }
  .stage.live {
    outline: 3px solid var(--sun);
    outline-offset: 3px;
  }
  .stage video,
  .stage .ridge {
    position: absolute;
    inset: 0;
    width: 100%;
    height: 100%;
    object-fit: contain;
  }
  .stage .ridge {
    --ridge-far: #0d161d;
    --ridge-near: #131f28;
  }
  .over {
    position: absolute;
    inset: 0;
    display: flex;
    flex-direction: column;
    align-items: center;
    justify-content: center;
    gap: 0.9rem;
    padding: 1rem;
    text-align: center;
  }
  .over p {
    max-width: 40ch;
    margin: 0;
    text-wrap: balance;
    color: rgb(255 255 255 / 82%);
  }
  .over strong {
    font-size: 1.2rem;
    font-weight: 640;
  }
  .sign {
    position: absolute;
    left: 0.75rem;
    top: 0.75rem;
    padding: 0.3rem 0.75rem;
    border-radius: 8px;
    background: rgb(5 9 12 / 80%);
    font-size: 0.85rem;
  }
  .strip {
    display: flex;
    align-items: center;
    gap: 0.6rem;
    margin-top: 0.9rem;
  }
  .strip button {
    padding: 0 0.9rem;
    font-size: 0.9rem;
  }
  .strip button svg {
    width: 1.25rem;
    height: 1.25rem;
  }
  .strip button:hover:not(:disabled) {
    border-color: var(--sun);
  }
  .strip button[aria-pressed="true"] {
    border-color: var(--trouble);
    color: var(--trouble);
  }
  button:disabled {
    opacity: 0.5;
    cursor: default;
  }
  .level {
    flex: 1;
    min-width: 3rem;
    height: 0.6rem;
    border-radius: 9px;
    background: var(--sunk);
    border: 1px solid var(--line);
    overflow: hidden;
  }
  .level i {
    display: block;
    height: 100%;
    /* The colours belong to places on the scale, not to the bar's end. */
    background: linear-gradient(90deg, var(--ridge-near), var(--sun) 70%, var(--trouble) 95%);
    clip-path: inset(0 calc(100% - var(--level, 0) * 100%) 0 0);
  }
  .fields {
    display: grid;
    grid-template-columns: repeat(3, minmax(0, 1fr));
    gap: 0.9rem;
    grid-area: fields;
  }
  .fields .tick {
    grid-column: 1 / -1;
  }
  label {
    display: block;
    font-size: 0.85rem;
    font-weight: 600;
  }
  select,
  input[name="key"] {
    background: var(--surface);
  }
  .card {
    padding: 1.25rem;
  }
  .card + .card {
    margin-top: 1rem;
  }
  .card p {
    margin: 0.5rem 0 0;
    font-size: 0.87rem;
    color: var(--ink-soft);
  }
  .card .banner {
    display: block;
    margin: 0 0 1rem;
  }
  .card .banner p {
    margin: 0.2rem 0 0;
    color: var(--ink);
  }
  helio-chat {
    margin-top: 1rem;
    --helio-chat-height: 24rem;
  }
  h2 {
    margin: 0 0 0.5rem;
    font-size: 0.95rem;
    font-weight: 620;
  }
  .main {
    width: 100%;
    min-height: 3.4rem;
    margin-top: 1rem;
    border: 0;
    border-radius: 12px;
    background: var(--sun);
    color: var(--on-sun);
    font-size: 1.1rem;
    font-weight: 680;
  }
  .main.stop {
    background: var(--ink);
    color: var(--sky);
  }
  .over .main {
    width: auto;
    margin: 0;
    padding: 0 1.5rem;
    min-height: 3rem;
    font-size: 1rem;
  }
  .link {
    padding: 0;
    border: 0;
    background: none;
    font-weight: 600;
    text-decoration: underline;
  }
  .card form > p:first-child {
    margin-top: 0;
  }
  .card .clock {
    margin: 0;
    color: var(--ink);
    font-size: 2.5rem;
    font-weight: 660;
    letter-spacing: -0.03em;
    line-height: 1.1;
    font-variant-numeric: tabular-nums;
  }
  .card .state {
    margin: 0.2rem 0 0;
    font-size: 0.9rem;
    color: var(--ink-soft);
  }
  dl {
    display: grid;
    grid-template-columns: repeat(2, 1fr);
    gap: 0.8rem 1rem;
    margin: 1.1rem 0 0;
  }
  dt {
    font-size: 0.82rem;
    color: var(--ink-soft);
  }
  dd {
    margin: 0;
    font-weight: 600;
    line-height: 1.3;
    font-variant-numeric: tabular-nums;
  }
  .chip.live {
    background: var(--sun);
    color: var(--on-sun);
  }
  .chip.shaky,
  .chip.reconnecting {
    color: var(--trouble);
  }
  @media (max-width: 60rem) {
    .grid {
      grid-template: "view" auto "side" auto "fields" auto / minmax(0, 1fr);
    }
  }
  @media (max-width: 40rem) {
    /* Long words want more height than a narrow picture has. */
    .stage:has([role="alert"]) {
      aspect-ratio: auto;
      min-height: 21rem;
      max-height: none;
    }
    .fields {
      grid-template-columns: minmax(0, 1fr);
    }
    .stage {
      width: calc(100% + 2rem);
      margin-inline: -1rem;
      border-radius: 0;
    }
    .stage.live {
      outline-offset: -3px;
    }
    .strip {
      flex-wrap: wrap;
    }
    .strip button {
      flex: 1 1 auto;
      padding-inline: 0.6rem;
    }
    .level {
      flex: 1 0 100%;
      order: -1;
    }
  }
`;
