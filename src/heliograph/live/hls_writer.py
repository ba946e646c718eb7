"""From what a tap gives to one rendition: which times its units have."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from heliograph.model.media import Kind, Track
from heliograph.plane.types import TapFlag, TapItem
from heliograph.protocols.hls import Rendition, Timing, gaps_of, reorder_depth, usual
from heliograph.protocols.mp4 import TimedUnit

#: Microseconds before the first unit at which the clock of the files is 0: reordered pictures are
#: decoded before they are shown.
MARGIN = 10_000_000
#: Distance of units before it is known, microseconds.
GAP = 40_000
#: Units of the leading track by which the distance of pictures and their order are learnt.
LEARN_UNITS = 17


@dataclass(slots=True)
class Rhythm:
    """What is known of the units of a channel; shared by all its renditions."""

    origin: int | None = None
    """Where the clock of the files is 0, microseconds since 1970."""
    gap: int = 0
    """Usual distance of the leading track's units, microseconds."""
    depth: int = 0
    """Pictures by which they are reordered."""

    def learn(self, shown: Sequence[int], kind: Kind) -> None:
        """By the times (microseconds) of some units of the leading track."""
        self.depth = reorder_depth(shown) if kind is Kind.VIDEO else 0
        self.gap = usual(gaps_of(shown), GAP)


class Writer:
    """Gives a rendition its units; the first of its tracks leads."""

    def __init__(self, rendition: Rendition, tracks: Sequence[Track], rhythm: Rhythm) -> None:
        self.rendition = rendition
        """What is written."""
        self.tracks = tuple(tracks)
        """What it is made of."""
        self.now = 0.0
        """Seconds of its media."""
        self._rhythm = rhythm
        self._timings: dict[int, Timing] = {}
        self._ahead = 0  # µs by which key units are decoded before they are shown
        self._lately: deque[int] = deque(maxlen=LEARN_UNITS)

    @property
    def gap(self) -> int:
        """Usual distance of the leading track's units lately, microseconds."""
        return usual(gaps_of(self._lately), self._rhythm.gap)

    def restart(self, tracks: Sequence[Track] | None = None) -> None:
        """Another source, or other tracks: what comes next follows a discontinuity."""
        self.rendition.restart(tracks)
        self.tracks = self.tracks if tracks is None else tuple(tracks)
        self._timings.clear()

    def interrupt(self, time: int) -> None:
        """Another source, whose first unit is presented at ``time`` (microseconds since 1970), for
        the renditions beside it as well."""
        if self._rhythm.origin is not None:
            self.rendition.interrupt((time - self._rhythm.origin) / 1e6)
        self._timings.clear()

    def push(self, item: TapItem) -> bool:
        """Take a unit of one of the tracks; whether a part is new."""
        rhythm = self._rhythm
        track = next(track for track in self.tracks if track.id == item.track)
        if rhythm.origin is None:
            rhythm.origin = item.time - MARGIN
        timing = self._timings.get(track.id)
        if timing is None:
            gap = round(rhythm.gap * track.clock_rate / 1e6)
            depth = rhythm.depth if track.kind is Kind.VIDEO else None
            timing = Timing(track.clock_rate, rhythm.origin, item.time, gap=gap, depth=depth)
            self._timings[track.id] = timing
        decoded, shown = timing.times(item.time)
        lead = track is self.tracks[0]
        key = track.kind is not Kind.VIDEO or bool(item.flags & TapFlag.KEYFRAME)
        if lead:
            self.now = decoded / track.clock_rate
            self._lately.append(item.time)
            if key:
                self._ahead = round((shown - decoded) * 1e6 / track.clock_rate)
        wall = rhythm.origin + round(decoded * 1e6 / track.clock_rate) + self._ahead
        unit = TimedUnit(track.id, decoded, shown, key, item.data)
        return bool(self.rendition.push(unit, wall))
