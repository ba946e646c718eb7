/** Cameras, microphones and screens as the browser gives them. */

import { contentHint, QUALITIES, type Size, videoConstraints } from "./quality";
import { deviceTrouble, noDevices, type Trouble } from "./words";

export interface Devices {
  readonly cameras: readonly MediaDeviceInfo[];
  readonly microphones: readonly MediaDeviceInfo[];
}

/** A device was refused; says why in words. */
export class DeviceError extends Error {
  constructor(readonly trouble: Trouble) {
    super(trouble.title);
    this.name = "DeviceError";
  }
}

const media = (): MediaDevices => {
  // Undefined on pages that are not secure, whatever the types say.
  const found = navigator.mediaDevices as MediaDevices | undefined;
  if (!found?.getUserMedia) throw new DeviceError(noDevices(window.isSecureContext, location.host));
  return found;
};

export async function listDevices(): Promise<Devices> {
  const all = await media().enumerateDevices();
  return {
    cameras: all.filter((device) => device.kind === "videoinput"),
    microphones: all.filter((device) => device.kind === "audioinput"),
  };
}

async function first(
  what: "camera" | "microphone" | "screen",
  ask: () => Promise<MediaStream>,
): Promise<MediaStreamTrack> {
  try {
    const [track] = (await ask()).getTracks();
    if (track) return track;
    throw new DOMException("no track", "NotFoundError");
  } catch (error) {
    if (error instanceof DeviceError) throw error;
    const name = error instanceof Error ? error.name : "";
    throw new DeviceError(deviceTrouble(name, what));
  }
}

export async function openCamera(size: Size, deviceId: string): Promise<MediaStreamTrack> {
  const track = await first("camera", () =>
    media().getUserMedia({ video: videoConstraints(size, deviceId) }),
  );
  track.contentHint = contentHint("camera");
  return track;
}

export const openMicrophone = (deviceId: string): Promise<MediaStreamTrack> =>
  first("microphone", () =>
    media().getUserMedia({
      audio: {
        echoCancellation: true,
        noiseSuppression: true,
        autoGainControl: true,
        ...(deviceId ? { deviceId: { exact: deviceId } } : {}),
      },
    }),
  );

export async function openScreen(size: Size): Promise<MediaStreamTrack> {
  const { width, height, fps } = QUALITIES[size];
  const track = await first("screen", () => {
    const devices = media();
    // Phones have no such function.
    if (!devices.getDisplayMedia) throw new DOMException("no screens", "NotFoundError");
    return devices.getDisplayMedia({
      video: { width: { max: width }, height: { max: height }, frameRate: { max: fps } },
    });
  });
  track.contentHint = contentHint("screen");
  return track;
}

export const canShareScreen = (): boolean =>
  typeof (navigator.mediaDevices as MediaDevices | undefined)?.getDisplayMedia === "function";

/** Whether camera and microphone were allowed before, so that asking shows no question. */
export async function allowedBefore(): Promise<boolean> {
  try {
    const names = ["camera", "microphone"] as PermissionName[];
    const found = await Promise.all(names.map((name) => navigator.permissions.query({ name })));
    return found.every((permission) => permission.state === "granted");
  } catch {
    return false;
  }
}
