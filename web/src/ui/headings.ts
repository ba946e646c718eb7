/** The one heading of a page. */

import { css } from "lit";

/** Of pages that are read. */
export const pageHeading = css`
  h1 {
    font-size: clamp(1.7rem, 4.5vw, 2.3rem);
    font-weight: 680;
    letter-spacing: -0.025em;
    line-height: 1.15;
  }
`;

/** Of pages that are worked on: as wide as the screen, with more on them. */
export const wideHeading = css`
  h1 {
    margin: 0.3rem 0 0;
    font-size: clamp(1.5rem, 3vw, 1.9rem);
    font-weight: 680;
    letter-spacing: -0.025em;
    line-height: 1.15;
  }
`;
