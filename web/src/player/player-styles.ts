import { css } from "lit";

/** The stage is dark by day and by night: light round a picture tires the eye. */
export const playerStyles = css`
  :host {
    --helio-accent: var(--sun, #ffb52e);
    display: flex;
    flex-direction: column;
    position: relative;
    container-type: inline-size;
    background: #05090c;
    color: #fff;
    font-family: var(--font, system-ui, sans-serif);
    font-size: 1rem;
    overflow: hidden;
  }
  :host(:fullscreen) {
    width: 100%;
    height: 100%;
    border-radius: 0;
  }
  .stage {
    position: relative;
    aspect-ratio: 16 / 9;
    max-height: var(--helio-max-height, none);
    cursor: none;
    /* Takes the keys after a click, and shows the ring of no control. */
    outline: none;
  }
  :host(:fullscreen) .stage {
    flex: 1;
    min-height: 0;
    aspect-ratio: auto;
    max-height: none;
  }
  canvas,
  video,
  .ridge {
    position: absolute;
    inset: 0;
    width: 100%;
    height: 100%;
  }
  .ridge {
    --ridge-far: #0d161d;
    --ridge-near: #131f28;
  }
  .stage.awake {
    cursor: auto;
  }
  canvas,
  video {
    object-fit: contain;
  }
  /* Not display: none, so that a video goes on loading. */
  .unseen {
    visibility: hidden;
  }
  button {
    border: 0;
    background: none;
    padding: 0;
  }
  .says {
    position: absolute;
    inset: 0;
    display: flex;
    flex-direction: column;
    align-items: center;
    justify-content: center;
    gap: 0.35rem;
    padding: 1rem 1rem 3.5rem;
    text-align: center;
    pointer-events: none;
  }
  .says.over {
    background: rgb(5 9 12 / 78%);
  }
  .says strong {
    font-size: clamp(1rem, 3.4cqw, 1.35rem);
    font-weight: 640;
    letter-spacing: -0.01em;
    text-wrap: balance;
  }
  .says p {
    margin: 0;
    max-width: 46ch;
    font-size: clamp(0.85rem, 2.6cqw, 1rem);
    line-height: 1.45;
    color: rgb(255 255 255 / 78%);
    text-wrap: balance;
  }
  /* R in Morse (dot dash dot, "received, wait") while it waits. */
  .morse {
    display: flex;
    gap: 0.4rem;
    margin-bottom: 0.6rem;
  }
  .morse i {
    width: 0.6rem;
    height: 0.6rem;
    border-radius: 9px;
    background: var(--helio-accent);
    animation: wait 1.8s ease-in-out infinite;
  }
  .morse i:nth-child(2) {
    width: 1.8rem;
    animation-delay: 0.2s;
  }
  .morse i:nth-child(3) {
    animation-delay: 0.55s;
  }
  @keyframes wait {
    0%, 60%, 100% { opacity: 0.25; }
    20%, 35% { opacity: 1; }
  }
  .action,
  .tap {
    display: inline-flex;
    align-items: center;
    gap: 0.5rem;
    padding: 0.6rem 1.1rem;
    border-radius: 10px;
    background: var(--helio-accent);
    color: #241500;
    font-weight: 640;
    pointer-events: auto;
  }
  .action {
    margin-top: 0.7rem;
  }
  .tap {
    position: absolute;
    left: 0.75rem;
    top: 0.75rem;
    white-space: nowrap;
    box-shadow: 0 6px 24px rgb(0 0 0 / 45%);
  }
  .big {
    position: absolute;
    inset: 0;
    margin: auto;
    width: 5rem;
    height: 5rem;
    border-radius: 50%;
    background: var(--helio-accent);
    color: #241500;
    display: grid;
    place-items: center;
  }
  .big svg {
    width: 2.4rem;
    height: 2.4rem;
  }
  .big:focus-visible {
    border-radius: 50%;
    outline-color: #fff;
  }
  .notice {
    position: absolute;
    left: 50%;
    top: 0.75rem;
    translate: -50% 0;
    width: max-content;
    max-width: calc(100% - 1.5rem);
    margin: 0;
    padding: 0.35rem 0.8rem;
    border-radius: 8px;
    background: rgb(5 9 12 / 80%);
    font-size: 0.85rem;
  }
  .slow {
    position: absolute;
    left: 50%;
    bottom: 4.2rem;
    translate: -50% 0;
    display: flex;
    align-items: center;
    gap: 0.6rem;
    width: max-content;
    max-width: calc(100% - 1.5rem);
    margin: 0;
    padding: 0.45rem 0.9rem;
    border-radius: 10px;
    background: rgb(5 9 12 / 86%);
    border: 1px solid var(--helio-accent);
    font-size: 0.88rem;
    line-height: 1.35;
  }
  .slow svg {
    flex: none;
    color: var(--helio-accent);
  }
  .still {
    filter: grayscale(0.6) brightness(0.75);
  }
  .bar {
    position: absolute;
    /* Its menu lies over the statistics. */
    z-index: 1;
    inset: auto 0 0;
    display: flex;
    align-items: center;
    gap: 0.25rem;
    padding: 1.6rem 0.6rem 0.45rem;
    background: linear-gradient(transparent, rgb(5 9 12 / 80%));
    opacity: 0;
    transition: opacity 200ms;
  }
  .awake .bar,
  .bar:focus-within {
    opacity: 1;
  }
  .bar button {
    flex: none;
    display: grid;
    place-items: center;
    width: 2.75rem;
    height: 2.75rem;
    border-radius: 10px;
  }
  .bar button:hover {
    background: rgb(255 255 255 / 16%);
  }
  .bar button[aria-pressed="true"] {
    color: var(--helio-accent);
  }
  .bar input {
    width: 5.5rem;
    min-width: 2.5rem;
    accent-color: var(--helio-accent);
  }
  .live {
    flex: 1;
    min-width: 0;
    padding-left: 0.6rem;
    font-size: 0.85rem;
    white-space: nowrap;
    overflow: hidden;
    font-variant-numeric: tabular-nums;
  }
  .live b {
    color: var(--helio-accent);
    font-weight: 680;
  }
  .stats {
    position: absolute;
    top: 0.75rem;
    right: 0.75rem;
    width: min(19rem, calc(100% - 1.5rem));
    max-height: calc(100% - 4.5rem);
    overflow: auto;
    padding: 0.8rem 0.9rem;
    border-radius: 12px;
    background: rgb(5 9 12 / 84%);
    font-size: 0.8rem;
  }
  dl {
    margin: 0 0 0.7rem;
    font-variant-numeric: tabular-nums;
  }
  dl div {
    display: flex;
    justify-content: space-between;
    gap: 1rem;
    line-height: 1.65;
  }
  dt {
    flex: none;
    color: rgb(255 255 255 / 70%);
  }
  dd {
    margin: 0;
    min-width: 0;
    text-align: right;
    overflow-wrap: anywhere;
  }
  @container (max-width: 30rem) {
    .bar input,
    .live span,
    .says:has(.action) .morse {
      display: none;
    }
    .bar {
      gap: 0;
    }
    .bar button {
      width: 2.5rem;
    }
    .live {
      padding-left: 0.3rem;
    }
    .says {
      padding: 0.5rem 0.75rem 3.25rem;
    }
    .says p {
      line-height: 1.35;
    }
    .action {
      margin-top: 0.3rem;
      padding-block: 0.45rem;
    }
    .stats {
      position: static;
      width: 100%;
      max-height: none;
      padding: 0.9rem 1rem;
      border-radius: 0;
      background: #0b1217;
    }
  }
`;
