"""What placement speaks of: logical disks made of parts, and the table of what was done to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.model.errors import MalformedError
from heliograph.storage.values import DiskId

#: Operations of a table, at most: policies that remember go through all of them for each new table,
#: Random Slicing in a fifth of a second by then. Merging starts tables anew that come near.
MAX_OPERATIONS = 256
#: Logical disks of a table at present, at most: rendezvous looks at each for each block.
MAX_LOGICAL = 4096
#: Ids of logical disks stay below, so that they are ordinary numbers everywhere.
MAX_ID = 1 << 31


@dataclass(frozen=True, slots=True)
class Part:
    """What a physical disk gives to a logical one."""

    disk: DiskId
    share: float
    """Of the logical disk's blocks, above 0, at most 1."""


@dataclass(frozen=True, slots=True)
class LogicalDisk:
    """One of the equal disks over which blocks are placed."""

    id: int
    """0 to below 2^31; never given to another, not even after it was removed."""
    parts: tuple[Part, ...]
    """Of different physical disks; shares add up to 1."""

    def __post_init__(self) -> None:
        """Refuse with ``MalformedError`` what cannot be."""
        if not 0 <= self.id < MAX_ID:
            raise MalformedError("logical disk", f"id {self.id}")
        if len({part.disk for part in self.parts}) != len(self.parts):
            raise MalformedError("logical disk", f"{self.id} has two parts of one disk")
        if not all(0 < part.share <= 1 for part in self.parts):
            raise MalformedError("logical disk", f"a part of {self.id} is not from 0 to 1")
        if not math.isclose(sum(part.share for part in self.parts), 1, abs_tol=1e-9):
            raise MalformedError("logical disk", f"the parts of {self.id} do not add up to 1")


def whole(id: int, disk: DiskId) -> LogicalDisk:
    """A logical disk that is one physical disk, or a piece of one."""
    return LogicalDisk(id, (Part(disk, 1.0),))


@dataclass(frozen=True, slots=True)
class Added:
    """Logical disks came; those before stayed."""

    disks: tuple[LogicalDisk, ...]
    """At least one."""


@dataclass(frozen=True, slots=True)
class Removed:
    """Logical disks went; at least one stayed."""

    ids: tuple[int, ...]
    """At least one."""


Operation: TypeAlias = Added | Removed


@dataclass(frozen=True, slots=True)
class Table:
    """All that was done to the logical disks of a volume: all that placement depends on.

    A value: ``add`` and ``remove`` give the next one. What cannot be raises ``MalformedError``.
    """

    operations: tuple[Operation, ...] = ()
    """The oldest first; the first adds."""
    disks: tuple[LogicalDisk, ...] = field(init=False, compare=False, repr=False)
    """At present, in the order in which they came."""
    next_id: int = field(init=False, compare=False, repr=False)
    """Above every id that ever was."""
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Go through the operations and refuse what cannot be."""
        if len(self.operations) > MAX_OPERATIONS:
            raise MalformedError("placement table", f"more than {MAX_OPERATIONS} operations")
        present: dict[int, LogicalDisk] = {}
        seen: set[int] = set()
        for one in self.operations:
            if isinstance(one, Added):
                _add(one, present, seen)
            else:
                _remove(one, present)
        if len(present) > MAX_LOGICAL:
            raise MalformedError("placement table", f"more than {MAX_LOGICAL} logical disks")
        object.__setattr__(self, "disks", tuple(present.values()))
        object.__setattr__(self, "next_id", max(seen, default=-1) + 1)
        object.__setattr__(self, "_hash", hash(self.operations))

    def __hash__(self) -> int:
        """Computed once: policies remember by table what they made of it."""
        return self._hash

    @property
    def physical(self) -> tuple[DiskId, ...]:
        """The physical disks at present, in the order of their ids."""
        return tuple(sorted({part.disk for one in self.disks for part in one.parts}))

    @property
    def shares(self) -> dict[DiskId, float]:
        """By physical disk: how many logical disks it makes up."""
        found = dict.fromkeys(self.physical, 0.0)
        for one in self.disks:
            for part in one.parts:
                found[part.disk] += part.share
        return found

    def add(self, disks: Sequence[LogicalDisk]) -> Table:
        """The table after these came, in one operation."""
        return Table((*self.operations, Added(tuple(disks))))

    def remove(self, ids: Sequence[int]) -> Table:
        """The table after these went, in one operation."""
        return Table((*self.operations, Removed(tuple(ids))))

    def restarted(self) -> Table:
        """The same disks without their past.

        Nothing moves under policies that do not remember; under the others nearly everything does,
        and SCADDAR is as even as on its first day.
        """
        return Table((Added(self.disks),)) if self.disks else Table()


def _add(one: Added, present: dict[int, LogicalDisk], seen: set[int]) -> None:
    ids = [disk.id for disk in one.disks]
    if not ids:
        raise MalformedError("placement table", "an addition of nothing")
    if len(set(ids)) != len(ids) or not seen.isdisjoint(ids):
        raise MalformedError("placement table", f"an id among {ids[:8]} was given before")
    seen.update(ids)
    present.update(zip(ids, one.disks, strict=True))


def _remove(one: Removed, present: dict[int, LogicalDisk]) -> None:
    if not one.ids or len(set(one.ids)) != len(one.ids):
        raise MalformedError("placement table", "a removal of nothing, or of one disk twice")
    for id in one.ids:
        if present.pop(id, None) is None:
            raise MalformedError("placement table", f"logical disk {id} is not there to be removed")
    if not present:
        raise MalformedError("placement table", "a removal that leaves no disk")
