import { html, type TemplateResult } from "lit";
import { signInPath } from "../api/session";
import { ridge } from "../ui/shared";

/** In place of a page for administrators, to somebody who is none; `path` is the page's. */
export const stranger = (signedIn: boolean, path: string): TemplateResult =>
  html`<section class="card say">
    ${ridge(false, true)}
    <p class="lead">
      ${
        signedIn
          ? "This page is for administrators. Your account is not one."
          : "This page is for administrators. Sign in as one to go on."
      }
    </p>
    <a class="press main" href=${signedIn ? "/" : signInPath(path)}
      >${signedIn ? "See what is on air" : "Sign in"}</a
    >
  </section>`;
