/** What a person has in hand to go on air: devices, tracks, and the publisher that sends them. */

import type { SentFigures } from "../webrtc/figures";
import type { AirState } from "./air";
import {
  allowedBefore,
  DeviceError,
  type Devices,
  listDevices,
  openCamera,
  openMicrophone,
  openScreen,
} from "./devices";
import { LevelMeter } from "./level";
import { Publisher, type Sent } from "./publisher";
import { contentHint, type Size, type Source, videoConstraints } from "./quality";
import { deviceTrouble, type Trouble } from "./words";

/** What is chosen instead of a device. */
export const NONE = "none";

export interface Chosen {
  /** Device id, empty for the browser's own choice, or `NONE`. */
  readonly camera: string;
  readonly microphone: string;
  readonly source: Source;
  readonly size: Size;
  /** Whether half the size is wanted beside it. */
  readonly smaller: boolean;
}

/** Its public members are what the page shows; `changed` is called when any of them changes. */
export class Studio {
  preview: "unasked" | "asking" | "ready" = "unasked";
  chosen: Chosen = { camera: "", microphone: "", source: "camera", size: "720p", smaller: false };
  devices: Devices = { cameras: [], microphones: [] };
  trouble: Trouble | null = null;
  figures: SentFigures | null = null;
  muted = false;
  covered = false;
  video: MediaStreamTrack | null = null;
  audio: MediaStreamTrack | null = null;
  private readonly publisher: Publisher;
  private readonly meter: LevelMeter;
  private readonly relist = (): void => void this.list();

  constructor(
    channel: string,
    private readonly changed: () => void,
    level: (level: number) => void,
  ) {
    this.meter = new LevelMeter(level);
    this.publisher = new Publisher(channel, {
      state: (state) => {
        if (state !== "live") this.figures = null;
        this.changed();
      },
      trouble: (trouble) => this.tell(trouble),
      figures: (figures) => {
        this.figures = figures;
        this.changed();
      },
    });
  }

  get state(): AirState {
    return this.publisher.state;
  }

  get reconnects(): number {
    return this.publisher.reconnects;
  }

  /** Seconds since it went on air, null while off. */
  get liveSeconds(): number | null {
    const since = this.publisher.liveSince;
    return since === null ? null : (performance.now() - since) / 1000;
  }

  /** Show the preview at once where that asks no question. */
  async open(): Promise<void> {
    try {
      await listDevices();
      navigator.mediaDevices.addEventListener("devicechange", this.relist);
    } catch (error) {
      this.caught(error);
      return;
    }
    if (await allowedBefore()) await this.ask();
  }

  close(): void {
    this.publisher.stop();
    this.video?.stop();
    this.audio?.stop();
    this.meter.close();
    (navigator.mediaDevices as MediaDevices | undefined)?.removeEventListener(
      "devicechange",
      this.relist,
    );
  }

  wake(): void {
    this.meter.wake();
  }

  /** Open camera and microphone as chosen. One that is missing does not keep the other from it. */
  async ask(): Promise<void> {
    if (this.preview === "asking") return;
    this.preview = "asking";
    this.trouble = null;
    this.changed();
    const errors: unknown[] = [];
    const failed = (error: unknown) => errors.push(error);
    await this.askCamera().catch(failed);
    await this.askMicrophone().catch(failed);
    this.settle();
    if (errors.length) this.caught(errors[0]);
    await this.list();
  }

  private async askCamera(): Promise<void> {
    const { camera, size, source } = this.chosen;
    if (camera === NONE || source !== "camera" || this.video) return;
    const track = await openCamera(size, camera);
    // The person may have chosen something else while the browser asked.
    if (this.video || this.chosen.camera !== camera) track.stop();
    else {
      this.setVideo(track);
      if (this.chosen.size !== size) await this.resize();
    }
  }

  private async askMicrophone(): Promise<void> {
    const { microphone } = this.chosen;
    if (microphone === NONE || this.audio) return;
    const track = await openMicrophone(microphone);
    if (this.audio || this.chosen.microphone !== microphone) track.stop();
    else this.setAudio(track);
  }

  async start(key: string): Promise<void> {
    this.trouble = null;
    if (!this.video && !this.audio) await this.ask();
    if (!this.video && !this.audio) return;
    this.changed();
    await this.publisher.start(this.sent(), key);
  }

