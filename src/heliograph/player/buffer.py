"""The circular buffer between network and decoder of one stream. Pure.

Packets are put at the place of their number and taken in that order when their media time has
come. What is missing is waited for until then and given up only when what follows it is due; more
than ``tolerates`` in a row not even then: a node owes it, and it is said that playout is held up.
What came and was dropped for want of room is owed by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")

#: Packets kept at once: 45 Mbit/s in packets of 1 200 bytes for 13 s, in a power of two.
DEFAULT_SLOTS = 65_536


class Put(Enum):
    """What became of a packet that came."""

    KEPT = "kept"
    REPEATED = "repeated"
    """It is here, or was taken already."""
    LATE = "late"
    """What follows it was taken: of no use any more."""
    OVERFLOW = "overflow"
    """There is no room; it is dropped."""


@dataclass(slots=True)
class Counters:
    """What happened so far."""

    kept: int = 0
    taken: int = 0
    repeated: int = 0
    late: int = 0
    reordered: int = 0
    """Came after one of a higher number, and in time."""
    missing: int = 0
    """Numbers that were given up; those that come afterwards are counted in ``late`` too."""
    overflows: int = 0
    """Packets dropped for want of room."""
    underflows: int = 0
    """Times it ran empty while media were due."""


@dataclass(frozen=True, slots=True)
class _Entry(Generic[T]):
    number: int
    time: float
    size: int
    value: T


class CircularBuffer(Generic[T]):
    """Holds at most ``seconds`` of media, ``max_bytes`` and ``slots`` packets."""

    def __init__(self, *, seconds: float, max_bytes: int, slots: int = DEFAULT_SLOTS) -> None:
        if seconds <= 0 or max_bytes <= 0 or slots <= 0:
            raise ValueError("a buffer without room")
        self.seconds = seconds
        self.max_bytes = max_bytes
        self.bytes = 0
        """Payload held."""
        self.counters = Counters()
        self.ended = False
        """Nothing more will come: being empty is no underflow."""
        self.starving = False
        """Whether it ran empty and nothing came since."""
        self.tolerates: int | None = None
        """Packets in a row that may be missing before what is due; ``None``: any number."""
        self.held_up = False
        """Whether what is due was not taken, as more is missing before it."""
        self._ring: list[_Entry[T] | None] = [None] * slots
        self._count = 0
        self._next: int | None = None  # number of the packet to be taken next
        self._highest = 0  # highest number held or taken
        self._newest = 0.0  # latest media time of any packet
        self._position: float | None = None  # media time up to which was taken
        self._began = False  # something was taken: numbers before are late
        self._expected: int | None = None  # number that the stream begins with
        self._whole = 0  # from the next one up to here no more is missing than is tolerated
        self._whole_time = -inf  # latest media time of that
        self._widest = 0  # most that is missing there in a row, or was
        self._blank = 0  # from there up to here there is nothing
        self._missing = 0  # so many of that may still come
        self._dropped: set[int] = set()  # came when there was no room, and were not passed since

    def __len__(self) -> int:
        return self._count

    @property
    def level(self) -> float:
        """Seconds of media between what was taken and the newest packet."""
        if self._next is None or not self._count:
            return 0.0
        begin = self._oldest() if self._position is None else self._position
        return max(0.0, self._newest - begin)

    @property
    def level_ms(self) -> int:
        """The same in whole milliseconds."""
        return round(1000 * self.level)

    @property
    def first_time(self) -> float | None:
        """Media time of the packet to be taken next, as far as it is here."""
        return None if not self._count else self._oldest()

    @property
    def newest_time(self) -> float | None:
        """Latest media time of what came since the last ``clear``."""
        return None if self._next is None else self._newest

    @property
    def whole_time(self) -> float | None:
        """Media time up to which no more is missing than is tolerated, ``None``: not even at the
        beginning."""
        if self._next is None or not self._count:
            return None
        if self.tolerates is None:
            return self._newest
        if self._whole == self._next:  # all of it was taken
            self._whole_time, self._widest = -inf, 0
        elif self._whole < self._next or self._widest > self.tolerates:
            self._scan_from(self._next)
        for number in range(self._blank, self._highest + 1):
            if self._missing > self.tolerates:
                break
            entry = self._ring[number % len(self._ring)]
            self._blank = number + 1
            if entry is None:
                self._missing += number not in self._dropped
                continue
            self._widest = max(self._widest, self._missing)
            self._whole_time = max(self._whole_time, entry.time)
            self._whole, self._missing = number + 1, 0
        return None if self._whole_time == -inf else self._whole_time

    def _scan_from(self, number: int) -> None:
        """Look anew for what is missing, from there on."""
        self._whole = self._blank = number
        self._whole_time, self._widest, self._missing = -inf, 0, 0

    def _oldest(self) -> float:
        assert self._next is not None
        for number in range(self._next, self._highest + 1):
            entry = self._ring[number % len(self._ring)]
            if entry is not None:
                return entry.time
        return self._newest

    def put(self, number: int, time: float, size: int, value: T) -> Put:
        """Keep a packet. ``time``: media time in seconds; ``size``: bytes."""
        counters = self.counters
        if self._next is None:
            self._next = self._highest = number
            self._newest = time
            expected = self._expected
            if expected is not None and expected < number < expected + len(self._ring):
                self._next = expected
            self._scan_from(self._next)
        elif number < self._next:
            if self._began or self._highest - number >= len(self._ring):
                counters.late += 1
                return Put.LATE
            self._next = number  # nothing was taken: the stream begins earlier than was thought
            self._scan_from(number)
        if not self._count and number - self._next >= len(self._ring):
            self.counters.missing += number - self._next  # an outage longer than the buffer
            self._next = number
            self._dropped.clear()
        if self._whole <= number < self._blank:
            self._blank, self._missing = self._whole, 0  # there is less missing now
        if self._no_room(number, time, size):
            counters.overflows += 1
            if len(self._dropped) < len(self._ring):  # what follows more is an outage
                self._dropped.add(number)
            return Put.OVERFLOW
        place = number % len(self._ring)
        if self._ring[place] is not None:
            counters.repeated += 1
            return Put.REPEATED
        if number < self._highest:
            counters.reordered += 1
        self._ring[place] = _Entry(number, time, size, value)
        self._dropped.discard(number)
        if number < self._whole:
            self._whole_time = max(self._whole_time, time)
        self._count += 1
        self.bytes += size
        self._highest = max(self._highest, number)
        self._newest = max(self._newest, time)
        self.starving = False
        counters.kept += 1
        return Put.KEPT

    def _no_room(self, number: int, time: float, size: int) -> bool:
        assert self._next is not None
        if number - self._next >= len(self._ring) or self.bytes + size > self.max_bytes:
            return True
        if not self._count:
            return False
        begin = self._oldest() if self._position is None else self._position
        return time - begin > self.seconds

    def expect(self, number: int | None) -> None:
        """After ``clear``: the stream begins with that number, whatever comes first."""
        self._expected = number

    def pass_over(self) -> None:
        """Give up what is missing before the next packet that is here."""
        if self._next is not None and self._count:
            first = self._next
            while self._ring[self._next % len(self._ring)] is None:
                self._next += 1
            self._pass(first, self._next)
            self._began |= self._next > first
            self.held_up = False

    def take(self, until: float) -> list[T]:
        """Everything due up to media time ``until``, in order; the missing before it is given up
        as far as that is tolerated.

        Running empty before ``until`` is told by ``starving`` and counted once.
        """
        taken: list[T] = []
        self.held_up = False
        self._position = until if self._position is None else max(self._position, until)
        if self._next is None:
            return taken
        number = self._next
        ring, size = self._ring, len(self._ring)
        while self._count:
            place = number
            while (entry := ring[place % size]) is None:
                place += 1
            if entry.time > until:
                break
            if self._owed(number, place):
                self.held_up = True
                break
            self._pass(number, place)
            ring[place % size] = None
            self._count -= 1
            self.bytes -= entry.size
            number = place + 1
            self._began = True
            taken.append(entry.value)
        self._next = number
        self.counters.taken += len(taken)
        if not self._count and self._began and self._newest < until and not self.ended:
            self.counters.underflows += not self.starving
            self.starving = True
        return taken

    def _owed(self, first: int, end: int) -> bool:
        """Whether more than is tolerated of what is missing there may still come."""
        if self.tolerates is None or self.ended or end - first <= self.tolerates:
            return False
        dropped = sum(number in self._dropped for number in range(first, end))
        return end - first - dropped > self.tolerates

    def _pass(self, first: int, end: int) -> None:
        """Give up what is missing there."""
        self.counters.missing += end - first
        if self._dropped:
            self._dropped.difference_update(range(first, end))

    def shift(self, seconds: float) -> None:
        """What is held is due so much later (less: sooner) than was thought."""
        for place, entry in enumerate(self._ring):
            if entry is not None:
                moved = _Entry(entry.number, entry.time + seconds, entry.size, entry.value)
                self._ring[place] = moved
        self._newest += seconds
        self._whole_time += seconds

    def clear(self) -> None:
        """Forget everything but the counters: after a seek."""
        self._ring = [None] * len(self._ring)
        self._count = self.bytes = 0
        self._next = self._position = None
        self._began = self.starving = self.ended = self.held_up = False
        self._expected = None
        self._dropped.clear()
