import { html, type TemplateResult } from "lit";
import { dividable, QUALITIES, SIZES, type Size } from "./quality";
import { NONE, type Studio } from "./studio";

/** What is sent: camera, microphone, size of the picture. */
export function deviceFields(studio: Studio): TemplateResult {
  const { camera, microphone, size, source, smaller } = studio.chosen;
  const value = (event: Event): string => (event.target as HTMLSelectElement).value;
  const { cameras, microphones } = studio.devices;
  return html`<div class="fields">
    <label
      >Camera
      <select
        data-value=${used(cameras, camera, studio.video)}
        @change=${(event: Event) => void studio.chooseCamera(value(event))}
      >
        ${options(cameras, "Camera", "No picture")}
      </select>
    </label>
    <label
      >Microphone
      <select
        data-value=${used(microphones, microphone, studio.audio)}
        @change=${(event: Event) => void studio.chooseMicrophone(value(event))}
      >
        ${options(microphones, "Microphone", "No sound")}
      </select>
    </label>
    <label
      >Picture
      <select
        data-value=${size}
        @change=${(event: Event) => void studio.chooseSize(value(event) as Size)}
      >
        ${SIZES.map((one) => html`<option value=${one}>${QUALITIES[one].name}</option>`)}
      </select>
    </label>
    <label class="tick">
      <input
        type="checkbox"
        .checked=${smaller}
        ?disabled=${!dividable(size, source)}
        @change=${(event: Event) =>
          void studio.chooseSmaller((event.target as HTMLInputElement).checked)}
      />
      <span
        >Half the size, too
        <small class="hint">For viewers on slow lines; more work for this computer.</small></span
      >
    </label>
  </div>`;
}

/** Browsers give ids and names after a permission only. */
const known = (devices: readonly MediaDeviceInfo[]): readonly MediaDeviceInfo[] =>
  devices.filter((device) => device.deviceId);

/** Which of the options is in use. */
function used(
  devices: readonly MediaDeviceInfo[],
  chosen: string,
  track: MediaStreamTrack | null,
): string {
  if (chosen === NONE || known(devices).length === 0) return chosen === NONE ? NONE : "";
  const ids = devices.map((device) => device.deviceId);
  const wanted = chosen || track?.getSettings().deviceId || "";
  return ids.includes(wanted) ? wanted : (ids[0] ?? "");
}

function options(devices: readonly MediaDeviceInfo[], what: string, none: string): TemplateResult {
  const named = known(devices);
  return html`
    ${
      named.length
        ? named.map(
            (device, i) =>
              html`<option value=${device.deviceId}>${device.label || `${what} ${i + 1}`}</option>`,
          )
        : html`<option value="">${what}</option>`
    }
    <option value=${NONE}>${none}</option>
  `;
}
