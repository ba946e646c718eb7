import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, property, query, state } from "lit/decorators.js";
import { clock } from "../ui/format";
import { type Extent, loaded, type Ranges, share } from "./timeline";

const NONE: Ranges = { length: 0, start: () => 0, end: () => 0 };

/**
 * The bar on which a film is sought.
 *
 * @fires film-seek - somebody wants another place; `detail` in seconds
 */
@customElement("seek-bar")
export class SeekBar extends LitElement {
  static override styles = css`
    :host {
      display: block;
      position: relative;
    }
    .hit {
      /* As high as a finger. */
      padding: 0.8rem 0.6rem;
      margin-block: -0.8rem;
      cursor: pointer;
      touch-action: none;
      outline: none;
    }
    .rail {
      position: relative;
      height: 4px;
      border-radius: 4px;
      background: rgb(255 255 255 / 28%);
      transition: height 120ms;
    }
    .hit:hover .rail,
    .hit:focus-visible .rail,
    .hit.held .rail {
      height: 7px;
    }
    .rail i {
      position: absolute;
      inset-block: 0;
      border-radius: inherit;
      background: rgb(255 255 255 / 38%);
    }
    .rail .seen {
      left: 0;
      background: var(--helio-accent);
    }
    .knob {
      position: absolute;
      top: 50%;
      width: 0.9rem;
      height: 0.9rem;
      border-radius: 50%;
      background: var(--helio-accent);
      translate: -50% -50%;
    }
    .hit:focus-visible .knob {
      outline: 3px solid #fff;
      outline-offset: 2px;
    }
    .at {
      position: absolute;
      bottom: calc(100% + 0.5rem);
      padding: 0.15rem 0.5rem;
      border-radius: 7px;
      background: rgb(5 9 12 / 88%);
      font-size: 0.8rem;
      font-variant-numeric: tabular-nums;
      white-space: nowrap;
      pointer-events: none;
      translate: -50%;
    }
  `;

  @property({ attribute: false }) of: Extent | null = null;
  @property({ type: Number }) time = 0;
  @property({ attribute: false }) buffered: Ranges = NONE;
  /** Seconds that the pointer is at. */
  @state() private pointed: number | null = null;
  @state() private held = false;
  @query(".rail") private readonly rail!: HTMLElement;

  override render(): TemplateResult {
    const { of } = this;
    const shown = this.held && this.pointed !== null ? this.pointed : this.time;
    const seen = of ? share(shown, of) : 0;
    const percent = (part: number): string => `${(part * 100).toFixed(3)}%`;
    return html`<div
      class="hit ${this.held ? "held" : ""}"
      role="slider"
      tabindex="0"
      aria-label="Seek"
      aria-valuemin=${Math.floor(of?.start ?? 0)}
      aria-valuemax=${Math.floor(of?.end ?? 0)}
      aria-valuenow=${Math.floor(shown)}
      aria-valuetext=${`${clock(shown)} of ${clock(of?.end ?? 0)}`}
      @pointerdown=${this.down}
      @pointermove=${this.move}
      @pointerup=${this.up}
      @pointercancel=${this.cancel}
      @pointerleave=${this.leave}
    >
      <div class="rail">
        ${
          of
            ? loaded(this.buffered, of).map(
                ([left, width]) =>
                  html`<i style=${`left:${percent(left)};width:${percent(width)}`}></i>`,
              )
            : nothing
        }
        <i class="seen" style=${`width:${percent(seen)}`}></i>
        ${of ? html`<span class="knob" style=${`left:${percent(seen)}`}></span>` : nothing}
        ${
          of && this.pointed !== null
            ? html`<span class="at" style=${`left:clamp(1.6rem, ${percent(share(this.pointed, of))}, calc(100% - 1.6rem))`}
                >${clock(this.pointed)}</span
              >`
            : nothing
        }
      </div>
    </div>`;
  }

  private timeAt(event: PointerEvent): number | null {
    const box = this.rail.getBoundingClientRect();
    if (!this.of || box.width <= 0) return null;
    const part = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return this.of.start + part * (this.of.end - this.of.start);
  }

  private readonly down = (event: PointerEvent): void => {
    if (event.button !== 0) return;
    this.pointed = this.timeAt(event);
    this.held = this.pointed !== null;
    (event.currentTarget as HTMLElement).setPointerCapture(event.pointerId);
  };

  private readonly move = (event: PointerEvent): void => {
    this.pointed = this.timeAt(event);
  };

  private readonly up = (event: PointerEvent): void => {
    const wanted = this.held ? this.timeAt(event) : null;
    this.held = false;
    if (event.pointerType !== "mouse") this.pointed = null;
    if (wanted === null) return;
    this.time = wanted;
    this.dispatchEvent(new CustomEvent("film-seek", { detail: wanted }));
  };

  private readonly cancel = (): void => {
    this.held = false;
    this.pointed = null;
  };

  private readonly leave = (): void => {
    if (!this.held) this.pointed = null;
  };
}
