"""What a person sees and hears on the watch page, by whatever way it comes, with the time of it."""

from __future__ import annotations

import itertools
from typing import Any

from .chromium import Tab
from .clip import make
from .program import wait_until

#: Notes when the number in the picture changes, and five times a second what was heard.
_LOOK = """
([blocks, codeRows, height]) => {
  const eye = (window.eye = { seen: [], heard: [], ways: [] });
  const strip = new OffscreenCanvas(blocks, 1).getContext("2d", { willReadFrequently: true });
  strip.imageSmoothingEnabled = false;
  const find = () => document.querySelector("helio-watch")?.shadowRoot
    ?.querySelector("helio-player");
  const look = () => {
    requestAnimationFrame(look);
    const player = find();
    const shown = player?.shadowRoot?.querySelector("video:not(.unseen), canvas:not(.unseen)");
    const width = shown?.videoWidth ?? shown?.width;
    const tall = shown?.videoHeight ?? shown?.height;
    if (!width || !tall) return;
    const rows = (tall * codeRows) / height;
    strip.drawImage(shown, 0, tall - rows / 2, width, 1, 0, 0, blocks, 1);
    const data = strip.getImageData(0, 0, blocks, 1).data;
    let [number, check] = [0, 0];
    for (let i = 0; i < blocks / 2; i++) number = number * 2 + (data[i * 4] >= 128 ? 1 : 0);
    for (let i = blocks / 2; i < blocks; i++) check = check * 2 + (data[i * 4] >= 128 ? 1 : 0);
    if ((number ^ check) !== 0xffff || number === eye.seen.at(-1)?.[1]) return;
    eye.seen.push([performance.now() / 1000, number]);
    if (player.dataset.way !== eye.ways.at(-1)) eye.ways.push(player.dataset.way);
  };
  look();
}
"""


class Eye:
    """Watches a tab that shows the watch page."""

    def __init__(self, tab: Tab) -> None:
        self.tab = tab
        tab.evaluate(_LOOK, [make.BLOCKS, make.CODE_ROWS, make.HEIGHT])

    @property
    def now(self) -> float:
        """The page's clock, s; it begins anew when the page is loaded."""
        now: float = self.tab.evaluate("() => performance.now() / 1000")
        return now

    def seen(self, since: float = 0.0) -> list[tuple[float, int]]:
        """When pictures were shown, and their numbers."""
        found: list[Any] = self.tab.evaluate("() => eye.seen")
        return [(at, number) for at, number in found if at >= since]

    @property
    def ways(self) -> list[str]:
        """By which ways pictures came, in order."""
        ways: list[str] = self.tab.evaluate("() => eye.ways")
        return ways

    def wait(self, count: int, seconds: float, since: float = 0.0) -> None:
        """Wait until so many pictures were shown."""
        try:
            wait_until(lambda: len(self.seen(since)) >= count, seconds, f"{count} pictures")
        except AssertionError as error:
            said = f"{len(self.seen(since))} seen by {self.ways}; {self.tab.text[-500:]}"
            raise AssertionError(f"{error}: {said}") from None

    def longest_stop(self, since: float) -> float:
        """Longest time without a new picture, s."""
        times = [since, *(at for at, _ in self.seen(since))]
        return max(b - a for a, b in itertools.pairwise(times))
