import { css } from "lit";

/** Of the page about storage. */
export const pageStyles = css`
  :host {
    --frame: 84rem;
    display: block;
    padding-bottom: 4rem;
  }
  h1 {
    margin: 0.3rem 0 0;
    font-size: clamp(1.5rem, 3vw, 1.9rem);
    font-weight: 680;
    letter-spacing: -0.025em;
    line-height: 1.15;
  }
  .top {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    justify-content: space-between;
    gap: 0.8rem 2rem;
    margin: 0.2rem 0 1.1rem;
  }
  .tabs button {
    padding: 0 1rem;
  }
  .wrong {
    margin-bottom: 1.1rem;
  }
  .pane:not([hidden]) {
    display: grid;
    gap: 1.1rem;
  }
  .films {
    display: grid;
    grid-template-columns: minmax(0, 1.25fr) minmax(0, 1fr);
    gap: 1.1rem;
    align-items: start;
  }
  .beside {
    display: grid;
    gap: 1.1rem;
  }
  @media (max-width: 60rem) {
    .films {
      grid-template-columns: minmax(0, 1fr);
    }
    .beside {
      order: -1;
    }
  }
  @media (max-width: 34rem) {
    .tabs {
      flex: 1 1 100%;
    }
    .tabs button {
      flex: 1 1 auto;
      padding: 0 0.5rem;
    }
  }
`;
