"""A viewer whose path becomes narrow and wide again, and another who is to notice nothing of it."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import sniff, webrtc
from .chromium import Chromium
from .clip import make
from .heliograph import Server
from .network import Network
from .program import Program, wait_until
from .watching import SAMPLE_RATE

PATIENCE = 30.0
#: A fifth of the clip's 1.3 Mbit/s.
NARROW_KBIT = 270
#: Seconds the path is narrow.
NARROW = 15.0
#: Seconds before, with which the other's arrivals are compared.
WIDE = 5.0
#: Seconds in which the picture is back once the path is wide again.
BACK = 5.0
#: Sound that is made up at a stretch and is not heard as a gap, s: packets repair 20 ms each.
GAP = 0.3
#: Least bytes of a datagram that may be of a picture.
PICTURE = 300
#: Datagrams of one frame come closer together than this, ms.
TOGETHER = 5.0

#: Counts ten times a second what was heard and seen.
_COUNT = """
() => {
  const counts = (window.counts = []);
  setInterval(async () => {
    const now = performance.now() / 1000;
    const found = {};
    for (const one of (await pc.getStats()).values())
      if (one.type === "inbound-rtp") found[one.kind] = one;
    counts.push([now, found.audio?.totalSamplesReceived ?? 0, found.audio?.concealedSamples ?? 0,
      found.video?.framesDecoded ?? 0]);
  }, 100);
}
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What a page had heard and seen until some moment."""

    at: float
    """By the page's clock, s."""
    heard: float
    """Samples played, those made up left out."""
    made_up: float
    """Samples made up, where packets were missing."""
    pictures: float
    """Pictures decoded."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What two viewers had of one narrowing."""

    pictures: float
    """That the viewer saw while his path was narrow."""
    silence: float
    """Longest time for which all of his sound was made up, s."""
    made_up: float
    """All of his sound that was made up, s."""
    back: float
    """From the path's return to his first picture, s."""
    before: tuple[float, ...]
    """The other's times between frames while all was wide, ms, ascending."""
    during: tuple[float, ...]
    """The same while the viewer's path was narrow."""
    others_pictures: float
    """That the other saw all the while."""

    def __str__(self) -> str:
        told = [
            tuple(round(share(of, part), 1) for part in (0.5, 0.95, 1.0))
            for of in (self.before, self.during)
        ]
        return (
            f"{self.pictures:.0f} pictures in {NARROW:g} s, longest silence {self.silence:.2f} s, "
            f"{self.made_up:.2f} s of sound made up, picture back after {self.back:.2f} s; "
            f"the other: {self.others_pictures:.0f} pictures, "
            f"ms between frames p50, p95, longest: {told}"
        )


class Viewers:
    """Two browsers that watch a channel by WebRTC, each in a network of its own."""

    def __init__(self, server: Server, links: Network, channel: str, directory: Path) -> None:
        self._path, other = links.join(), links.join()
        self._browsers = [
            Chromium(namespace=peer.name, directory=directory) for peer in (self._path, other)
        ]
        self._listener = Program(
            "sniff",
            [sys.executable, "-P", str(Path(sniff.__file__)), "eth0", str(PICTURE)],
            directory,
            namespace=other.name,
        )
        self._peers = [webrtc.watch(browser, server, channel) for browser in self._browsers]
        for peer in self._peers:
            peer.wait_frames(3 * make.RATE, PATIENCE)
            peer.tab.evaluate(_COUNT)

    def narrow(self) -> Narrowed:
        """Narrow the path of one for a while, and wait until his picture is back."""
        viewer, other = self._peers
        others_begun = _now(other)
        time.sleep(WIDE)
        wide_ms = time.time() * 1000
        begun = _now(viewer)
        self._path.narrow(NARROW_KBIT)
        try:
            time.sleep(NARROW)
        finally:
            self._path.widen()
        widened, narrow_ms = _now(viewer), time.time() * 1000

        def is_back() -> Any:
            rows = _rows(viewer, widened)
            return rows and rows[-1].pictures - rows[0].pictures >= make.RATE

        wait_until(is_back, PATIENCE, "the picture is back")
        rows = _rows(viewer, begun)
        during = [row for row in rows if row.at <= widened]
        seen = during[-1].pictures
        back = next(row.at for row in rows if row.at > widened and row.pictures > seen)
        others = _rows(other, others_begun)
        log = self._listener.log
        return Narrowed(
            pictures=seen - rows[0].pictures,
            silence=longest_silence(rows),
            made_up=(rows[-1].made_up - rows[0].made_up) / SAMPLE_RATE,
            back=back - widened,
            before=frame_times(log, wide_ms - WIDE * 1000, wide_ms),
            during=frame_times(log, wide_ms, narrow_ms),
            others_pictures=others[-1].pictures - others[0].pictures,
        )

    def stop(self) -> None:
        """Close the browsers."""
        self._listener.stop()
        for browser in self._browsers:
            browser.stop()


def share(values: tuple[float, ...], part: float) -> float:
    """Value below which that part of ascending values lies."""
    return values[min(int(len(values) * part), len(values) - 1)]


def _rows(peer: webrtc.Peer, since: float) -> list[Row]:
    found: list[list[float]] = peer.tab.evaluate("() => counts")
    return [
        Row(at, samples - made_up, made_up, pictures)
        for at, samples, made_up, pictures in found
        if at >= since
    ]


def _now(peer: webrtc.Peer) -> float:
    value: float = peer.tab.evaluate("() => performance.now() / 1000")
    return value


def longest_silence(rows: list[Row]) -> float:
    """Longest time for which all samples were made up, s."""
    longest = silent = 0.0
    for before, after in itertools.pairwise(rows):
        silent = silent + after.at - before.at if after.heard <= before.heard else 0.0
        longest = max(longest, silent)
    return longest


def frame_times(log: str, begin: float, end: float) -> tuple[float, ...]:
    """Times between frames that came from ``begin`` to ``end``, ms, ascending."""
    times = [float(line) for line in log.splitlines() if line]
    times = [at for at in times if begin <= at <= end]
    steps = (b - a for a, b in itertools.pairwise(times))
    return tuple(sorted(step for step in steps if step > TOGETHER))