  stop(): void {
    this.publisher.stop();
  }

  retryNow(): void {
    this.publisher.retryNow();
  }

  dismiss(): void {
    this.trouble = null;
    this.changed();
  }

  async chooseCamera(camera: string): Promise<void> {
    await this.attempt(async () => {
      const track = camera === NONE ? null : await this.cameraTrack(camera);
      this.chosen = { ...this.chosen, camera, source: "camera" };
      this.setVideo(track);
    });
  }

  async chooseMicrophone(microphone: string): Promise<void> {
    await this.attempt(async () => {
      const track = microphone === NONE ? null : await openMicrophone(microphone);
      this.chosen = { ...this.chosen, microphone };
      this.setAudio(track);
    });
  }

  async shareScreen(): Promise<void> {
    await this.attempt(async () => {
      const track = await openScreen(this.chosen.size);
      this.chosen = { ...this.chosen, source: "screen" };
      this.setVideo(track);
    });
  }

  async leaveScreen(): Promise<void> {
    await this.chooseCamera(this.chosen.camera);
  }

  async chooseSize(size: Size): Promise<void> {
    this.chosen = { ...this.chosen, size };
    await this.attempt(() => this.resize());
  }

  private async resize(): Promise<void> {
    if (this.chosen.source !== "camera") return;
    const constraints = videoConstraints(this.chosen.size, "");
    await this.video?.applyConstraints(constraints).catch(() => undefined);
  }

  async chooseSmaller(smaller: boolean): Promise<void> {
    this.chosen = { ...this.chosen, smaller };
    await this.attempt(async () => undefined);
  }

  mute(muted = !this.muted): void {
    this.muted = muted;
    if (this.audio) this.audio.enabled = !muted;
    this.changed();
  }

  /** Black pictures instead of the camera's. */
  cover(covered = !this.covered): void {
    this.covered = covered;
    if (this.video) this.video.enabled = !covered;
    this.changed();
  }

  /** Some systems give a camera to one user at a time: free the old one first. */
  private async cameraTrack(camera: string): Promise<MediaStreamTrack> {
    if (this.chosen.source === "camera") this.video?.stop();
    return openCamera(this.chosen.size, camera);
  }

  private async attempt(act: () => Promise<void>): Promise<void> {
    this.trouble = null;
    try {
      await act();
      // The browser's question stays open whatever else is chosen: who starts now would lack a track.
      if (this.preview !== "asking") this.settle();
      await this.publisher.change(this.sent());
      await this.list();
    } catch (error) {
      this.caught(error);
    }
  }

  private settle(): void {
    this.preview = this.video || this.audio ? "ready" : "unasked";
  }

  private setVideo(track: MediaStreamTrack | null): void {
    if (this.video !== track) this.video?.stop();
    this.video = track;
    if (!track) return;
    track.enabled = !this.covered;
    track.contentHint = contentHint(this.chosen.source);
    track.onended = () => this.lostVideo(track);
  }

  private setAudio(track: MediaStreamTrack | null): void {
    if (this.audio !== track) this.audio?.stop();
    this.audio = track;
    this.meter.listen(track);
    if (!track) return;
    track.enabled = !this.muted;
    track.onended = () => {
      if (this.audio === track) this.tell(deviceTrouble("OverconstrainedError", "microphone"));
    };
  }

  /** Unplugged, taken away, or the person ended the sharing in the browser's own bar. */
  private lostVideo(track: MediaStreamTrack): void {
    if (this.video !== track) return;
    if (this.chosen.source === "screen") void this.leaveScreen();
    else this.tell(deviceTrouble("OverconstrainedError", "camera"));
  }

  private sent(): Sent {
    const { size, source, smaller } = this.chosen;
    return { video: this.video, audio: this.audio, size, source, smaller };
  }

  private async list(): Promise<void> {
    this.devices = await listDevices().catch(() => this.devices);
    this.changed();
  }

  private caught(error: unknown): void {
    if (error instanceof DeviceError) this.tell(error.trouble);
    else throw error;
  }

  private tell(trouble: Trouble): void {
    this.trouble = trouble;
    this.changed();
  }
}
