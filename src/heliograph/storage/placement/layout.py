"""A table as placing groups needs it: numbers of disks, of nodes, and what has room."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from heliograph.model.errors import MalformedError, ResourceError
from heliograph.storage.placement.generator import Words, draw, draw_one
from heliograph.storage.placement.rates import rates
from heliograph.storage.placement.values import Table
from heliograph.storage.values import MAX_WIDTH, DiskId

#: Tells what draws a part of a logical disk from what the policy draws.
_PART = 0xA0761D6478BD642F
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
    """By disk: what a block's number is joined with by rendezvous."""
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
        keys=np.array([_key_of(disk) for disk in disks], np.uint64),
        parts_of=parts_of,
        node_of=(*node_numbers, -1),
        node_count=len(names),
        members=np.arange(width).astype(np.uint64),
    )


def _key_of(disk: DiskId) -> int:
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
