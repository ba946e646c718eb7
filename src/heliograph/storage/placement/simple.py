"""Placements to compare with: jump consistent hash, and blocks in turn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.placement.generator import Words, draw, draw_one
from heliograph.storage.placement.values import Added, Table

_FACTOR = 2862933555777941757
_MASK = (1 << 64) - 1


class Jump:
    """Jump consistent hash: no state but the number of disks.

    Lamping, Veach: A Fast, Minimal Memory, Consistent Hash Algorithm, 2014. Only the last bucket
    can go; where another disk goes, the last one's takes over its bucket, so that what was on the
    last moves as well.
    """

    name = "jump"
    remembers = True

    def locate(self, seed: int, numbers: Words, table: Table) -> NDArray[np.int64]:
        """Logical disks of blocks."""
        buckets = _buckets(table)
        return buckets[jump(draw(seed, numbers), len(buckets))]

    def locate_few(self, seed: int, numbers: Sequence[int], table: Table) -> list[int]:
        """The same for few blocks."""
        buckets = _buckets(table)
        return [int(buckets[jump_one(draw_one(seed, number), len(buckets))]) for number in numbers]

    def state(self, table: Table) -> int:
        """Bytes of the disks' numbers, four each."""
        return 4 * len(table.disks)

    def unevenness(self, table: Table) -> float:
        """None by construction."""
        return 0.0


class RoundRobin:
    """Block after block on disk after disk, as plain striping does; moves nearly everything."""

    name = "round-robin"
    remembers = False

    def locate(self, seed: int, numbers: Words, table: Table) -> NDArray[np.int64]:
        """Logical disks of blocks: objects begin on different ones."""
        count = len(table.disks)
        ids = np.array([disk.id for disk in table.disks], np.int64)
        return ids[((numbers + np.uint64(seed % count)) % np.uint64(count)).astype(np.int64)]

    def locate_few(self, seed: int, numbers: Sequence[int], table: Table) -> list[int]:
        """The same for few blocks."""
        count = len(table.disks)
        return [table.disks[(number + seed % count) % count].id for number in numbers]

    def state(self, table: Table) -> int:
        """Bytes of the disks' numbers, four each."""
        return 4 * len(table.disks)

    def unevenness(self, table: Table) -> float:
        """None by construction."""
        return 0.0


def jump(keys: Words, buckets: int) -> NDArray[np.int64]:
    """The bucket of each key, as published."""
    found = np.full(len(keys), -1, np.int64)
    going = np.arange(len(keys))
    at = np.zeros(len(keys), np.int64)
    while going.size:
        found[going] = at
        keys = keys * np.uint64(_FACTOR) + np.uint64(1)
        divisor = ((keys >> np.uint64(33)) + np.uint64(1)).astype(np.float64)
        at = ((at + 1) * (2.0**31 / divisor)).astype(np.int64)
        on = at < buckets
        going, keys, at = going[on], keys[on], at[on]
    return found


def jump_one(key: int, buckets: int) -> int:
    """The same of one key."""
    found, at = -1, 0
    while at < buckets:
        found = at
        key = (key * _FACTOR + 1) & _MASK
        at = int((at + 1) * (2.0**31 / ((key >> 33) + 1)))
    return found


@lru_cache(maxsize=16)
def _buckets(table: Table) -> NDArray[np.int64]:
    """By bucket: the disk's id."""
    found: list[int] = []
    for one in table.operations:
        if isinstance(one, Added):
            found += [disk.id for disk in one.disks]
            continue
        for id in one.ids:
            last = found.pop()
            if last != id:
                found[found.index(id)] = last
    return np.array(found, np.int64)
