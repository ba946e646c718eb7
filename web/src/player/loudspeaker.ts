/** Sound of a video element, where browsers want a gesture before they let it out. */

export class Loudspeaker {
  private muted = false;
  private blocked = false;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly tell: (blocked: boolean) => void,
  ) {}

  setVolume(volume: number, muted: boolean): void {
    this.muted = muted;
    // Ears are logarithmic.
    this.video.volume = volume ** 2;
    this.video.muted = muted || this.blocked;
  }

  /** Whether sound is allowed is tried anew. */
  reset(): void {
    this.blocked = false;
    this.video.muted = this.muted;
  }

  /** To be called from a gesture. */
  async allow(): Promise<void> {
    if (!this.blocked) return;
    this.setBlocked(false);
    this.video.muted = this.muted;
    await this.play();
  }

  async play(): Promise<void> {
    try {
      await this.video.play();
    } catch (error) {
      // Without a gesture browsers play silent video only.
      if (!(error instanceof DOMException) || error.name !== "NotAllowedError") return;
      if (this.video.muted) return;
      this.setBlocked(true);
      this.video.muted = true;
      await this.video.play().catch(() => undefined);
    }
  }

  private setBlocked(blocked: boolean): void {
    this.blocked = blocked;
    this.tell(blocked);
  }
}
