"""How far another node's clock is ahead of ours: pure estimates from questions and answers.

A question is sent at one instant of our clock and answered at another; the other's clock was read
in between. So the offset is known to half the round trip, however that is split between the ways.
Of a burst the shortest round trip counts; bounds of earlier bursts widen by how much clocks may
drift.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

#: By how much two clocks may go apart, per µs: each keeps to 100 millionths, as crystals do.
DRIFT = 200e-6
#: Bursts that are remembered: two minutes of them.
MAX_BURSTS = 24
#: µs over which bursts have to reach before a drift is told from their noise.
SPAN_US = 8_000_000
#: µs below which a round trip says nothing more about how well it measured.
FLOOR_US = 20.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One question: when it was sent and answered by our clock, and what theirs said, in µs."""

    sent_us: int
    theirs_us: int
    received_us: int

    @property
    def round_trip_us(self) -> int:
        return self.received_us - self.sent_us

    @property
    def at_us(self) -> float:
        """The middle, by our clock."""
        return (self.sent_us + self.received_us) / 2

    @property
    def offset_us(self) -> float:
        """What theirs was ahead."""
        return self.theirs_us - self.at_us


class Relation:
    """What is known of one node's clock."""

    def __init__(self) -> None:
        self._bursts: deque[Sample] = deque(maxlen=MAX_BURSTS)

    @property
    def known(self) -> bool:
        """Whether it was ever measured."""
        return bool(self._bursts)

    def add(self, burst: Iterable[Sample]) -> None:
        """Take a burst of questions; what ran backwards is no sample."""
        sound = [one for one in burst if one.round_trip_us >= 0]
        if sound:
            self._bursts.append(min(sound, key=lambda one: one.round_trip_us))

    def forget(self) -> None:
        """It is another clock from now on."""
        self._bursts.clear()

    def bounds_us(self, now_us: int) -> tuple[float, float]:
        """Between which offsets the truth is, if no clock drifts by more than it may."""
        low, high = float("-inf"), float("inf")
        for one in self._bursts:
            wide = _doubt(one, now_us)
            low, high = max(low, one.offset_us - wide), min(high, one.offset_us + wide)
        return low, high

    def offset_us(self, now_us: int) -> float:
        """How far theirs is ahead, at an instant of our clock; 0 while nothing is known."""
        if not self._bursts:
            return 0.0
        low, high = self.bounds_us(now_us)
        if low > high:  # a clock was set, or drifts more than it may: the newest counts
            self._bursts = deque([self._bursts[-1]], MAX_BURSTS)
            return self._bursts[-1].offset_us
        return min(max(self._fitted(now_us), low), high)

    def error_us(self, now_us: int) -> float:
        """How far off that may be; infinite while nothing is known."""
        low, high = self.bounds_us(now_us)
        offset = self.offset_us(now_us)
        return max(high - offset, offset - low, 0.0)

    def _fitted(self, now_us: int) -> float:
        """By a straight line through the bursts, those with short round trips weighing more; by the
        burst that bounds it best while they do not reach far enough for a line."""
        newest = self._bursts[-1].at_us
        if newest - self._bursts[0].at_us < SPAN_US:
            return min(self._bursts, key=lambda one: _doubt(one, now_us)).offset_us
        weights = [1 / (one.round_trip_us / 2 + FLOOR_US) ** 2 for one in self._bursts]
        times = [one.at_us - newest for one in self._bursts]
        offsets = [one.offset_us for one in self._bursts]
        total = sum(weights)
        time = sum(w * t for w, t in zip(weights, times, strict=True)) / total
        offset = sum(w * o for w, o in zip(weights, offsets, strict=True)) / total
        spread = sum(w * (t - time) ** 2 for w, t in zip(weights, times, strict=True))
        both = zip(weights, times, offsets, strict=True)
        slope = sum(w * (t - time) * (o - offset) for w, t, o in both) / spread
        slope = min(max(slope, -DRIFT), DRIFT)
        return offset + slope * (now_us - newest - time)


def _doubt(one: Sample, now_us: int) -> float:
    """By how much a burst may be off by now."""
    return one.round_trip_us / 2 + abs(now_us - one.at_us) * DRIFT
