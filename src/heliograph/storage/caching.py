"""Blocks kept in memory: those between two viewers of a title until the second has passed.

Plain recency does badly with films: whoever watches one never comes back to a block. What will be
wanted again, and when, is known better from those who watch the same title behind: each block
between two viewers is wanted as soon as the second gets there (interval caching). The
cache keeps what is wanted soonest. What nobody is on the way to is kept in what is left, the one
asked for last longest; beginnings that are asked for again and again have a part of their own.

Viewers are told apart by what they ask: one asks for a block after the other. Time comes from
outside, in seconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from heliograph.storage.values import ObjectId

#: Blocks a viewer may leave out and still be the same: readers ask for a few at a time, in any
#: order.
JUMP = 4
#: Seconds after which a viewer who asks for nothing is taken to have left; a pause that is longer
#: costs him nothing but reads from the disk.
LEFT = 20.0
#: Seconds a block until a viewer has shown his own pace.
PACE = 1.0
#: Share of the newest step in a viewer's pace.
NEWEST = 0.25
#: Viewers of a title that are followed; of more, the one longest silent is forgotten.
VIEWERS = 512
#: Titles from which on those without blocks and viewers are forgotten.
TITLES = 256
#: Part of the cache that hot blocks may have to themselves.
HOT = 0.25

_Key = tuple[ObjectId, int]


@dataclass(slots=True)
class CacheCounters:
    """What a cache was asked since the start."""

    hits: int = 0
    misses: int = 0
    bytes_hit: int = 0
    evicted: int = 0
    passed: int = 0
    """Blocks not kept because all that are there are wanted sooner."""


@dataclass(slots=True, eq=False)
class _Viewer:
    at: int
    """The block asked for last."""
    when: float
    pace: float = PACE
    steps: int = 0
    """Blocks asked for in order; who asked for one alone may never come back."""

    def reaches(self, number: int) -> float:
        """When he will ask for a block ahead of him."""
        return self.when + (number - self.at) * self.pace


@dataclass(slots=True, eq=False)
class _Title:
    payloads: dict[int, bytes] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    """Blocks that are kept, in order."""
    viewers: list[_Viewer] = field(default_factory=list)
    """By the block they are at."""
    last: int | None = None
    """Where the last of those who go on is; blocks after that one are expected to be wanted."""


class Cache:
    """Blocks of titles in memory, at most so many bytes."""

    def __init__(self, limit: int) -> None:
        """``limit`` in bytes of payload; 0 keeps nothing."""
        self.limit = limit
        self.used = 0
        self.counters = CacheCounters()
        self._titles: dict[ObjectId, _Title] = {}
        self._cold: OrderedDict[_Key, None] = OrderedDict()
        self._hot: OrderedDict[_Key, None] = OrderedDict()
        self._hot_bytes = 0
        self._crowded = TITLES

    def __len__(self) -> int:
        return sum(len(title.numbers) for title in self._titles.values())

    def get(self, object: ObjectId, number: int, now: float) -> bytes | None:
        """A block that a viewer asks for, if it is kept; every request has to be told this way."""
        title = self._title(object, now)
        key = object, number
        unexpected = key in self._cold or key in self._hot
        self._ask(object, title, number, now)
        payload = title.payloads.get(number)
        if payload is None:
            self.counters.misses += 1
            return None
        self.counters.hits += 1
        self.counters.bytes_hit += len(payload)
        if key in self._hot:
            self._hot.move_to_end(key)
        elif key in self._cold:
            if unexpected:
                self._warm(key, len(payload))
            else:
                self._cold.move_to_end(key)
        return payload

    def put(self, object: ObjectId, number: int, payload: bytes, now: float) -> bool:
        """Keep a block that was read, unless others are wanted sooner; whether it is kept."""
        title = self._title(object, now)
        if number in title.payloads:
            return True
        size = len(payload)
        wanted = self._wanted(title, number, now)
        while self.used + size > self.limit:
            victim = self._victim(wanted, now)
            if victim is None:
                self.counters.passed += 1
                return False
            self._drop(victim)
            self.counters.evicted += 1
        title.payloads[number] = payload
        title.numbers.insert(bisect_right(title.numbers, number), number)
        self.used += size
        if wanted is None:
            self._cold[object, number] = None
        return True

    def forget(self, object: ObjectId) -> None:
        """Let go of an object that was deleted."""
        title = self._titles.get(object)
        if title is not None:
            for number in list(title.numbers):
                self._drop((object, number))
            del self._titles[object]

    def viewers(self, object: ObjectId) -> list[int]:
        """Where those are who go on, by their blocks."""
        title = self._titles.get(object)
        return [one.at for one in title.viewers if one.steps] if title else []

    def _title(self, object: ObjectId, now: float) -> _Title:
        title = self._titles.get(object)
        if title is None:
            if len(self._titles) >= self._crowded:
                for name, one in list(self._titles.items()):
                    self._settle(name, one, now)
                    if not one.viewers and not one.numbers:
                        del self._titles[name]
                self._crowded = max(TITLES, 2 * len(self._titles))
            title = self._titles[object] = _Title()
        return title

    # Viewers

    def _ask(self, object: ObjectId, title: _Title, number: int, now: float) -> None:
        viewer = _who(title, number)
        if viewer is None:
            if len(title.viewers) >= VIEWERS:
                title.viewers.remove(min(title.viewers, key=lambda one: one.when))
            title.viewers.append(_Viewer(number, now))
        elif viewer.at < number:
            pace = max(0.0, now - viewer.when) / (number - viewer.at)
            share = NEWEST if viewer.steps else 1.0
            viewer.pace += share * (pace - viewer.pace)
            viewer.at, viewer.steps = number, viewer.steps + 1
            viewer.when = now
        else:
            viewer.when = now
        title.viewers.sort(key=lambda one: one.at)
        self._settle(object, title, now)

    def _settle(self, object: ObjectId, title: _Title, now: float) -> None:
        """Forget who has left, and sort blocks by whether somebody is on the way to them."""
        if any(now - one.when > LEFT for one in title.viewers):
            title.viewers = [one for one in title.viewers if now - one.when <= LEFT]
        last = next((one.at for one in title.viewers if one.steps), None)
        before, title.last = title.last, last
        if before == last:
            return
        numbers = title.numbers
        old = len(numbers) if before is None else bisect_right(numbers, before)
        new = len(numbers) if last is None else bisect_right(numbers, last)
        for number in numbers[old:new]:  # he has passed them, or has left
            self._cold[object, number] = None
        for number in numbers[new:old]:
            self._cold.pop((object, number), None)
            if (object, number) in self._hot:
                del self._hot[object, number]
                self._hot_bytes -= len(title.payloads[number])

    def _wanted(self, title: _Title, number: int, now: float) -> float | None:
        """When somebody who is on his way gets to a block; None: nobody is."""
        behind = None
        for viewer in title.viewers:
            if viewer.at >= number:
                break
            if viewer.steps and now - viewer.when <= LEFT:
                behind = viewer
        return None if behind is None else behind.reaches(number)

    # What goes

    def _victim(self, wanted: float | None, now: float) -> _Key | None:
        """What is let go for a block that is wanted then; None: rather that one."""
        if not self._cold:
            for object, title in self._titles.items():
                self._settle(object, title, now)
        if self._cold:
            return next(iter(self._cold))
        if wanted is None:
            return None
        farthest, victim = wanted, None
        for object, title in self._titles.items():
            for number, when in _farthest(title):
                if when > farthest:
                    farthest, victim = when, (object, number)
        return victim

    def _warm(self, key: _Key, size: int) -> None:
        """Asked for again though nobody was on the way to it: there may be a third."""
        del self._cold[key]
        self._hot[key] = None
        self._hot_bytes += size
        while self._hot_bytes > self.limit * HOT:
            oldest, _ = self._hot.popitem(last=False)
            self._hot_bytes -= len(self._titles[oldest[0]].payloads[oldest[1]])
            self._cold[oldest] = None

    def _drop(self, key: _Key) -> None:
        object, number = key
        title = self._titles[object]
        payload = title.payloads.pop(number)
        del title.numbers[bisect_right(title.numbers, number) - 1]
        self.used -= len(payload)
        self._cold.pop(key, None)
        if key in self._hot:
            del self._hot[key]
            self._hot_bytes -= len(payload)


def _who(title: _Title, number: int) -> _Viewer | None:
    """Who asks for a block: best he who had the one before, then he who had that one already."""
    at = bisect_right(title.viewers, number, key=lambda one: one.at)
    near = []
    while at > 0 and title.viewers[at - 1].at >= number - JUMP:
        at -= 1
        near.append(title.viewers[at])
    for step in (1, 0, *range(2, JUMP + 1)):
        for viewer in near:
            if viewer.at == number - step:
                return viewer
    return None


def _farthest(title: _Title) -> Iterator[tuple[int, float]]:
    """Of the blocks ahead of each viewer up to the next one: the last, and when it is wanted."""
    numbers = title.numbers
    end = len(numbers)
    for viewer in reversed(title.viewers):
        if not viewer.steps:
            continue
        begin = bisect_right(numbers, viewer.at)
        if begin < end:
            yield numbers[end - 1], viewer.reaches(numbers[end - 1])
        end = begin
