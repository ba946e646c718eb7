"""Groups by policies that know nothing of groups: their members ask until they find room.

All members ask the policy for a disk, and in their order take it, unless it has a member of the
group already or its node has as many as it should. Those who got none ask again with another
number, and so on; what did not find room in ``ATTEMPTS`` rounds is placed by rendezvous among the
disks that have some. By rounds, and not member after member, who has to look for another disk
hardly ever takes the one of somebody who could stay. Large disks get less than their share: what
they are drawn for a second time is lost to them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heliograph.storage.placement.generator import Words, draw, mix
from heliograph.storage.placement.layout import Layout
from heliograph.storage.placement.policies import Placement
from heliograph.storage.placement.rendezvous import weighted

#: Rounds. Where ten disks are as many as members, all but one in a thousand last members find the
#: one that is left.
ATTEMPTS = 64
#: Attempt a of block n has the number n + a · (2^48 + 1): blocks are fewer than 2^48, and an odd
#: step leads round robin to another disk.
_STRIDE = (1 << 48) + 1
#: Groups worked on at once.
CHUNK = 1 << 15
#: Tells what places the rest from what the policy draws.
_REST = 0xE7037ED1A0B428DB


def rows(policy: Placement, seed: int, groups: Words, layout: Layout) -> NDArray[np.int64]:
    """The disks of groups: a row a group, a column a member."""
    found = np.empty((len(groups), layout.width), np.int64)
    for start in range(0, len(groups), CHUNK):
        piece = slice(start, start + CHUNK)
        found[piece] = _rows(policy, seed, groups[piece], layout)
    return found


def row(policy: Placement, seed: int, group: int, layout: Layout) -> list[int]:
    """The disks of one group, by member."""
    first = group * layout.width
    found = [-1] * layout.width
    pending = list(range(layout.width))
    for attempt in range(ATTEMPTS):
        numbers = [first + member + attempt * _STRIDE for member in pending]
        tried = policy.locate_few(seed, numbers, layout.table)
        for member, number, logical in zip(pending, numbers, tried, strict=True):
            disk = layout.physical_one(seed, number, logical)
            if layout.has_room(found, disk):
                found[member] = disk
        pending = [member for member in pending if found[member] < 0]
        if not pending:
            return found
    for member in pending:
        block = np.array([first + member], np.uint64)
        extra = np.array([layout.extra_left(found)])
        found[member] = int(_rest(seed, block, np.array([found], np.int64), extra, layout)[0])
    return found


def _rows(policy: Placement, seed: int, groups: Words, layout: Layout) -> NDArray[np.int64]:
    width = layout.width
    numbers: Words = groups[:, None] * np.uint64(width) + layout.members
    rows = np.full((len(groups), width), -1, np.int64)
    extra = np.full(len(groups), layout.extra, np.int64)
    for attempt in range(ATTEMPTS):
        members, pending = (rows.T < 0).nonzero()
        if not pending.size:
            return rows
        tried: Words = numbers[pending, members] + np.uint64(attempt * _STRIDE)
        disks = layout.physical(seed, tried, policy.locate(seed, tried, layout.table))
        bounds = members.searchsorted(np.arange(width + 1))
        for member in range(width):
            piece = slice(bounds[member], bounds[member + 1])
            _settle(rows, extra, pending[piece], member, disks[piece], layout)
    for member in range(width):
        pending = (rows[:, member] < 0).nonzero()[0]
        if pending.size:
            disks = _rest(seed, numbers[pending, member], rows[pending], extra[pending], layout)
            _settle(rows, extra, pending, member, disks, layout)
    return rows


def _settle(
    rows: NDArray[np.int64],
    extra: NDArray[np.int64],
    which: NDArray[np.int64],
    member: int,
    disks: NDArray[np.int64],
    layout: Layout,
) -> None:
    """Let a member of those rows have its disk where there is room."""
    free, used = _judge(rows[which], disks, extra[which], layout)
    rows[which[free], member] = disks[free]
    extra[which] -= used


def _rest(
    seed: int,
    numbers: Words,
    rows: NDArray[np.int64],
    extra: NDArray[np.int64],
    layout: Layout,
) -> NDArray[np.int64]:
    """Weighted rendezvous among the disks that have room."""
    scores = weighted(mix(draw(seed ^ _REST, numbers)[:, None] ^ layout.keys), layout.weights)
    for disk in range(len(layout.disks)):
        free, _ = _judge(rows, np.full(len(rows), disk), extra, layout)
        scores[~free, disk] = -np.inf
    best: NDArray[np.int64] = scores.argmax(axis=1)
    return best


def _judge(
    rows: NDArray[np.int64], disks: NDArray[np.int64], extra: NDArray[np.int64], layout: Layout
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each row has room on its disk, and whether that would take an extra place."""
    # A member without a disk yet is -1, and so is what the last entry says of its node.
    there = (layout.nodes[rows] == layout.nodes[disks][:, None]).sum(axis=1)
    other = (rows != disks[:, None]).all(axis=1)
    below = there < layout.level
    last = (there == layout.level) & (extra > 0)
    return other & (below | last), other & last
