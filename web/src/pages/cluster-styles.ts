/** Styles of the page about the cluster. */

import { css } from "lit";

export const pageStyles = css`
  :host {
    --frame: 104rem;
    display: block;
    padding-bottom: 2rem;
  }
  .soft {
    font-size: 0.85rem;
    color: var(--ink-soft);
  }
  .top {
    display: flex;
    align-items: center;
    gap: 1rem 2.4rem;
    margin: 0.2rem 0 1.1rem;
  }
  .who p {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.35rem 0.7rem;
    margin: 0.5rem 0 0;
  }
  .who select {
    width: auto;
    max-width: 12rem;
    min-height: 2.2rem;
    margin: 0;
    font-size: 0.87rem;
  }
  .chip.leads {
    background: color-mix(in srgb, var(--sun) 22%, var(--surface));
    color: var(--ink);
  }
  .chip.leads::before {
    border-color: var(--sun-edge);
    background: var(--sun);
  }
  dl {
    display: flex;
    gap: 1.8rem;
    margin: 0 0 0 auto;
  }
  dt {
    font-size: 0.8rem;
    color: var(--ink-soft);
    white-space: nowrap;
  }
  dd {
    margin: 0;
    font-size: 1.2rem;
    font-weight: 640;
    line-height: 1.35;
    white-space: nowrap;
    font-variant-numeric: tabular-nums;
  }
  dd small {
    font-size: 0.8rem;
    font-weight: 500;
    color: var(--ink-soft);
  }
  .plots {
    display: grid;
    grid-template-columns: repeat(3, minmax(0, 11rem));
    gap: 1.4rem;
    flex: 0 1 36rem;
  }
  .banner {
    margin-bottom: 1rem;
  }
  .tabs {
    display: none;
    margin-bottom: 0.9rem;
  }
  .tabs button {
    flex: 1;
  }
  .panes {
    display: grid;
    grid-template-columns: minmax(0, 1.1fr) minmax(0, 1fr);
    grid-template-rows: clamp(27rem, calc(100dvh - 19.5rem), 60rem) 22rem;
    gap: 1.1rem;
  }
  .right {
    display: grid;
    grid-template-rows: minmax(0, 1fr);
    gap: 1.1rem;
    min-height: 0;
  }
  .right.inspecting {
    grid-template-rows: fit-content(58%) minmax(11rem, 1fr);
  }
  log-panel {
    grid-column: 1 / -1;
  }
  h1 + .say {
    margin-top: 1.2rem;
  }
  .say + log-panel {
    height: 22rem;
    margin-top: 1.1rem;
  }
  .steps {
    display: grid;
    gap: 1rem;
    margin: 0;
    padding-left: 1.3rem;
  }
  .steps copy-line {
    margin-top: 0.4rem;
  }
  @media (max-width: 68rem) {
    .top {
      flex-wrap: wrap;
    }
    .plots {
      flex: 1 1 100%;
      grid-template-columns: repeat(3, minmax(0, 1fr));
    }
  }
  @media (max-width: 56rem) {
    .tabs {
      display: flex;
    }
    .panes {
      grid-template: auto / minmax(0, 1fr);
    }
    .panes > *,
    .right > channel-list {
      display: none;
    }
    .show-units > unit-list,
    .show-log > log-panel {
      display: flex;
      height: max(26rem, calc(100dvh - 6rem));
    }
    .right.inspecting,
    .show-channels > .right {
      display: block;
    }
    .show-log > .right.inspecting {
      display: none;
    }
    .right.inspecting {
      order: -1;
    }
    .show-channels > .right > channel-list {
      display: flex;
      height: max(26rem, calc(100dvh - 6rem));
    }
    cluster-inspector {
      max-height: 30rem;
    }
    .right > cluster-inspector + channel-list {
      margin-top: 1.1rem;
    }
  }
  @media (max-width: 34rem) {
    .top {
      gap: 0.9rem;
    }
    .who {
      flex: 1;
    }
    dl {
      gap: 1.2rem;
    }
    .plots {
      gap: 0.9rem;
    }
  }
`;
