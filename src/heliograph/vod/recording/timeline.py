"""Times of recorded units: whatever sources come and go, the title's clock goes on.

A *run* is a stretch of one source (one epoch) without a gap. Within a run the distances between
presentation times are the source's; the next run begins where the one before ended, a short gap
later. Pure: time comes with the units.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence

from heliograph.model.media import Kind, Track
from heliograph.plane.types import TapFlag, TapItem
from heliograph.protocols.hls.timing import Timing, gaps_of, reorder_depth, usual
from heliograph.vod.recording.values import (
    JUMP,
    KEPT_GAP,
    LEARN,
    MAX_NAMED,
    SETTLE,
    Loss,
    RecordedUnit,
)

#: Usual distance of units before it is known, µs.
GAP = 40_000
#: Units of the leading track by which the order of pictures is learnt.
LEARN_UNITS = 17
#: Units that wait at most, in each stage: two seconds of a busy channel.
MAX_HELD = 2048


class Timeline:
    """Gives units their times. ``tracks``: those that are recorded, in the title's order."""

    def __init__(self, tracks: Sequence[Track], *, begin_us: int = 0) -> None:
        """``begin_us``: where the first run begins, in a title that goes on."""
        self.tracks = tuple(tracks)
        self.units = 0
        self.lost = 0
        """Access units that did not come."""
        self.losses: deque[Loss] = deque(maxlen=MAX_NAMED)
        """The last ones, named."""
        self._place = {track.id: place for place, track in enumerate(tracks)}
        self._end = begin_us  # where the next run begins
        self._epoch: int | None = None
        self._held: list[TapItem] = []  # until the order of pictures is known
        self._timings: dict[int, Timing] | None = None
        self._origin = 0  # µs since 1970 of the title's time 0, in this run
        self._shift = 0
        self._depths: dict[int, tuple[int | None, int]] = {}  # pictures reordered, usual distance
        self._numbers: dict[int, int] = {}
        self._last: dict[int, TapItem] = {}
        self._begun: set[int] = set()  # tracks of which a unit came in this run
        self._ready: list[tuple[int, int, RecordedUnit]] = []  # a heap by due
        self._count = 0
        self._newest = begin_us
        self._given = begin_us
        self._shown = begin_us  # end of what was shown

    def push(self, item: TapItem) -> list[RecordedUnit]:
        """Take what a tap gave; units whose turn it is, by due."""
        if item.track not in self._place or item.flags & TapFlag.RTCP or not item.data:
            return []
        given: list[RecordedUnit] = []
        last = max(self._last.values(), key=lambda one: one.arrival, default=None)
        reason = self._breaks(item, last)
        if reason:
            given += self.flush()
            assert last is not None
            away = max(0.0, (item.arrival - last.arrival) / 1e6)
            self._next_run(away, reason)
        self._epoch = item.epoch
        self._note_loss(item)
        self._last[item.track] = item
        if self._timings is None:
            self._held.append(item)
            if not self._learnt():
                return given
            given += self._begin()
        else:
            self._take(item)
        return given + self._settled()

    def flush(self) -> list[RecordedUnit]:
        """What waits: the run has ended, or is taken to."""
        if self._timings is None and self._held:
            self._begin()
        given = [self._give(heapq.heappop(self._ready)) for _ in range(len(self._ready))]
        return given

    def lose(self, units: int, reason: str) -> None:
        """Units were lost on the way here."""
        if units:
            self.lost += units
            self.losses.append(Loss(self._given, None, units, 0.0, reason))

    def restarted(self, away: float) -> None:
        """The recording goes on after ``away`` seconds for which nobody recorded."""
        self._next_run(away, "restart")

    # --- runs ---------------------------------------------------------------------------------

    def _breaks(self, item: TapItem, last: TapItem | None) -> str:
        """Why a run ends before this item; "" where it does not."""
        if last is None or self._epoch is None:
            return ""
        if item.epoch != self._epoch:
            return "source"
        own = self._last.get(item.track)
        jump = int(JUMP * 1e6)
        if item.arrival - last.arrival > jump:
            return "gap"
        if own is not None and abs(item.time - own.time) > jump:
            # a track that says nothing for a while is no gap while others go on with its times
            others = [one.time for one in self._last.values() if one.track != item.track]
            if not others or all(abs(item.time - time) > jump for time in others):
                return "gap"
        return ""

    def _next_run(self, away: float, reason: str) -> None:
        self._end = max(self._shown, self._given)
        self._end += int(min(away, KEPT_GAP) * 1e6) if away > JUMP / 2 else 0
        self.losses.append(Loss(self._end, None, 0, away, reason))
        self._timings = None
        self._held.clear()
        self._last.clear()
        self._numbers.clear()
        self._begun.clear()

    def _learnt(self) -> bool:
        lead = self.tracks[0].id
        shown = sum(item.track == lead for item in self._held)
        waited = self._held[-1].arrival - self._held[0].arrival
        return shown >= LEARN_UNITS or waited >= LEARN * 1e6 or len(self._held) >= MAX_HELD

    def _begin(self) -> list[RecordedUnit]:
        held, self._held = self._held, []
        held = self._from_key(held)
        self._timings = {}
        if not held:
            self._timings = None
            return []
        first = min(item.time for item in held)
        # Time 0 of the run's timings is far before its first unit: pictures are decoded before
        # they are shown, and nothing is negative.
        self._origin = first - 10_000_000
        depths: dict[int, tuple[int | None, int]] = {}
        for track in self.tracks:
            shown = [item.time for item in held if item.track == track.id]
            depth = reorder_depth(shown) if track.kind is Kind.VIDEO else None
            depths[track.id] = depth, usual(gaps_of(shown), GAP)
        ahead = max((depth or 0) * gap for depth, gap in depths.values())
        # The first to be shown is shown where the run before ended, if that gives room to decode.
        self._shift = self._end + (ahead if self._end == 0 else 0) - 10_000_000
        self._depths = depths
        for item in held:
            self._take(item)
        return []

    def _from_key(self, held: list[TapItem]) -> list[TapItem]:
        """Without the pictures before the first key picture of their track."""
        kept = []
        for item in held:
            track = self.tracks[self._place[item.track]]
            if track.kind is Kind.VIDEO and item.track not in self._begun:
                if not item.flags & TapFlag.KEYFRAME:
                    continue
                self._begun.add(item.track)
            kept.append(item)
        return kept

    # --- units --------------------------------------------------------------------------------

    def _take(self, item: TapItem) -> None:
        assert self._timings is not None
        place = self._place[item.track]
        track = self.tracks[place]
        video = track.kind is Kind.VIDEO
        if video and item.track not in self._begun:
            if not item.flags & TapFlag.KEYFRAME:
                return
            self._begun.add(item.track)
        timing = self._timings.get(item.track)
        if timing is None:
            depth, gap = self._depths[item.track]
            timing = self._timings[item.track] = Timing(
                track.clock_rate,
                self._origin,
                item.time,
                gap=round(gap * track.clock_rate / 1e6),
                depth=depth,
            )
        decoded, shown = timing.times(item.time)
        clock = track.clock_rate
        due = max(0, decoded * 1_000_000 // clock + self._shift)
        pts = shown + round(self._shift * clock / 1e6)
        key = not video or bool(item.flags & TapFlag.KEYFRAME)
        unit = RecordedUnit(place, due, max(0, pts), key, item.data)
        self._newest = max(self._newest, due)
        self._count += 1
        heapq.heappush(self._ready, (due, self._count, unit))

    def _settled(self) -> list[RecordedUnit]:
        """Those before which nothing will come."""
        given = []
        until = self._newest - int(SETTLE * 1e6)
        while self._ready and (self._ready[0][0] <= until or len(self._ready) > MAX_HELD):
            given.append(self._give(heapq.heappop(self._ready)))
        return given

    def _give(self, entry: tuple[int, int, RecordedUnit]) -> RecordedUnit:
        due, _, unit = entry
        self.units += 1
        self._given = max(self._given, due)
        track = self.tracks[unit.track]
        gap = self._depths[track.id][1] if track.id in self._depths else GAP
        self._shown = max(self._shown, unit.pts * 1_000_000 // track.clock_rate + gap)
        return unit if due == self._given else unit._replace(due_us=self._given)

    def _note_loss(self, item: TapItem) -> None:
        expected = self._numbers.get(item.track)
        self._numbers[item.track] = item.number + 1
        if expected is not None and item.number > expected:
            missing = item.number - expected
            self.lost += missing
            at = self._place[item.track]
            self.losses.append(Loss(self._newest, at, missing, 0.0, "loss"))
