"""Where the members of parity groups are: on different disks, and on different nodes.

Member j of group g in groups of width w is block g · w + j of its object.

By rendezvous all disks compare themselves for all members of a group: each pair of a member and a
disk draws a moment, and in the order of these moments members get disks, unless the member has
one, the disk has a member, or its node has as many as it should. Disks draw at such rates that
all fill alike, however different they are (``rates``).

By any other policy the members ask for a disk, and in their order take it, unless there is no room
for them. Those who got none ask again with another number, and so on; what did not find room in
``ATTEMPTS`` rounds is placed by rendezvous among the disks that have some. Who has to look for
another disk thus hardly ever takes the one of somebody who could stay; but large disks get less
than their share.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heliograph.model.errors import MalformedError, ResourceError
from heliograph.storage.placement.generator import Words, draw, draw_one, mix
from heliograph.storage.placement.policies import Placement
from heliograph.storage.placement.rates import rates
from heliograph.storage.placement.rendezvous import Rendezvous, weighted
from heliograph.storage.placement.values import Table
from heliograph.storage.values import MAX_WIDTH, DiskId

#: Numbers that a member asks the policy for. Of ten disks as wide as a group, all but one in a
#: thousand last members find the one that is left.
ATTEMPTS = 64
#: Numbers of blocks stay below; attempt a of block n has the number n + a · (2^48 + 1). Odd, so
#: that it leads round robin to another disk.
MAX_BLOCKS = 1 << 48
_STRIDE = MAX_BLOCKS + 1
#: Groups worked on at once.
CHUNK = 1 << 15
#: Pairs of members and disks compared at once by rendezvous: what they need fits in a core's cache.
PAIRS = 1 << 17
#: Tell apart what else is drawn for a block from what the policy draws.
_PART = 0xA0761D6478BD642F
_REST = 0xE7037ED1A0B428DB
_WORD = 1 << 32


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A table with its nodes, for groups of one width."""

    table: Table
    width: int
    disks: tuple[DiskId, ...]
    """Physical disks; all else speaks of their numbers in this order."""
    nodes: NDArray[np.int64]
    """By disk: the number of its node; the last entry is -1, for no disk."""
    weights: NDArray[np.float64]
    """By disk: how many logical disks it makes up."""
    rates: NDArray[np.float64]
    """By disk: how often rendezvous is to draw it."""
    level: int
    """Members that any node may have; on top of that, ``extra`` nodes may have one more."""
    extra: int
    sorted_ids: NDArray[np.int64]
    """Of the logical disks."""
    owners: NDArray[np.int64]
    """By logical disk and part: the physical disk."""
    ends: Words
    """By logical disk and part: where it ends in 2^32 equal pieces of the logical disk."""
    plain: bool
    """Whether no logical disk has several parts."""
    keys: Words
    """By disk: what a block's number is joined with when the rest is placed."""
    parts_of: Mapping[int, tuple[tuple[int, int], ...]]
    """``ends`` and ``owners`` by id of the logical disk, for looking up one."""
    node_of: tuple[int, ...]
    """``nodes``, for looking up one; no disk is -1."""
    node_count: int
    members: Words
    """0 to below ``width``."""

    def physical(self, seed: int, numbers: Words, logical: NDArray[np.int64]) -> NDArray[np.int64]:
        """The disks of blocks on those logical disks; parts get what is theirs by hash."""
        rows = self.sorted_ids.searchsorted(logical)
        part: NDArray[np.int64] | int = 0
        if not self.plain:
            drawn = draw(seed ^ _PART, numbers) >> np.uint64(32)
            part = (drawn[:, None] >= self.ends[rows]).sum(axis=1)
        disks: NDArray[np.int64] = self.owners[rows, part]
        return disks

    def physical_one(self, seed: int, number: int, logical: int) -> int:
        """The same of one block."""
        parts = self.parts_of[logical]
        if len(parts) == 1:
            return parts[0][1]
        drawn = draw_one(seed ^ _PART, number) >> 32
        return next(disk for end, disk in parts if drawn < end)

    def has_room(self, row: list[int], disk: int) -> bool:
        """Whether a group with members on those disks may have another on this one."""
        if disk in row:
            return False
        node = self.node_of[disk]
        there = sum(self.node_of[one] == node for one in row)
        if there < self.level:
            return True
        # At level 0 there is an extra place for each member.
        return there == self.level and (not self.level or self.extra_left(row) > 0)

    def extra_left(self, row: list[int]) -> int:
        """How many nodes may still have a member above the level."""
        counts = Counter(self.node_of[one] for one in row if one >= 0)
        return self.extra - sum(count > self.level for count in counts.values())


