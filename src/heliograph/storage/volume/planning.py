"""Where everything of a volume is to be, and where it was. Pure.

A stored member is also called by one number, its *code*: ``group * width + member``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from heliograph.model.errors import UnsupportedError
from heliograph.storage.placement import POLICIES, Placement, place, place_one, seed_of
from heliograph.storage.values import BlockKey, DiskId, ObjectId, Scheme
from heliograph.storage.volume.state import (
    MIN_HEADS,
    DiskEntry,
    DiskState,
    Layout,
    VolumeState,
)

Codes: TypeAlias = NDArray[np.int64]

#: Heads are placed as if they were this group: above those of any object.
HEAD_GROUP = (1 << 43) - 1
#: Groups whose places are remembered: what a thousand viewers read, and a little ahead.
MAX_REMEMBERED = 8192


def data_members(scheme: Scheme, blocks: int, group: int) -> int:
    """How many data members a group of an object of ``blocks`` blocks has; 0 behind its end."""
    return max(0, min(scheme.data, blocks - group * scheme.data))


def groups_of(scheme: Scheme, blocks: int) -> int:
    """Groups of an object of ``blocks`` blocks."""
    return -(-blocks // scheme.data)


class Plan:
    """Where blocks and heads lie under one state; remembers what was asked last."""

    def __init__(self, state: VolumeState) -> None:
        """``UnsupportedError`` for a placement function that this program does not know."""
        self.state = state
        self._entries = {one.id: one for one in state.disks}
        self._layouts = [layout for layout in (state.layout, *state.before) if self._usable(layout)]
        self._nodes_of = {one.stands: self._domains(one) for one in self._layouts}
        self._policies = {one.policy: _policy(one.policy) for one in self._layouts}
        self._rows: OrderedDict[tuple[ObjectId, int], tuple[tuple[DiskId, ...], ...]]
        self._rows = OrderedDict()
        self._heads: OrderedDict[ObjectId, tuple[tuple[DiskId, ...], ...]] = OrderedDict()

    def home(self, key: BlockKey) -> DiskEntry | None:
        """The disk on which a member is to be; None while that disk is lost."""
        return self._alive(self._found(key.object, key.group)[0][key.member])

    def places(self, key: BlockKey) -> tuple[DiskEntry, ...]:
        """Disks that may have a member: its home, then where it was; lost ones left out."""
        rows = self._found(key.object, key.group)
        found = dict.fromkeys(row[key.member] for row in rows)
        return tuple(entry for one in found if (entry := self._alive(one)) is not None)

    def head_homes(self, object: ObjectId) -> tuple[DiskEntry, ...]:
        """The disks on which a head is to be, lost ones left out."""
        row = self._head_rows(object)[0]
        return tuple(entry for one in row if (entry := self._alive(one)) is not None)

    def expected(
        self, object: ObjectId, blocks: int, growing: bool, disks: Sequence[DiskId]
    ) -> dict[DiskId, Codes]:
        """By disk: codes of all members that are to be on it, ascending.

        ``growing``: the object's last group has no redundant members before it is full.
        """
        layout = self._layouts[0]
        physical = layout.disks
        found = {disk: np.empty(0, np.int64) for disk in disks}
        if blocks:
            rows = self._placed(layout, object, blocks)
            stored = self._stored(blocks, growing, len(rows))
            for disk in found.keys() & set(physical):
                mine = (rows == physical.index(disk)) & stored
                found[disk] = np.flatnonzero(mine.ravel()).astype(np.int64)
        return found

    def moves(self, object: ObjectId, blocks: int) -> dict[DiskId, int]:
        """Blocks that each disk gets by the change that ``before`` tells of."""
        if len(self._layouts) < 2 or not blocks:
            return {}
        now, before = self._layouts[:2]
        names = np.array(now.disks)[self._placed(now, object, blocks)]
        rows = self._placed(before, object, blocks)
        earlier = np.array(before.disks)[rows]
        gone = np.array([self._alive(one) is None for one in before.disks])[rows]
        moved = ((names != earlier) | gone) & self._stored(blocks, False, len(names))
        ids, counts = np.unique(names[moved], return_counts=True)
        return {DiskId(str(one)): int(count) for one, count in zip(ids, counts, strict=True)}

    def unreadable(
        self, object: ObjectId, blocks: int, growing: bool, there: Collection[DiskId]
    ) -> int:
        """How many groups of an object cannot be read where only those disks answer; a member may
        be where it was before a change."""
        if not blocks:
            return 0
        scheme = self.state.scheme
        found = np.zeros((groups_of(scheme, blocks), scheme.width), np.bool_)
        for layout in self._layouts:
            up = [one in there and self._alive(one) is not None for one in layout.disks]
            found |= np.array(up)[self._placed(layout, object, blocks)]
        stored = self._stored(blocks, growing, len(found))
        wanted = stored[:, : scheme.data].sum(axis=1)
        return int(((found & stored).sum(axis=1) < wanted).sum())

    def spread(self, object: ObjectId, node: str, groups: int) -> float:
        """Variance of how many data members of a group a node has, over so many groups."""
        layout, data = self._layouts[0], self.state.scheme.data
        mine = np.array([self._entries[disk].node == node for disk in layout.disks])
        rows = self._placed(layout, object, groups * data)
        return float(mine[rows[:, :data]].sum(axis=1).var())

    def key(self, object: ObjectId, code: int) -> BlockKey:
        """The member that a code means."""
        group, member = divmod(code, self.state.scheme.width)
        return BlockKey(object, group, member)

    def _placed(self, layout: Layout, object: ObjectId, blocks: int) -> NDArray[np.int64]:
        scheme = self.state.scheme
        return place(
            self._policies[layout.policy],
            self._seed(object),
            np.arange(groups_of(scheme, blocks), dtype=np.uint64),
            scheme.width,
            layout.table,
            self._nodes(layout),
        )

    def _stored(self, blocks: int, growing: bool, groups: int) -> NDArray[np.bool_]:
        """By group and member: whether there is such a member at all."""
        scheme = self.state.scheme
        stored = np.ones((groups, scheme.width), np.bool_)
        last = data_members(scheme, blocks, groups - 1)
        stored[-1, last : scheme.data] = False
        if growing and last < scheme.data:
            stored[-1, scheme.data :] = False
        return stored

    def _found(self, object: ObjectId, group: int) -> tuple[tuple[DiskId, ...], ...]:
        """By layout: the disks of a group."""
        known = self._rows.get((object, group))
        if known is None:
            width = self.state.scheme.width
            known = tuple(self._row(one, object, group, width) for one in self._layouts)
            self._rows[object, group] = known
            if len(self._rows) > MAX_REMEMBERED:
                self._rows.popitem(last=False)
        return known

    def _head_rows(self, object: ObjectId) -> tuple[tuple[DiskId, ...], ...]:
        known = self._heads.get(object)
        if known is None:
            copies = max(MIN_HEADS, self.state.scheme.parity + 2)
            known = tuple(
                self._row(one, object, HEAD_GROUP, min(copies, len(one.table.physical)))
                for one in self._layouts
            )
            self._heads[object] = known
            if len(self._heads) > MAX_REMEMBERED:
                self._heads.popitem(last=False)
        return known

    def _row(self, layout: Layout, object: ObjectId, group: int, width: int) -> tuple[DiskId, ...]:
        policy = self._policies[layout.policy]
        nodes = self._nodes(layout)
        row = place_one(policy, self._seed(object), group, width, layout.table, nodes)
        standing = dict(layout.stands)
        return tuple(standing.get(one, one) for one in row) if standing else row

    def _nodes(self, layout: Layout) -> dict[DiskId, str]:
        """By the ids that the table has: the nodes of the disks that stand there."""
        return self._nodes_of[layout.stands]

    def _seed(self, object: ObjectId) -> int:
        return seed_of(object) ^ self.state.seed

    def _alive(self, disk: DiskId) -> DiskEntry | None:
        entry = self._entries.get(disk)
        return None if entry is None or entry.state is DiskState.LOST else entry

    def _domains(self, layout: Layout) -> dict[DiskId, str]:
        found: dict[DiskId, str] = {one.id: one.node for one in self._entries.values()}
        for id, disk in layout.stands:
            found[id] = self._entries[disk].node
        return found

    def _usable(self, layout: Layout) -> bool:
        """Whether every disk of a layout is still known."""
        return all(disk in self._entries for disk in layout.disks)


def forecast(state: VolumeState, objects: Iterable[tuple[ObjectId, int, int]]) -> dict[DiskId, int]:
    """Bytes that a change brings to each disk; ``objects``: id, blocks and bytes of each.

    Of a change that is only thought of, ask with the state that it would give.
    """
    plan = Plan(state)
    found: dict[DiskId, int] = {}
    for object, blocks, size in objects:
        for disk, count in plan.moves(object, blocks).items():
            found[disk] = found.get(disk, 0) + count * size // blocks
    return found


def lacking(expected: Codes, present: Codes) -> Codes:
    """What is to be on a disk and is not."""
    found: Codes = np.setdiff1d(expected, present)
    return found


def surplus(expected: Codes, present: Codes) -> Codes:
    """What is on a disk and is to be elsewhere, or nowhere."""
    found: Codes = np.setdiff1d(present, expected)
    return found


def _policy(name: str) -> Placement:
    found = POLICIES.get(name)
    if found is None:
        raise UnsupportedError(f"placement {name!r} is not known here", subject=name)
    return found
