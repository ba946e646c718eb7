"""Chromium's fake camera, told by what a viewer's page shows of it.

It draws a circle on green that fills like a clock, by 12° a picture, from nothing to full and anew:
its angle is a counter modulo 30. What it takes for a screen looks the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

from .chromium import Tab
from .program import wait_until

#: Places on the circle that are looked at, 6° apart.
_PLACES = 60

#: Notes what the player shows whenever that changes, for so many ms: size, colours of the ground,
#: the places on the circle that are filled.
_LOOK = """
async ([places, duration]) => {
  const player = document.querySelector("helio-watch").shadowRoot.querySelector("helio-player");
  const [width, height] = [320, 180];
  const small = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  const read = () => {
    const shown = player.shadowRoot.querySelector("video:not(.unseen), canvas:not(.unseen)");
    const size = [shown?.videoWidth ?? shown?.width ?? 0, shown?.videoHeight ?? shown?.height ?? 0];
    if (!size[0] || !size[1]) return null;
    small.drawImage(shown, 0, 0, width, height);
    const { data } = small.getImageData(0, 0, width, height);
    const at = (x, y) => [...data.slice((Math.round(y) * width + Math.round(x)) * 4).slice(0, 3)];
    const ground = [[50, 90], [270, 90], [160, 16], [160, 164]].map(([x, y]) => at(x, y));
    let ring = "";
    for (let i = 0; i < places; i++) {
      const angle = ((i + 0.5) * 2 * Math.PI) / places;
      ring += at(160 + 28 * Math.cos(angle), 90 + 28 * Math.sin(angle))[1] > 190 ? "1" : "0";
    }
    return [size, ground, ring];
  };
  const seen = [];
  let last = "";
  for (const begin = performance.now(); performance.now() - begin < duration; ) {
    await new Promise((next) => requestAnimationFrame(next));
    const found = read();
    const text = JSON.stringify(found);
    if (!found || text === last) continue;
    last = text;
    seen.push(found);
  }
  return seen;
}
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture on a viewer's page."""

    size: tuple[int, int]
    """Width and height of what was decoded."""
    ground: tuple[tuple[int, int, int], ...]
    """Colours at four places beside the circle."""
    ring: str
    """A 1 for each place on the circle that is filled."""

    @property
    def camera(self) -> bool:
        """Whether the camera made it."""
        green = all(90 < g < 190 and max(r, b) < 60 for r, g, b in self.ground)
        edges = sum(a != b for a, b in zip(self.ring, self.ring[1:] + self.ring[0], strict=True))
        return green and edges in {0, 2}

    @property
    def black(self) -> bool:
        """Whether nothing is to be seen on it."""
        return all(max(colour) < 40 for colour in self.ground) and "1" not in self.ring

    @property
    def counter(self) -> int:
        """What the circle counts to, 0 to 30."""
        return round(self.ring.count("1") * 360 / _PLACES / 12)


def look(tab: Tab, seconds: float = 1.0) -> list[Shown]:
    """The different pictures that the player on the watch page shows meanwhile, in order."""
    found = tab.evaluate(_LOOK, [_PLACES, seconds * 1000])
    return [
        Shown((size[0], size[1]), tuple((r, g, b) for r, g, b in ground), ring)
        for size, ground, ring in found
    ]


def until_moving(
    tab: Tab, seconds: float, what: str, right: Callable[[int, int], bool] = lambda *_: True
) -> None:
    """Wait until the page shows the camera's pictures, of the ``right`` size, and they move."""

    def see() -> bool:
        seen = look(tab)
        return moves(seen) and all(right(*one.size) for one in seen)

    try:
        wait_until(see, seconds, f"moving pictures, {what}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {look(tab)} {tab.text[-500:]}") from None


def moves(seen: list[Shown]) -> bool:
    """Whether the camera's counter counts, forward: round and round, never back."""
    counts = [one.counter for one in seen]
    steps = [(b - a) % 30 for a, b in itertools.pairwise(counts) if a != b]
    return all(one.camera for one in seen) and len(steps) >= 3 and all(step < 25 for step in steps)
