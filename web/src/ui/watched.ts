import { css } from "lit";

/** Of pages about one thing that is watched: its name, facts, and keys below the picture. */
export const watchedStyles = css`
  helio-player,
  helio-film {
    border-radius: var(--radius);
    box-shadow: var(--shadow);
    overflow: hidden;
    /* The picture and what belongs to it fit one screen. */
    --helio-max-height: max(12rem, calc(100dvh - 11rem));
  }
  helio-player:fullscreen,
  helio-film:fullscreen {
    border-radius: 0;
  }
  .head {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.4rem 0.9rem;
    margin: 1.1rem 0 0.9rem;
  }
  h1 {
    margin: 0;
    font-size: clamp(1.35rem, 4vw, 1.8rem);
    font-weight: 660;
    letter-spacing: -0.02em;
    line-height: 1.2;
    overflow-wrap: anywhere;
  }
  h2 {
    margin: 0 0 0.5rem;
    font-size: 0.95rem;
    font-weight: 620;
  }
  dl {
    display: flex;
    flex-wrap: wrap;
    gap: 0.9rem 2.4rem;
    margin: 0 0 1.6rem;
  }
  dt {
    font-size: 0.82rem;
    color: var(--ink-soft);
  }
  dd {
    margin: 0;
    font-size: 1.08rem;
    font-weight: 600;
    line-height: 1.3;
    font-variant-numeric: tabular-nums;
  }
  .keys {
    margin: 0;
    padding: 0;
    list-style: none;
    font-size: 0.87rem;
    color: var(--ink-soft);
  }
  kbd {
    display: inline-block;
    min-width: 1.6rem;
    margin-right: 0.3rem;
    padding: 0.05rem 0.35rem;
    border: 1px solid var(--line);
    border-bottom-width: 2px;
    border-radius: 5px;
    background: var(--surface);
    color: var(--ink);
    font: 0.78rem var(--mono);
    text-align: center;
  }
  @media (max-width: 46rem) {
    helio-player,
    helio-film {
      border-radius: 0;
    }
    dl {
      display: grid;
      grid-template-columns: repeat(2, 1fr);
      gap: 0.8rem;
    }
  }
  @media (hover: none) {
    .keyboard {
      display: none;
    }
  }
`;
