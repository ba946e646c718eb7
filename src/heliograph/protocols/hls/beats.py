"""Where the segments of several renditions of one channel begin: together, under the same numbers.

Each rendition has keyframes of its own, a few pictures apart at worst, and some have none for a
while. The first rendition that begins a number says when the next one may begin; each then cuts at
its first keyframe from there on, or without one when it would be too late. Where times or a format
start anew all renditions get the same discontinuity.
"""

from __future__ import annotations

import bisect
from collections import deque

from heliograph.protocols.hls.segmenter import EARLY, Targets

#: Seconds by which renditions may differ about one instant: reports of clocks are so exact, and two
#: pictures are not so near.
TOLERANCE = 0.010
#: The share of the time between two segments for which a keyframe is waited for: below one, so that
#: nobody begins a number as late as others the next.
PATIENCE = 0.75
#: Numbers whose times are remembered: renditions are a segment apart, and seldom some more.
KEPT = 16
#: Discontinuities that are remembered one by one; lists are not that long (``MAX_SEGMENTS``).
MAX_BREAKS = 1000


class Beats:
    """What the segmenters of a channel's renditions agree on. Times are seconds of their media."""

    def __init__(self, targets: Targets) -> None:
        self.latest = -1
        """The newest number that a rendition has begun."""
        self.broken = 0
        """Discontinuities so far."""
        self._step = EARLY * targets.segment
        self._patience = PATIENCE * self._step
        self._from: dict[int, float] = {}
        self._begun: dict[int, float] = {}
        self._breaks: deque[int] = deque(maxlen=MAX_BREAKS)

    def begin(self, number: int, time: float) -> None:
        """A rendition begins a segment."""
        if number <= self.latest:
            return
        self.latest = number
        self._begun[number] = time
        self._from[number + 1] = time + self._step
        for kept in (self._from, self._begun):
            while len(kept) > KEPT:
                del kept[next(iter(kept))]

    def interrupt(self, time: float) -> int:
        """Times or a format start anew here; the number of the segment that begins so."""
        number = self.latest + 1
        if number and not self.is_break(number):
            self.broken += 1
            self._breaks.append(number)
            self._from[number] = time
        return number

    def due(self, number: int) -> float | None:
        """From when on a number may begin, if that is known."""
        return self._from.get(number)

    def number(self, time: float, *, begun: bool = False) -> int:
        """The newest number that may begin at a time, or that another rendition has ``begun`` by
        then; -1 where there is none."""
        known = self._begun if begun else self._from
        return max((n for n, at in known.items() if at <= time + TOLERANCE), default=-1)

    def late(self, number: int, time: float) -> bool:
        """Whether a number has to begin now, if without a keyframe."""
        at = self._from.get(number)
        return at is not None and time >= at + self._patience

    def is_break(self, number: int) -> bool:
        """Whether a discontinuity is before this segment."""
        at = bisect.bisect_left(self._breaks, number)
        return at < len(self._breaks) and self._breaks[at] == number

    def breaks_before(self, number: int) -> int:
        """How many discontinuities are before the segments below this number."""
        return self.broken - (len(self._breaks) - bisect.bisect_left(self._breaks, number))

    def awaited(self, number: int, time: float) -> bool:
        """Whether a discontinuity after this number is waited for already at that time."""
        later = self._breaks[-1] if self._breaks else -1
        at = self._from.get(later)
        return later > number and (at is None or at <= time + TOLERANCE)
