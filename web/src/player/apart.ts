/** The pictures of a canvas as a video, since browsers let only videos leave the page. */

/** A track that single pictures are written to (W3C MediaStreamTrack Insertable Media Processing). */
type Generator = MediaStreamTrack & { readonly writable: WritableStream<VideoFrame> };
type Making = new (init: { kind: "video" }) => Generator;

const making = (): Making | undefined =>
  (globalThis as { MediaStreamTrackGenerator?: Making }).MediaStreamTrackGenerator;

export class Apart {
  private track: Generator | null = null;
  private writer: WritableStreamDefaultWriter<VideoFrame> | null = null;

  /** @param ended the video is back in the page */
  constructor(
    private readonly video: HTMLVideoElement,
    private readonly ended: () => void,
  ) {}

  /**
   * Whether this browser makes videos of pictures. A capture of the canvas does not do: a canvas is
   * not drawn while its page is hidden, which is when people want the picture beside it.
   */
  static get able(): boolean {
    return making() !== undefined;
  }

  /** Whether pictures are wanted. */
  get on(): boolean {
    return this.writer !== null;
  }

  /** Begin with the picture on the canvas, so that the video is ready to leave. */
  async begin(canvas: HTMLCanvasElement): Promise<void> {
    const Making = making();
    if (this.on || !Making) return;
    this.track = new Making({ kind: "video" });
    this.writer = this.track.writable.getWriter();
    this.video.muted = true;
    this.video.srcObject = new MediaStream([this.track]);
    this.video.addEventListener("leavepictureinpicture", () => this.end(), { once: true });
    const ready = this.video.play();
    try {
      this.show(new VideoFrame(canvas, { timestamp: performance.now() * 1000 }));
    } catch (error) {
      ready.catch(() => undefined); // nothing comes that it could begin with
      this.end();
      throw error;
    }
    await ready;
  }

  /** Show a picture, which is this object's from now on. */
  show(picture: VideoFrame): void {
    // One that is late already is not worth a queue.
    if (!this.writer || (this.writer.desiredSize ?? 0) <= 0) picture.close();
    else this.writer.write(picture).catch(() => picture.close());
  }

  end(): void {
    if (!this.on) return;
    this.writer?.releaseLock();
    this.writer = null;
    this.track?.stop();
    this.track = null;
    this.video.srcObject = null;
    this.ended();
  }
}
