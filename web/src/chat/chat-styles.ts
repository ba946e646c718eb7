import { css } from "lit";

export const chatStyles = css`
  :host {
    display: block;
    min-height: 0;
  }
  section {
    display: flex;
    flex-direction: column;
    height: var(--helio-chat-height, 100%);
    border-radius: var(--radius);
    background: var(--surface);
    box-shadow: var(--shadow);
    overflow: hidden;
  }
  header {
    display: flex;
    flex: none;
    align-items: center;
    gap: 0.6rem;
    min-height: 2.9rem;
    padding: 0 1rem;
    border-bottom: 1px solid var(--line);
  }
  h2 {
    flex: 1;
    margin: 0;
    font-size: 0.95rem;
    font-weight: 620;
  }
  .fold {
    display: none;
    align-items: center;
    gap: 0.5rem;
    width: 100%;
    min-height: 2.9rem;
    padding: 0;
    border: 0;
    background: none;
    font-weight: inherit;
    text-align: left;
  }
  .fold::before {
    content: "";
    width: 0.45em;
    height: 0.45em;
    margin-right: 0.1rem;
    border: solid currentcolor;
    border-width: 0 2px 2px 0;
    rotate: 45deg;
    translate: 0 -0.15em;
  }
  .folded .fold::before {
    rotate: -45deg;
    translate: 0;
  }
  .fold i {
    min-width: 1.5em;
    padding: 0 0.45em;
    border-radius: 99px;
    background: var(--sun);
    color: var(--on-sun);
    font-size: 0.78rem;
    font-style: normal;
    text-align: center;
  }
  .slow {
    font-size: 0.78rem;
    color: var(--ink-soft);
    white-space: nowrap;
  }
  .more {
    flex: none;
    width: 2.2rem;
    height: 2.2rem;
    padding: 0;
    border: 0;
    border-radius: 8px;
    background: none;
    font-size: 1.1rem;
    line-height: 1;
  }
  header .more {
    margin-right: -0.5rem;
  }
  .more:hover {
    background: var(--sunk);
  }
  .status {
    flex: none;
    margin: 0;
    padding: 0.4rem 1rem;
    background: var(--sunk);
    font-size: 0.85rem;
    color: var(--ink-soft);
  }
  .room {
    position: relative;
    flex: 1;
    min-height: 0;
  }
  .log {
    height: 100%;
    padding: 0.5rem 0;
    overflow: hidden auto;
    overscroll-behavior: contain;
    scrollbar-width: thin;
    scrollbar-color: var(--line) transparent;
  }
  .log:focus-visible,
  li:focus-visible {
    outline-offset: -3px;
  }
  ol {
    margin: 0;
    padding: 0;
    list-style: none;
  }
  .said {
    position: relative;
    padding: 0.28rem 1rem;
    font-size: 0.92rem;
    line-height: 1.4;
  }
  .said.mine {
    background: color-mix(in srgb, var(--sun) 9%, transparent);
  }
  .said.pending,
  .said.sent {
    color: var(--ink-soft);
  }
  .said.failed {
    background: color-mix(in srgb, var(--trouble) 9%, transparent);
  }
  .said:hover {
    background: var(--sunk);
  }
  b {
    /* Legible on white and by night: the hue is the author's, lightness and chroma are ours. */
    color: oklch(var(--chat-lightness) 0.12 var(--hue));
    font-weight: 620;
    overflow-wrap: anywhere;
    --chat-lightness: 0.48;
  }
  .badge {
    margin-left: 0.4em;
    padding: 0.05em 0.45em;
    border: 1px solid var(--line);
    border-radius: 99px;
    font-size: 0.7rem;
    color: var(--ink-soft);
    white-space: nowrap;
  }
  .badge.owner,
  .badge.moderator {
    border-color: transparent;
    background: var(--sun);
    color: var(--on-sun);
    font-weight: 600;
  }
  time {
    margin-left: 0.5em;
    font-size: 0.75rem;
    color: var(--ink-soft);
    font-variant-numeric: tabular-nums;
    white-space: nowrap;
  }
  .said p {
    margin: 0;
    overflow-wrap: anywhere;
    unicode-bidi: plaintext;
  }
  .said p.emoji {
    font-size: 1.7rem;
    line-height: 1.25;
  }
  .said a {
    color: var(--sun-ink);
  }
  .said .more {
    position: absolute;
    top: 0.1rem;
    right: 0.5rem;
    width: 2rem;
    height: 1.7rem;
    background: var(--surface);
    box-shadow: 0 0 0 1px var(--line);
    opacity: 0;
  }
  .said:hover .more,
  .said:focus .more,
  .said .more:focus {
    opacity: 1;
  }
  .notice,
  .empty {
    padding: 0.3rem 1rem;
    font-size: 0.82rem;
    color: var(--ink-soft);
    text-align: center;
  }
  .empty {
    margin: 0;
    padding: 2rem 1.5rem;
    font-size: 0.9rem;
  }
  .refused {
    flex: 1;
  }
  .refused strong {
    color: var(--ink);
  }
  .refused p {
    margin: 0.3rem 0 1rem;
  }
  .action {
    display: inline-block;
    min-height: 2.5rem;
    padding: 0.5rem 1.2rem;
    border: 1px solid var(--line);
    border-radius: 10px;
    background: var(--surface);
    font-weight: 600;
    text-decoration: none;
    color: var(--ink);
  }
  .why {
    margin: 0.15rem 0 0;
    font-size: 0.82rem;
    color: var(--trouble);
  }
  .why:empty {
    display: none;
  }
  .new {
    position: absolute;
    bottom: 0.6rem;
    left: 50%;
    padding: 0.35rem 0.9rem;
    border: 0;
    border-radius: 99px;
    background: var(--sun);
    color: var(--on-sun);
    box-shadow: var(--shadow);
    font-size: 0.85rem;
    font-weight: 620;
    white-space: nowrap;
    translate: -50%;
  }
  footer {
    flex: none;
    padding: 0.6rem 0.75rem;
    border-top: 1px solid var(--line);
  }
  .hint {
    margin: 0;
    padding: 0.35rem 0.25rem;
    font-size: 0.88rem;
    color: var(--ink-soft);
    text-align: center;
  }
  .row {
    display: flex;
    gap: 0.5rem;
    align-items: end;
  }
  label {
    display: block;
    margin: 0 0 0.3rem 0.1rem;
    font-size: 0.82rem;
    font-weight: 600;
  }
  textarea,
  input {
    flex: 1;
    min-width: 0;
    min-height: 2.6rem;
    max-height: 7rem;
    padding: 0.5rem 0.75rem;
    border: 1px solid var(--line);
    border-radius: 10px;
    background: var(--sunk);
    color: inherit;
    /* Phones zoom into smaller ones. */
    font: 1rem / 1.4 var(--font);
    resize: none;
    field-sizing: content;
  }
  input {
    field-sizing: fixed;
  }
  textarea::placeholder {
    color: var(--ink-soft);
    opacity: 1;
  }
  textarea:focus-visible,
  input:focus-visible {
    outline-offset: -1px;
    border-radius: 10px;
  }
  .send {
    flex: none;
    min-height: 2.6rem;
    padding: 0 1rem;
    border: 0;
    border-radius: 10px;
    background: var(--sun);
    color: var(--on-sun);
    font-weight: 650;
  }
  .send:disabled {
    background: var(--sunk);
    color: var(--ink-soft);
    cursor: default;
  }
  .under {
    display: flex;
    justify-content: space-between;
    gap: 1rem;
    min-height: 1.2rem;
    margin-top: 0.3rem;
    padding-inline: 0.2rem;
    font-size: 0.78rem;
    color: var(--ink-soft);
  }
  .under .over {
    color: var(--trouble);
    font-weight: 620;
  }
  .link {
    padding: 0;
    border: 0;
    background: none;
    color: inherit;
    text-decoration: underline;
    text-underline-offset: 0.15em;
    overflow-wrap: anywhere;
    text-align: left;
  }
  @media (prefers-color-scheme: dark) {
    b {
      --chat-lightness: 0.8;
    }
  }
  /* Without a mouse nothing hovers: what may be done is always there. */
  @media (hover: none) {
    .said .more {
      opacity: 1;
      box-shadow: none;
      background: none;
    }
  }
  section.folded {
    height: auto;
  }
  .folded header {
    border: 0;
  }
  .folded .fold {
    display: flex;
  }
  .folded .title {
    display: none;
  }
  @media (max-width: 60rem) {
    .fold {
      display: flex;
    }
    .title {
      display: none;
    }
  }
`;
