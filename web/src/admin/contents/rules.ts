import { css, html, LitElement, nothing, type TemplateResult } from "lit";
import { customElement, state } from "lit/decorators.js";
import {
  type Classification,
  type Level,
  listClasses,
  listLevels,
  listNetworks,
  type Network,
  putClass,
  putLevel,
  putNetwork,
  removeClass,
  removeLevel,
  removeNetwork,
} from "../../api/contents";
import { explain } from "../../api/session";
import { field, forms, wrong } from "../../ui/forms";
import { shared } from "../../ui/shared";
import { detailStyles } from "./styles";

interface Line {
  readonly key: string;
  readonly told: string;
  readonly remove: () => Promise<unknown>;
}

/** Which networks are in which region, what titles are rated and about. */
@customElement("contents-rules")
export class ContentsRules extends LitElement {
  static override styles = [
    shared,
    forms,
    detailStyles,
    css`
      :host {
        grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
      }
      .wrong {
        grid-column: 1 / -1;
      }
      h2 {
        margin-bottom: 0.3rem;
      }
      .files,
      .soft + .soft {
        margin-top: 0.8rem;
      }
      .soft + form {
        margin-top: 1rem;
      }
    `,
  ];

  @state() private networks: readonly Network[] | null = null;
  @state() private levels: readonly Level[] = [];
  @state() private classes: readonly Classification[] = [];
  @state() private trouble = "";
  @state() private busy = false;

  override connectedCallback(): void {
    super.connectedCallback();
    void this.attempt(async () => {});
  }

  override render(): TemplateResult {
    if (!this.networks) {
      return this.trouble
        ? (wrong(this.trouble) as TemplateResult)
        : html`<p role="status">Reading…</p>`;
    }
    return html`${wrong(this.trouble)} ${this.regions(this.networks)} ${this.ratings()}
    ${this.subjects()}`;
  }

  private regions(networks: readonly Network[]): TemplateResult {
    const lines = networks.map(({ cidr, region, refused }) => ({
      key: cidr,
      told: refused ? "refused" : region,
      remove: () => removeNetwork(cidr),
    }));
    return html`<section class="card">
      <h2>Regions</h2>
      <p class="soft">Where clients of a network are; of several that fit the narrowest counts.</p>
      ${this.lines(lines, "Every client is nowhere in particular.")}
      <form
        @submit=${(event: SubmitEvent) =>
          this.add(event, (form) =>
            putNetwork({
              cidr: field(form, "cidr"),
              region: field(form, "region"),
              refused: field(form, "refused") === "on",
            }),
          )}
      >
        <div class="two">
          <label>Network <input name="cidr" required placeholder="198.51.100.0/24" /></label>
          <label>Region <input name="region" placeholder="eu" /></label>
        </div>
        <label class="tick"><input type="checkbox" name="refused" /> Serve nobody there</label>
        <div><button class="press small" ?disabled=${this.busy}>Add</button></div>
      </form>
    </section>`;
  }

  private ratings(): TemplateResult {
    const lines = this.levels.map(({ code, name, min_age: age }) => ({
      key: code,
      told: [name, age ? `from ${age} years` : ""].filter(Boolean).join(", "),
      remove: () => removeLevel(code),
    }));
    return html`<section class="card">
      <h2>Ratings</h2>
      <p class="soft">For whom titles are.</p>
      ${this.lines(lines, "None yet.")}
      <form
        @submit=${(event: SubmitEvent) =>
          this.add(event, (form) =>
            putLevel({
              code: field(form, "code"),
              name: field(form, "name"),
              min_age: Number(field(form, "age")),
            }),
          )}
      >
        <div class="two">
          <label>Code <input name="code" required placeholder="12" /></label>
          <label>Name <input name="name" placeholder="From 12 years" /></label>
          <label>Years <input name="age" type="number" min="0" max="99" value="0" /></label>
        </div>
        <div><button class="press small" ?disabled=${this.busy}>Add</button></div>
      </form>
    </section>`;
  }

  private subjects(): TemplateResult {
    const lines = this.classes.map(({ code, name }) => ({
      key: code,
      told: name,
      remove: () => removeClass(code),
    }));
    return html`<section class="card">
      <h2>Subjects</h2>
      <p class="soft">What titles are about.</p>
      ${this.lines(lines, "None yet.")}
      <form
        @submit=${(event: SubmitEvent) =>
          this.add(event, (form) =>
            putClass({ code: field(form, "code"), name: field(form, "name") }),
          )}
      >
        <div class="two">
          <label>Code <input name="code" required placeholder="lecture" /></label>
          <label>Name <input name="name" placeholder="Lectures" /></label>
        </div>
        <div><button class="press small" ?disabled=${this.busy}>Add</button></div>
      </form>
    </section>`;
  }

  private lines(lines: readonly Line[], none: string): TemplateResult {
    if (!lines.length) return html`<p class="soft">${none}</p>`;
    return html`<ul class="files">
      ${lines.map(
        ({ key, told, remove }) => html`<li>
          <span><strong>${key}</strong> ${told ? html`<span class="soft">${told}</span>` : nothing}</span>
          <button
            class="press small danger"
            aria-label=${`Remove ${key}`}
            ?disabled=${this.busy}
            @click=${() => void this.attempt(remove)}
          >
            Remove
          </button>
        </li>`,
      )}
    </ul>`;
  }

  private readonly add = (
    event: SubmitEvent,
    put: (form: HTMLFormElement) => Promise<unknown>,
  ): void => {
    event.preventDefault();
    const form = event.target as HTMLFormElement;
    void this.attempt(async () => {
      await put(form);
      form.reset();
    });
  };

  /** Does something, then shows what is. */
  private async attempt(run: () => Promise<unknown>): Promise<void> {
    this.busy = true;
    this.trouble = "";
    try {
      await run();
      [this.networks, this.levels, this.classes] = await Promise.all([
        listNetworks(),
        listLevels(),
        listClasses(),
      ]);
    } catch (error) {
      this.trouble = explain(error);
    }
    this.busy = false;
  }
}