def layout_of(table: Table, nodes: Mapping[DiskId, str], width: int) -> Layout:
    """What ``place`` needs to know of a table.

    ``ResourceError``: fewer disks than a group has members; ``MalformedError``: a disk without a
    node, or a width that cannot be.
    """
    return _layout(table, frozenset(nodes.items()), width)


@lru_cache(maxsize=16)
def _layout(table: Table, nodes: frozenset[tuple[DiskId, str]], width: int) -> Layout:
    if not 1 <= width <= MAX_WIDTH:
        raise MalformedError("group", f"{width} members (1 to {MAX_WIDTH})")
    shares = table.shares
    disks = tuple(shares)
    if len(disks) < width:
        raise ResourceError(f"groups of {width} members need as many disks; there are {len(disks)}")
    node_of = dict(nodes)
    lost = next((disk for disk in disks if disk not in node_of), None)
    if lost is not None:
        raise MalformedError("placement", f"the node of disk {lost} is not told")
    names = sorted({node_of[disk] for disk in disks})
    counts = [sum(node_of[disk] == name for disk in disks) for name in names]
    level, extra = _levels(counts, width)
    number = {disk: index for index, disk in enumerate(disks)}
    node_numbers = tuple(names.index(node_of[disk]) for disk in disks)
    logical = sorted(table.disks, key=lambda one: one.id)
    most = max(len(one.parts) for one in logical)
    owners = np.zeros((len(logical), most), np.int64)
    ends = np.full((len(logical), most), _WORD, np.uint64)
    for row, one in enumerate(logical):
        end = 0.0
        for column, part in enumerate(one.parts):
            end += part.share
            owners[row, column] = number[part.disk]
            if column + 1 < len(one.parts):
                ends[row, column] = round(end * _WORD)
    parts_of = {
        one.id: tuple(zip(ends[row].tolist(), owners[row].tolist(), strict=True))[: len(one.parts)]
        for row, one in enumerate(logical)
    }
    weights = np.array(list(shares.values()), np.float64)
    return Layout(
        table=table,
        width=width,
        disks=disks,
        nodes=np.array((*node_numbers, -1), np.int64),
        weights=weights,
        rates=_rates(weights, np.array(node_numbers), width, level, extra),
        level=level,
        extra=extra,
        sorted_ids=np.array([one.id for one in logical], np.int64),
        owners=owners,
        ends=ends,
        plain=most == 1,
        keys=np.array([seed_of_disk(disk) for disk in disks], np.uint64),
        parts_of=parts_of,
        node_of=(*node_numbers, -1),
        node_count=len(names),
        members=np.arange(width).astype(np.uint64),
    )


def seed_of_disk(disk: DiskId) -> int:
    """A number of the disk's own, 0 to below 2^64."""
    return int.from_bytes(hashlib.blake2b(disk.encode(), digest_size=8).digest(), "big")


def _levels(counts: list[int], width: int) -> tuple[int, int]:
    """How many members each node may have, and how many nodes one more.

    ``counts``: disks by node. As even as disks allow: a node with fewer than the level has one on
    each of its disks.
    """
    level = 0
    while sum(min(count, level + 1) for count in counts) < width:
        level += 1
    return level, width - sum(min(count, level) for count in counts)


def _rates(
    weights: NDArray[np.float64], nodes: NDArray[np.int64], width: int, level: int, extra: int
) -> NDArray[np.float64]:
    """By disk: how often to draw it, so that disks fill by their weights."""
    of_node = np.bincount(nodes, weights).astype(np.float64)
    found: NDArray[np.float64] = weights / weights.sum()
    if not level:
        # As many nodes are drawn as there are members, and one disk of each.
        found = (rates(of_node, width) / of_node)[nodes] * weights
        return found
    members = np.clip(width * of_node / of_node.sum(), level, level + (extra > 0))
    for node, count in enumerate(members.tolist()):
        mine = nodes == node
        if count < np.count_nonzero(mine):
            found[mine] = rates(weights[mine], count) * found[mine].sum()
    return found


