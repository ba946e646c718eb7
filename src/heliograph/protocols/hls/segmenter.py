"""Where parts and segments begin (draft-ietf-hls-rfc8216bis §4.4.3.7, §4.4.4.9, §6.2.2).

A part lasts at most the part target and at least 85 % of it, the last of a segment excepted; a
segment begins with a keyframe if one comes in time, and never lasts longer than the target
duration. The tracks' own times decide, nothing else: the same units give the same cuts on every
machine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from heliograph.model.media import Kind, Track
from heliograph.protocols.mp4.units import TimedUnit

#: §4.4.4.9: the share of the part target that a part must last.
LEAST = 0.85
#: The share of the wished duration at which a keyframe may begin the next segment: encoders place
#: keyframes a frame early or late, and times are rounded.
EARLY = 0.9
#: Units of one part; 1 000 a second of both kinds are more than anybody sends in 1 s parts.
MAX_UNITS = 4096


@dataclass(frozen=True, slots=True)
class Targets:
    """What the cuts aim at, in seconds. They stay as they are while a playlist lives."""

    part: float = 0.2
    """PART-TARGET: the longest part; see ``part_target``."""
    segment: float = 2.0
    """The wished length of a segment."""
    duration: int = 4
    """TARGETDURATION: the longest segment."""

    def __post_init__(self) -> None:
        if not 0.05 <= self.part <= self.segment or self.duration < self.segment + self.part:
            raise ValueError(f"{self} (part ≤ segment, segment + part ≤ duration)")


def part_target(wished: float, gaps: Sequence[float]) -> float:
    """A part target near ``wished`` that frames coming at such ``gaps`` (seconds) can keep.

    A part is a whole number of frames, so that not every target can be kept within 85 %: at 24
    frames a second 200 ms is between four and five. Frames that come irregularly need a target long
    enough for any gap to fit into its last 15 %. In whole milliseconds, rounded up.
    """
    gaps = [gap for gap in gaps if gap > 0]
    if not gaps:
        return wished
    count = max(1, round(wished / median(gaps)))
    sums = [sum(gaps[at : at + count]) for at in range(max(1, len(gaps) - count + 1))]
    target = max(sums) + 0.001
    if min(sums) < LEAST * target:
        target = max(wished, max(gaps) / (1 - LEAST))
    return math.ceil(target * 1000) / 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One finished part."""

    msn: int
    """Media sequence number of its segment, from 0 on."""
    index: int
    """Place within the segment, from 0 on."""
    duration: float
    """Seconds, as playlists say; never above the part target."""
    start: float
    """Seconds of the leading track's time at which it begins."""
    independent: bool
    """Whether decoding can begin within it."""
    last: bool
    """Whether the segment ends with it."""
    discontinuity: bool
    """Whether times or format start anew with its segment; only said by part 0."""
    units: tuple[TimedUnit, ...] = field(repr=False)
    """What is in it, in the order it came."""
    following: Mapping[int, int] = field(repr=False)
    """Decoding time of the next unit of the leading track, for the muxer; empty if unknown."""


def _chosen(tracks: Sequence[Track]) -> tuple[int, int, frozenset[int]]:
    """Id and clock of the leading track, and the ids of all."""
    if not tracks:
        raise ValueError("no tracks")
    lead = next((track for track in tracks if track.kind is Kind.VIDEO), tracks[0])
    return lead.id, lead.clock_rate, frozenset(track.id for track in tracks)


