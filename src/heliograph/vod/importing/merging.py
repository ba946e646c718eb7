"""One order for the units of all tracks: that in which they are due."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from heliograph.vod.importing.values import MAX_APART, MAX_WAITING


class Timed(Protocol):
    """What can be put in order."""

    @property
    def due_us(self) -> int:
        """When it is due."""

    @property
    def data(self) -> bytes:
        """What it holds: counts for what waits."""


class _Head(NamedTuple):
    due_us: int
    lane: int


class Merger:
    """Takes the units of some lanes, each in its order, and gives all of them in theirs.

    A lane without units holds the others up until it has one or ends, unless what waits spans
    ``MAX_APART`` seconds or has ``MAX_WAITING`` bytes: then it is taken to have a gap.
    """

    def __init__(self, lanes: int, *, apart: float = MAX_APART, waiting: int = MAX_WAITING) -> None:
        self._queues: list[deque[Timed]] = [deque() for _ in range(lanes)]
        self._live = [True] * lanes
        self._apart = int(apart * 1e6)
        self._limit = waiting
        self._bytes = 0
        self._newest = 0

    def push(self, lane: int, unit: Timed) -> None:
        """The next unit of a lane."""
        self._queues[lane].append(unit)
        self._bytes += len(unit.data)
        self._newest = max(self._newest, unit.due_us)

    def end(self, lane: int) -> None:
        """Nothing more comes of a lane."""
        self._live[lane] = False

    def hungry(self) -> int | None:
        """The lane that is waited for; None where the next unit can be taken, if there is one."""
        for lane, queue in enumerate(self._queues):
            if not queue and self._live[lane]:
                break
        else:
            return None
        if self._bytes > self._limit:
            return None
        head = self._head()
        if head is not None and self._newest - head.due_us > self._apart:
            return None
        return lane

    def pop(self) -> tuple[int, Timed] | None:
        """The unit that is due first, with its lane; None if there is none."""
        head = self._head()
        if head is None:
            return None
        unit = self._queues[head.lane].popleft()
        self._bytes -= len(unit.data)
        return head.lane, unit

    def _head(self) -> _Head | None:
        return min(
            (_Head(queue[0].due_us, lane) for lane, queue in enumerate(self._queues) if queue),
            default=None,
        )
