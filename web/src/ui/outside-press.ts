import type { ReactiveController, ReactiveControllerHost } from "lit";

/** Tells of each press outside its host while that is on the page; menus close then. */
export class OutsidePress implements ReactiveController {
  constructor(
    private readonly host: ReactiveControllerHost & EventTarget,
    private readonly pressed: () => void,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    document.addEventListener("pointerdown", this.heard);
  }

  hostDisconnected(): void {
    document.removeEventListener("pointerdown", this.heard);
  }

  private readonly heard = (event: Event): void => {
    // Out here the target is whatever holds the shadow that was pressed in; the path has all of them.
    if (!event.composedPath().includes(this.host)) this.pressed();
  };
}