class Segmenter:
    """Takes units, gives finished parts. The first track of video leads, or else of audio.

    A part is finished when the leading track's next unit comes, as only then its duration is known.
    """

    def __init__(self, tracks: Sequence[Track], targets: Targets) -> None:
        """Raises ``ValueError`` without a track."""
        self._lead, self._rate, self._tracks = _chosen(tracks)
        self.targets = targets
        """What the cuts aim at."""
        self.dropped = 0
        """Units that came before the first keyframe, without a track, or above ``MAX_UNITS``."""
        self.overlong = 0
        """Parts that lasted longer than the target, as the leading track paused."""
        self.short = 0
        """Parts below 85 % that did not end a segment, as frames did not fit."""
        self._units: list[TimedUnit] = []
        self._msn = -1
        self._index = 0
        self._begun: int | None = None  # where the part at hand begins
        self._last = 0  # the leading track's last time
        self._gap = 0  # and its distance from the one before
        self._spent = 0.0  # seconds of the segment's finished parts
        self._keys = True  # whether the leading track's last unit was key
        self._discontinuity = False

    def push(self, unit: TimedUnit) -> list[Part]:
        """Take a unit; the parts it finished, at most one."""
        if unit.track not in self._tracks:
            self.dropped += 1
            return []
        if unit.track != self._lead:
            if self._begun is None or len(self._units) >= MAX_UNITS:
                self.dropped += 1
            else:
                self._units.append(unit)
            return []
        if self._begun is None:
            self._start(unit)
            return []
        gap = unit.dts - self._last
        if gap < 0 or gap > self.targets.duration * self._rate:
            return self._break(unit)
        self._gap = gap or self._gap
        found = self._cut(unit)
        if len(self._units) >= MAX_UNITS:
            self.dropped += 1
        else:
            self._units.append(unit)
        self._last, self._keys = unit.dts, unit.key
        return found

    def restart(self) -> list[Part]:
        """End the segment: what comes next is of another format, or of another source."""
        return self._break(None)

    def retrack(self, tracks: Sequence[Track]) -> list[Part]:
        """Go on with other tracks, after a discontinuity. Raises ``ValueError`` without one."""
        chosen = _chosen(tracks)
        found = self._break(None)
        self._lead, self._rate, self._tracks = chosen
        return found

    def _start(self, unit: TimedUnit) -> None:
        if not unit.key:
            self.dropped += 1
            return
        self._msn += 1
        self._index, self._spent = 0, 0.0
        self._begun = self._last = unit.dts
        self._keys = True
        self._units = [unit]

    def _break(self, unit: TimedUnit | None) -> list[Part]:
        """The leading track's time jumps: finish what there is, begin anew with a keyframe."""
        found = []
        if self._begun is not None:
            end = self._last + (self._gap or self._rate // 50)
            found = [self._finish(end, {}, last=True)]
        self._begun = None
        self._gap = 0
        self._discontinuity = self._msn >= 0
        if unit is not None:
            self._start(unit)
        return found

    def _cut(self, unit: TimedUnit) -> list[Part]:
        """Whether a part, and a segment, end where this unit begins."""
        assert self._begun is not None
        part, lasts = self.targets.part, (unit.dts - self._begun) / self._rate
        if lasts <= 0:
            return []
        spent = self._spent + min(lasts, part)
        # A microsecond: durations are quotients, and a part of exactly the target is allowed.
        full = lasts + self._gap / self._rate > part + 1e-6
        due = spent >= EARLY * self.targets.segment - 1e-6
        # Where every unit is key (audio), any will do, and so the part may become full first.
        last = due and unit.key and (full or not self._keys)
        if not (last or full):
            return []
        if spent + part > self.targets.duration:
            last = True
        if lasts < LEAST * part - 1e-6 and not last:
            self.short += 1
        found = self._finish(unit.dts, {self._lead: unit.dts}, last=last)
        self._begun = unit.dts
        if last:
            self._msn += 1
            self._index, self._spent = 0, 0.0
        return [found]

    def _finish(self, end: int, following: Mapping[int, int], *, last: bool) -> Part:
        assert self._begun is not None
        lasts = (end - self._begun) / self._rate
        if lasts > self.targets.part + 1e-6:
            self.overlong += 1
        made = Part(
            msn=self._msn,
            index=self._index,
            duration=min(lasts, self.targets.part),
            start=self._begun / self._rate,
            independent=any(unit.key for unit in self._units if unit.track == self._lead),
            last=last,
            discontinuity=self._discontinuity and self._index == 0,
            units=tuple(self._units),
            following=following,
        )
        self._units = []
        self._spent += made.duration
        self._index += 1
        if made.index == 0:
            self._discontinuity = False
        return made
