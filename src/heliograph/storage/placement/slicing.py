"""Random Slicing: the unit interval is cut into slices, each of one disk.

Miranda, Effert, Kang, Miller, Popov, Brinkmann, Friedetzky, Cortes: Random Slicing: Efficient and
Scalable Data Placement for Large-Scale Storage Systems, ACM ToS 2014. An operation changes
owners of just as much of the interval as it must. Gaps are collected by cut-shift: whole slices
first, and cuts beside the gap before, so that slices stay few.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.placement.generator import Words, draw, draw_one
from heliograph.storage.placement.values import Added, Table

#: The interval in whole numbers, so that every node cuts alike.
WHOLE = 1 << 64
Slice: TypeAlias = tuple[int, int, int]
"""Where it begins, its length, and the id of its disk, ``_GAP`` while it has none."""
_GAP = -1


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """The interval, for looking up."""

    starts: Words
    owners: NDArray[np.int64]
    starts_list: list[int]
    owners_list: list[int]


class RandomSlicing:
    """Moves exactly what must move and stays even for ever; remembers how the interval was cut."""

    name = "random-slicing"
    remembers = True

    def locate(self, seed: int, numbers: Words, table: Table) -> NDArray[np.int64]:
        """Logical disks of blocks."""
        slices = slices_of(table)
        return slices.owners[slices.starts.searchsorted(draw(seed, numbers), side="right") - 1]

    def locate_few(self, seed: int, numbers: Sequence[int], table: Table) -> list[int]:
        """The same for few blocks."""
        slices = slices_of(table)
        return [
            slices.owners_list[bisect_right(slices.starts_list, draw_one(seed, number)) - 1]
            for number in numbers
        ]

    def state(self, table: Table) -> int:
        """Bytes of the slices: eight for the beginning and four for the disk."""
        return 12 * len(slices_of(table).starts_list)

    def unevenness(self, table: Table) -> float:
        """None by construction: slices differ by 2^-64 of the whole."""
        return 0.0


@lru_cache(maxsize=16)
def slices_of(table: Table) -> Slices:
    """Go through the operations from the first."""
    slices: list[Slice] = [(0, WHOLE, _GAP)]
    present: list[int] = []
    for one in table.operations:
        if isinstance(one, Added):
            added = [disk.id for disk in one.disks]
            present = present + added
        else:
            gone = set(one.ids)
            present = [id for id in present if id not in gone]
            slices = [(at, size, _GAP if id in gone else id) for at, size, id in slices]
        wanted = _wanted(present)
        slices = _filled(_collected(slices, wanted), wanted)
    starts = [at for at, _, _ in slices]
    owners = [id for _, _, id in slices]
    return Slices(np.array(starts, np.uint64), np.array(owners, np.int64), starts, owners)


def _wanted(ids: Sequence[int]) -> dict[int, int]:
    """By disk: how much of the interval it is to have; what is over goes to the first."""
    each, rest = divmod(WHOLE, len(ids))
    return {id: each + (number < rest) for number, id in enumerate(ids)}


def _joined(slices: list[Slice]) -> list[Slice]:
    """Neighbours of one owner become one slice."""
    found: list[Slice] = []
    for at, size, id in slices:
        if found and found[-1][2] == id:
            found[-1] = (found[-1][0], found[-1][1] + size, id)
        elif size:
            found.append((at, size, id))
    return found


def _collected(slices: list[Slice], wanted: dict[int, int]) -> list[Slice]:
    """Take from each disk what it has above its share."""
    over = dict.fromkeys(wanted, 0)
    for _, size, id in slices:
        if id != _GAP:
            over[id] += size
    over = {id: max(0, over[id] - wanted[id]) for id in over}
    found: list[Slice] = []
    for at, size, id in slices:
        cut = 0 if id == _GAP else min(size, over[id])
        if cut:
            over[id] -= cut
        if not cut:
            found.append((at, size, id))
        elif cut == size:
            found.append((at, size, _GAP))
        elif found and found[-1][2] == _GAP:
            found += [(at, cut, _GAP), (at + cut, size - cut, id)]
        else:
            found += [(at, size - cut, id), (at + size - cut, cut, _GAP)]
    return _joined(found)


def _filled(slices: list[Slice], wanted: dict[int, int]) -> list[Slice]:
    """Give the gaps to disks below their share: to a neighbour first, then to the neediest."""
    need = dict(wanted)
    for _, size, id in slices:
        if id != _GAP:
            need[id] -= size
    needy = sorted((id for id in need if need[id]), key=lambda id: (need[id], -id))
    found: list[Slice] = []
    for number, (at, size, id) in enumerate(slices):
        if id != _GAP:
            found.append((at, size, id))
            continue
        right = slices[number + 1][2] if number + 1 < len(slices) else _GAP
        last = min(size, need[right]) if right != _GAP else 0
        if last:
            need[right] -= last
        end = at + size - last
        left = found[-1][2] if found else _GAP
        while at < end:
            taker = left
            left = _GAP
            if taker == _GAP or not need[taker]:
                while not need[needy[-1]]:
                    needy.pop()
                taker = needy[-1]
            given = min(end - at, need[taker])
            need[taker] -= given
            found.append((at, given, taker))
            at += given
        if last:
            found.append((end, last, right))
    return _joined(found)
