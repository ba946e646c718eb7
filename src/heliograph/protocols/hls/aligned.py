"""The cuts of a rendition that keeps step with others of its channel (see ``beats``)."""

from __future__ import annotations

from collections.abc import Sequence

from heliograph.model.media import Kind, Track
from heliograph.protocols.hls.beats import Beats
from heliograph.protocols.hls.segmenter import LEAST, Part, Segmenter, Targets
from heliograph.protocols.mp4.units import TimedUnit


class AlignedSegmenter(Segmenter):
    """Begins segments where the others do, or soon after; numbers may be left out."""

    def __init__(self, tracks: Sequence[Track], targets: Targets, beats: Beats) -> None:
        """Raises ``ValueError`` without a track."""
        super().__init__(tracks, targets)
        self._beats = beats
        # Sound can begin anywhere, so it begins where a picture did.
        self._follows = all(track.kind is not Kind.VIDEO for track in tracks)

    @property
    def msn(self) -> int:
        """Number of the segment at hand, or of the last one; -1 before the first."""
        return self._msn

    def interrupt(self, time: float) -> list[Part]:
        """End the segment: times or the format start anew at ``time``, for the others as well."""
        if self._msn >= 0 and not self._beats.awaited(self._msn, time):
            self._beats.interrupt(time)
        return self._break(None)

    def skip(self, number: int) -> list[Part]:
        """Nothing comes: end the segment, and leave out those up to this number."""
        found = self._break(None)
        self._msn = max(self._msn, number)
        return found

    def _start(self, unit: TimedUnit) -> None:
        if not unit.key or (self._follows and self._beats.latest < 0):
            self.dropped += 1
            return
        time = unit.dts / self._rate
        number = self._beats.number(time, begun=self._follows)
        self._open(max(self._msn + 1, number), time)
        self._begun = self._last = unit.dts
        self._keys = True
        self._units = [unit]

    def _open(self, number: int, time: float) -> None:
        self._msn = number
        self._index, self._spent = 0, 0.0
        self._discontinuity = self._beats.is_break(number)
        self._beats.begin(number, time)

    def _break(self, unit: TimedUnit | None) -> list[Part]:
        if unit is not None and self._begun is not None:
            time = unit.dts / self._rate
            if self._beats.number(time) <= self._msn:  # back in time: all begin anew
                self._beats.interrupt(time)
        found = super()._break(None)
        if unit is not None:
            self._start(unit)
        return found

    def _cut(self, unit: TimedUnit) -> list[Part]:
        assert self._begun is not None
        part, lasts = self.targets.part, (unit.dts - self._begun) / self._rate
        if lasts <= 0:
            return []
        time = unit.dts / self._rate
        number = self._beats.number(time, begun=self._follows)
        late = self._beats.late(self._msn + 1, time)
        full = lasts + self._gap / self._rate > part + 1e-6
        last = (number > self._msn and unit.key) or late
        if not (last or full):
            return []
        spent = self._spent + min(lasts, part)
        last = last or spent + part > self.targets.duration
        if lasts < LEAST * part - 1e-6 and not last:
            self.short += 1
        found = self._finish(unit.dts, {self._lead: unit.dts}, last=last)
        self._begun = unit.dts
        if last:
            self._open(max(self._msn + 1, number), time)
        return [found]
