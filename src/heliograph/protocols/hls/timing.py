"""Decoding times out of presentation times: RTP tells when to show a unit, files also when to
decode it.

Units come in decoding order. Where pictures are reordered (B-frames), the n-th unit is decoded at
the n-th smallest presentation time, moved back by as many pictures as the reordering is deep; so
decoding times rise, and none is after its presentation time. The depth is learnt from the first
units and kept; where it turns out too small it grows.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from statistics import median

#: Pictures that may be shown after one that is decoded later (H.264 and H.265: 16).
MAX_DEPTH = 16


def reorder_depth(times: Sequence[int]) -> int:
    """How many units at most come before one that is shown before them, 0–``MAX_DEPTH``."""
    deepest = 0
    for at, time in enumerate(times):
        earlier = times[max(0, at - 2 * MAX_DEPTH) : at]
        deepest = max(deepest, sum(other > time for other in earlier))
    return min(deepest, MAX_DEPTH)


def gaps_of(times: Sequence[int]) -> list[int]:
    """Distances between units in the order they are shown."""
    ordered = sorted(times)
    return [after - before for before, after in itertools.pairwise(ordered)]


class Timing:
    """Times of one track within one run of its clock, in units of that clock."""

    def __init__(
        self, clock_rate: int, origin: int, first: int, *, gap: int, depth: int | None = None
    ) -> None:
        """``origin``, ``first``: microseconds at which the clock is 0, and of the first unit.

        ``gap``: the usual distance of units; ``depth``: pictures of reordering, None for audio.
        """
        self.clock_rate = clock_rate
        """Units a second."""
        self.late = 0
        """Units whose presentation time was before what had been decoded already."""
        self.depth = depth
        """Pictures by which decoding is ahead."""
        self._gap = gap
        self._first = first
        self._start = round((first - origin) * clock_rate / 1e6)
        self._waiting: list[int] = []  # a heap
        self._last: int | None = None
        self._begin(self._start)

    def _begin(self, shown: int) -> None:
        self._waiting = [shown - back * self._gap for back in range(self.depth or 0, 0, -1)]
        self._last = None

    def times(self, time: int) -> tuple[int, int]:
        """Decoding and presentation time of the next unit, presented at ``time`` (µs).

        Decoding times rise, unless the clock is set back by more than a second. All are counted
        from the first unit, so that rounding does not make steady streams unsteady.
        """
        shown = self._start + round((time - self._first) * self.clock_rate / 1e6)
        if self._last is not None and shown <= self._last:
            self.late += 1
            if shown < self._last - self.clock_rate:
                self._begin(shown)
            else:  # deeper reordering than known, or the clock was set back a little
                if self.depth is not None and self.depth < MAX_DEPTH:
                    self.depth += 1
                    heapq.heappush(self._waiting, shown)
                self._last += 1
                return self._last, shown
        decoded = heapq.heappushpop(self._waiting, shown)
        if self._last is not None and decoded <= self._last:
            decoded = self._last + 1
        self._last = decoded
        return decoded, shown


def usual(gaps: Sequence[int], otherwise: int) -> int:
    """The usual one of some distances."""
    found = [gap for gap in gaps if gap > 0]
    return round(median(found)) if found else otherwise
