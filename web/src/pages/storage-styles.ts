import { css } from "lit";

/** Of the page about storage. */
export const pageStyles = css`
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
`;
