"""Which of the things that wait for a disk goes next. Time comes from outside, in seconds."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from heliograph.model.errors import BusyError

T = TypeVar("T")

#: Seconds after its deadline from which a read lets those go first that can still be in time:
#: otherwise one pause of the disk would make all that follow late.
HOPELESS = 0.5
#: Seconds that a rank waits at most while better ones leave it nothing: a rebuild has to come to
#: its end however many viewers there are.
STARVED = 1.0
#: Seconds of its rate that background work may save up.
BURST = 0.1


class Rank(IntEnum):
    """Lower ones go first."""

    URGENT = 0
    """Has a deadline; the earliest goes first."""
    PLAIN = 1
    """Has none; as they come."""
    BACKGROUND = 2
    """When nothing else waits, below a rate; as they come."""


@dataclass(slots=True, eq=False)
class Waiting(Generic[T]):
    """Something that waits."""

    rank: Rank
    deadline: float
    """Infinite without one."""
    since: float
    work: T
    place: int = field(default=-1, repr=False)
    """Its number in the queue; -1: it no longer waits."""


class Order(Generic[T]):
    """Queues of one disk, each of them bounded: ``BusyError`` says so."""

    def __init__(self, limit: int, rate: float | None = None) -> None:
        """``limit``: entries of a rank; ``rate``: bytes a second of background work, None: any."""
        self.rate = rate
        self.overdue = 0
        """How often one lost its urgency because it was too late already."""
        self._limit = limit
        self._counter = 0
        self._heap: list[tuple[float, int, Waiting[T]]] = []
        self._queues: tuple[dict[int, Waiting[T]], ...] = ({}, {}, {})
        self._last = [-math.inf, -math.inf, -math.inf]
        self._level, self._filled = 0.0, -math.inf

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._queues)

    def waiting(self, rank: Rank) -> int:
        """How many of a rank wait."""
        return len(self._queues[rank])

    def add(self, rank: Rank, deadline: float, work: T, now: float) -> Waiting[T]:
        """Have something wait; ``BusyError`` when too many of its rank do."""
        if len(self._queues[rank]) >= self._limit:
            raise BusyError(f"{self._limit} wait for the disk already", retry_after=1)
        entry = Waiting(rank, deadline, now, work)
        self._enter(entry)
        return entry

    def hasten(self, entry: Waiting[T], rank: Rank, deadline: float) -> None:
        """Let something go earlier that is wanted earlier by now; never later."""
        if entry.place < 0 or (rank, deadline) >= (entry.rank, entry.deadline):
            return
        self.drop(entry)
        entry.rank, entry.deadline = rank, deadline
        self._enter(entry)

    def drop(self, entry: Waiting[T]) -> bool:
        """Forget something; False when it does not wait any more."""
        if entry.place < 0:
            return False
        del self._queues[entry.rank][entry.place]
        entry.place = -1
        if len(self._heap) > 2 * len(self._queues[Rank.URGENT]) + 64:
            self._heap = [one for one in self._heap if one[2].place == one[1]]
            heapq.heapify(self._heap)
        return True

    def next(self, now: float, background: bool) -> Waiting[T] | None:
        """What goes now. ``background``: whether work of that rank may."""
        allowed = background and self.pause(now) == 0
        for rank in (Rank.PLAIN, Rank.BACKGROUND):
            if (rank is Rank.PLAIN or allowed) and self._starves(rank, now):
                return self._take(next(iter(self._queues[rank].values())), now)
        while self._heap:
            _, place, entry = heapq.heappop(self._heap)
            if entry.place != place:
                continue
            if now - entry.deadline > HOPELESS:
                self.overdue += 1
                del self._queues[Rank.URGENT][place]
                entry.rank, entry.since = Rank.PLAIN, now
                self._enter(entry)
                continue
            return self._take(entry, now)
        for rank in (Rank.PLAIN, Rank.BACKGROUND):
            if self._queues[rank] and (rank is Rank.PLAIN or allowed):
                return self._take(next(iter(self._queues[rank].values())), now)
        return None

    def everything(self) -> list[Waiting[T]]:
        """Take all out, in no order."""
        entries = [entry for queue in self._queues for entry in queue.values()]
        for entry in entries:
            self.drop(entry)
        return entries

    def spend(self, size: int, now: float) -> None:
        """Background work took so many bytes."""
        if self.rate is not None:
            self._fill(now)
            self._level -= size

    def pause(self, now: float) -> float:
        """Seconds until background work may go on."""
        if self.rate is None:
            return 0.0
        self._fill(now)
        return math.inf if self.rate <= 0 else max(0.0, -self._level / self.rate)

    def _fill(self, now: float) -> None:
        rate = self.rate or 0.0
        elapsed = max(0.0, now - self._filled)
        self._filled = now
        self._level = min(rate * BURST, self._level + (rate * elapsed if rate else 0.0))

    def _starves(self, rank: Rank, now: float) -> bool:
        queue = self._queues[rank]
        if not queue or now - self._last[rank] < STARVED:
            return False
        return now - next(iter(queue.values())).since >= STARVED

    def _take(self, entry: Waiting[T], now: float) -> Waiting[T]:
        self._last[entry.rank] = now
        self.drop(entry)
        return entry

    def _enter(self, entry: Waiting[T]) -> None:
        self._counter += 1
        entry.place = self._counter
        self._queues[entry.rank][entry.place] = entry
        if entry.rank is Rank.URGENT:
            heapq.heappush(self._heap, (entry.deadline, entry.place, entry))
