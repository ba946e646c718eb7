/** Styles of what cards on several pages show. */

import { css } from "lit";

/** A channel's picture over the ridge that stands in for it, with chips on it. */
export const pictureStyles = css`
  .picture {
    position: relative;
    background: var(--sunk);
    overflow: hidden;
  }
  .picture img,
  .picture .ridge {
    position: absolute;
    inset: 0;
    width: 100%;
    height: 100%;
  }
  .picture img {
    object-fit: cover;
  }
  /* Readable over any picture. */
  .picture .chip:not(.on_air) {
    background: color-mix(in srgb, var(--surface) 92%, transparent);
  }
`;

/** A card in place of a page's content: a ridge, why there is none, and what to do. */
export const sayStyles = css`
  .say {
    max-width: 34rem;
  }
  .say .ridge {
    width: 100%;
    height: 7rem;
    margin-bottom: 1rem;
    border-radius: 10px;
    background: var(--sunk);
  }
`;