def place(
    policy: Placement,
    seed: int,
    groups: ArrayLike,
    width: int,
    table: Table,
    nodes: Mapping[DiskId, str],
) -> NDArray[np.int64]:
    """The disks of groups: a row a group, a column a member.

    The numbers are those of ``table.physical``. ``groups``: numbers from 0, below 2^48 / width.
    ``nodes``: the node, or whatever else fails as one, of each disk. In a row disks are different,
    and nodes too where there are as many as members; else members are spread over nodes as evenly
    as can be. Errors: those of ``layout_of``; ``MalformedError`` for groups out of range.
    """
    layout = layout_of(table, nodes, width)
    wanted = np.asarray(groups, np.uint64)
    if wanted.size and int(wanted.max()) >= MAX_BLOCKS // width:
        raise MalformedError("group", f"{int(wanted.max())} (below 2^48 / {width})")
    found = np.empty((len(wanted), width), np.int64)
    if isinstance(policy, Rendezvous):
        rows, way = max(1, PAIRS // (width * len(layout.disks))), _ranked
    else:
        rows, way = CHUNK, partial(_rows, policy)
    for start in range(0, len(wanted), rows):
        piece = slice(start, start + rows)
        found[piece] = way(seed, wanted[piece], layout)
    return found


def place_one(
    policy: Placement,
    seed: int,
    group: int,
    width: int,
    table: Table,
    nodes: Mapping[DiskId, str],
) -> tuple[DiskId, ...]:
    """The disks of one group, by member: the same as ``place`` says, sooner for a single one."""
    layout = layout_of(table, nodes, width)
    if not 0 <= group < MAX_BLOCKS // width:
        raise MalformedError("group", f"{group} (below 2^48 / {width})")
    return _remembered(policy, seed, group, layout)


def _moments(seed: int, groups: Words, layout: Layout) -> NDArray[np.float64]:
    """By group, and by pair of a member and a disk: when these draw each other, negated."""
    numbers: Words = groups[:, None] * np.uint64(layout.width) + layout.members
    drawn = mix(draw(seed, numbers)[:, :, None] ^ layout.keys)
    return weighted(drawn, layout.rates).reshape(len(groups), -1)


def _ranked(seed: int, groups: Words, layout: Layout) -> NDArray[np.int64]:
    moments = _moments(seed, groups, layout)
    by_member = moments.reshape(len(groups), layout.width, -1)
    every = np.arange(len(groups))
    rows = np.full((len(groups), layout.width), -1, np.int64)
    counts = np.zeros((len(groups), layout.node_count), np.int64)
    extra = np.full((len(groups), 1), layout.extra, np.int64)
    for _ in range(layout.width):
        members, disks = np.divmod(moments.argmax(axis=1), len(layout.disks))
        nodes = layout.nodes[disks]
        rows[every, members] = disks
        by_member[every, members] = -np.inf
        if layout.level:
            by_member[every, :, disks] = -np.inf
        extra[:, 0] -= counts[every, nodes] == layout.level
        counts[every, nodes] += 1
        full = (counts > layout.level) | ((counts == layout.level) & (extra == 0))
        np.copyto(by_member, -np.inf, where=full[:, None, layout.nodes[:-1]])
    return rows


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


@lru_cache(maxsize=4096)
def _remembered(policy: Placement, seed: int, group: int, layout: Layout) -> tuple[DiskId, ...]:
    """Streams ask for each group once a block; 4096 groups are those of some thousand streams."""
    if isinstance(policy, Rendezvous):
        row = _ranked_row(seed, group, layout)
    else:
        row = _row(policy, seed, group, layout)
    return tuple(layout.disks[disk] for disk in row)


def _ranked_row(seed: int, group: int, layout: Layout) -> list[int]:
    moments = _moments(seed, np.array([group], np.uint64), layout)[0]
    row = [-1] * layout.width
    left = layout.width
    for pair in (-moments).argsort(kind="stable").tolist():
        member, disk = divmod(pair, len(layout.disks))
        if row[member] < 0 and layout.has_room(row, disk):
            row[member] = disk
            left -= 1
            if not left:
                break
    return row


def _row(policy: Placement, seed: int, group: int, layout: Layout) -> list[int]:
    first = group * layout.width
    row = [-1] * layout.width
    pending = list(range(layout.width))
    for attempt in range(ATTEMPTS):
        numbers = [first + member + attempt * _STRIDE for member in pending]
        tried = policy.locate_few(seed, numbers, layout.table)
        for member, number, logical in zip(pending, numbers, tried, strict=True):
            disk = layout.physical_one(seed, number, logical)
            if layout.has_room(row, disk):
                row[member] = disk
        pending = [member for member in pending if row[member] < 0]
        if not pending:
            return row
    for member in pending:
        block = np.array([first + member], np.uint64)
        extra = np.array([layout.extra_left(row)])
        row[member] = int(_rest(seed, block, np.array([row], np.int64), extra, layout)[0])
    return row
