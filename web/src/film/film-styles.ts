import { css } from "lit";

/** What films have beside what channels have. */
export const filmStyles = css`
  .controls {
    position: absolute;
    z-index: 1;
    inset: auto 0 0;
    padding-top: 2rem;
    background: linear-gradient(transparent, rgb(5 9 12 / 84%));
    opacity: 0;
    transition: opacity 200ms;
  }
  .awake .controls,
  .controls:focus-within {
    opacity: 1;
  }
  .controls .bar {
    position: static;
    padding: 0.35rem 0.6rem 0.45rem;
    background: none;
    opacity: 1;
  }
  .time {
    flex: 1;
    min-width: 0;
    padding-left: 0.5rem;
    font-size: 0.85rem;
    white-space: nowrap;
    overflow: hidden;
    text-overflow: ellipsis;
    font-variant-numeric: tabular-nums;
  }
  .time span {
    color: rgb(255 255 255 / 72%);
  }
  .bar button.edge {
    width: auto;
    padding: 0 0.7rem;
    display: inline-flex;
    align-items: center;
    gap: 0.45rem;
    font-size: 0.82rem;
    font-weight: 660;
    white-space: nowrap;
  }
  .edge::before {
    content: "";
    width: 0.55rem;
    height: 0.55rem;
    border-radius: 50%;
    border: 2px solid currentcolor;
  }
  .edge.on {
    color: var(--helio-accent);
  }
  .edge.on::before {
    background: currentcolor;
  }
  .resumed {
    position: absolute;
    left: 0.75rem;
    bottom: 5.2rem;
    display: flex;
    align-items: center;
    gap: 0.7rem;
    max-width: calc(100% - 1.5rem);
    margin: 0;
    padding: 0.3rem 0.35rem 0.3rem 0.9rem;
    border-radius: 10px;
    background: rgb(5 9 12 / 86%);
    font-size: 0.88rem;
    font-variant-numeric: tabular-nums;
  }
  .resumed button {
    padding: 0.35rem 0.75rem;
    border-radius: 8px;
    background: rgb(255 255 255 / 14%);
    font-weight: 620;
    white-space: nowrap;
  }
  .resumed button:hover {
    background: rgb(255 255 255 / 26%);
  }
  .says strong:empty {
    display: none;
  }
  @container (max-width: 30rem) {
    .controls {
      padding-top: 1.2rem;
    }
    .time span {
      display: inline;
    }
    .time {
      font-size: 0.78rem;
      padding-left: 0.2rem;
    }
    .bar button.edge {
      width: auto;
      padding: 0 0.35rem;
      font-size: 0.76rem;
    }
    .resumed {
      bottom: 4.6rem;
      font-size: 0.8rem;
    }
  }
`;
