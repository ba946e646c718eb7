"""What a volume is made of at one time. Pure.

The database keeps the newest state and each disk a copy; of copies the one with the highest version
counts. ``changes`` makes the next state, ``encoding`` writes it down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from heliograph.model.nodes import NodeId
from heliograph.storage.placement.values import Table
from heliograph.storage.values import DiskId, Scheme

#: Disks of one volume: a state of so many is 1 MB of JSON.
MAX_DISKS = 1024
#: Earlier layouts kept: failures during a change add one each. What lay only where an older one
#: says is found by asking every disk.
MAX_BEFORE = 8
#: Heads are kept on this many disks at least, where there are so many.
MIN_HEADS = 3


class DiskState(StrEnum):
    """What a disk is for the volume."""

    ACTIVE = "active"
    """Written and read."""
    LEAVING = "leaving"
    """Read while its blocks move elsewhere; nothing new is written."""
    LOST = "lost"
    """Gone by force: nothing on it counts any more, even if it comes back."""


@dataclass(frozen=True, slots=True)
class DiskEntry:
    """One disk of a volume."""

    id: DiskId
    node: NodeId
    """The node whose directory it is: the domain that fails together."""
    path: str
    """Of the directory on that node."""
    capacity: int
    """Bytes it may hold."""
    bandwidth: int
    """Bytes a second it reads, measured when it was added."""
    state: DiskState = DiskState.ACTIVE


@dataclass(frozen=True, slots=True)
class Layout:
    """What says where a block lies."""

    policy: str
    """Name of the placement function."""
    table: Table
    stands: tuple[tuple[DiskId, DiskId], ...] = ()
    """By the id that the table has: the disk that stands there now, after it was replaced. All
    others stand for themselves."""

    @property
    def disks(self) -> tuple[DiskId, ...]:
        """The disks that stand for ``table.physical``, in its order."""
        standing = dict(self.stands)
        return tuple(standing.get(one, one) for one in self.table.physical)

    def place_of(self, disk: DiskId) -> DiskId:
        """The id that the table has for a disk."""
        return next((place for place, one in self.stands if one == disk), disk)


@dataclass(frozen=True, slots=True)
class Limits:
    """What moving and checking may cost on each node."""

    move: int = 50_000_000
    """Bytes a second that rebuilding and moving may read."""
    scrub: int = 10_000_000
    """Bytes a second that scrubbing may read; 0: none is done."""


@dataclass(frozen=True, slots=True)
class VolumeState:
    """A volume, and the change it is in."""

    name: str
    version: int
    """From 1; each change adds 1."""
    scheme: Scheme
    seed: int
    """Mixed into each object's own: two volumes place the same object differently. 64 bits."""
    policy: str
    table: Table
    """Where blocks are to be."""
    disks: tuple[DiskEntry, ...]
    """In the order they were added; a disk that left is not here once the change is settled."""
    stands: tuple[tuple[DiskId, DiskId], ...] = ()
    """As in ``Layout``."""
    before: tuple[Layout, ...] = ()
    """Where blocks may still be: earlier layouts, the newest first; empty when all is settled."""
    limits: Limits = field(default_factory=Limits)

    @property
    def layout(self) -> Layout:
        """Where blocks are to be."""
        return Layout(self.policy, self.table, self.stands)

    @property
    def active(self) -> tuple[DiskEntry, ...]:
        """Disks that are written."""
        return tuple(one for one in self.disks if one.state is DiskState.ACTIVE)

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Nodes with a disk that can be read, each once, in the order of the disks."""
        found = (one.node for one in self.disks if one.state is not DiskState.LOST)
        return tuple(dict.fromkeys(found))

    @property
    def heads(self) -> int:
        """Disks on which an object's head is kept."""
        return min(len(self.active), max(MIN_HEADS, self.scheme.parity + 2))

    def disk(self, disk: DiskId) -> DiskEntry | None:
        """A disk by its id."""
        return next((one for one in self.disks if one.id == disk), None)

    def disks_of(self, node: NodeId) -> tuple[DiskEntry, ...]:
        """Disks of a node that are not lost."""
        return tuple(
            one for one in self.disks if one.node == node and one.state is not DiskState.LOST
        )
