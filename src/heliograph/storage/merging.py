"""Disk merging: physical disks of any size and speed become equal logical disks.

Zimmermann, Ghandeharizadeh: Continuous Display Using Heterogeneous Disk-Subsystems, ACM Multimedia
1997. A physical disk makes up as many logical disks as its space and its bandwidth allow, the
scarcer of the two, in fractions: whole ones are its own, fractions of several disks are joined into
one. What is left over is less than a logical disk in all; ``usable`` tells it.

What a logical disk is worth is not kept anywhere: it is what the disks that are there allow to each
of those that they make up. Thus a table and the disks say all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from heliograph.model.errors import MalformedError, ResourceError, TooLargeError
from heliograph.storage.placement.values import (
    MAX_LOGICAL,
    MAX_OPERATIONS,
    LogicalDisk,
    Part,
    Table,
    whole,
)
from heliograph.storage.values import DiskId

#: Parts are multiples of 1/64 of a logical disk: more exact than bandwidths are measured.
GRAINS = 64
#: The first logical disks are as large as the smallest disk that is not below a quarter of the
#: mean: one small old disk is no reason for hundreds of logical ones.
SMALLEST = 0.25
#: Forgives sums of fractions their last bits.
_EPSILON = 1e-6
#: Rounds of bringing down what is too large, at most; each leaves 31/32 of the excess or less.
_ROUNDS = 1000


class By(StrEnum):
    """What the shares of disks follow."""

    BOTH = "both"
    """The scarcer of the two: neither space nor bandwidth runs out before its time."""
    SPACE = "space"
    """All space is used; slow disks limit how many can watch."""
    BANDWIDTH = "bandwidth"
    """All bandwidth is used; small disks limit how much can be kept."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a physical disk has."""

    disk: DiskId
    space: float
    """Bytes that blocks may fill, above 0."""
    bandwidth: float
    """Bytes a second that it reads, above 0; any unit, the same for all."""

    def __post_init__(self) -> None:
        """Refuse with ``MalformedError`` what cannot be."""
        if not (0 < self.space < float("inf") and 0 < self.bandwidth < float("inf")):
            raise MalformedError(
                "disk", f"{self.disk} of {self.space} bytes, {self.bandwidth} bytes a second"
            )


@dataclass(frozen=True, slots=True)
class Unused:
    """What of a physical disk blocks can never fill."""

    disk: DiskId
    space: float
    """Bytes."""
    bandwidth: float
    """Bytes a second."""
    share: float
    """How many logical disks it makes up; 0: it holds nothing at all."""


@dataclass(frozen=True, slots=True)
class Usable:
    """What a table makes of its disks, when each holds and delivers by its share."""

    space: float
    """Bytes in all until the first disk is full."""
    bandwidth: float
    """Bytes a second in all until the first disk is busy all the time."""
    unused: tuple[Unused, ...]
    """By disk, in the order of the disks that were told."""


def merge(
    table: Table,
    disks: Sequence[Capacity],
    *,
    by: By = By.BOTH,
    width: int = 1,
    nodes: Mapping[DiskId, str] | None = None,
    fewest: int = 1,
) -> Table:
    """The table of those disks: what it has of others goes, what they can give besides comes.

    Logical disks that only have parts of disks that stay are kept as they are. ``width``: members
    of a group; no disk gets more than a member of each group, and no node of ``nodes`` more than
    its members, since they could not be filled. ``fewest``: logical disks of a table without a
    past; few disks are cut finer, so that one that comes later and gives less is of use.

    The same table where nothing changes; one without a past where nothing stays, or where there
    were as many operations as a table can have: policies that remember then move nearly everything.
    ``ResourceError``: there are no disks; ``TooLargeError``: there would be too many logical disks,
    and the table is to be started anew.
    """
    offers = _checked(disks)
    kept = [one for one in table.disks if all(part.disk in offers for part in one.parts)]
    gone = sorted({one.id for one in table.disks} - {one.id for one in kept})
    have = _shares(kept)
    potentials = _bound(_sizes(offers, have, by), min(width, len(offers)), nodes)
    unit = 1.0
    if not kept:
        mean = sum(potentials.values()) / len(potentials)
        unit = min(size for size in potentials.values() if size >= SMALLEST * mean)
        unit /= max(1, fewest // len(offers))
    spare = {
        disk: grains
        for disk, size in potentials.items()
        if (grains := int((size / unit - have.get(disk, 0.0)) * GRAINS + _EPSILON)) > 0
    }
    new = _made(spare, table.next_id)
    if len(kept) + len(new) > MAX_LOGICAL:
        raise TooLargeError(
            f"{len(kept) + len(new)} logical disks, above {MAX_LOGICAL}: start the table anew"
        )
    if not kept:
        return Table().add(new)
    if (new or gone) and len(table.operations) + 2 > MAX_OPERATIONS:
        table = table.restarted()
    if gone:
        table = table.remove(gone)
    return table.add(new) if new else table


def usable(table: Table, disks: Sequence[Capacity]) -> Usable:
    """What can be used of the disks of a table, and what cannot.

    ``MalformedError``: a disk of the table is not told.
    """
    offers = _checked(disks)
    shares = table.shares
    lost = next((disk for disk in shares if disk not in offers), None)
    if lost is not None:
        raise MalformedError("placement", f"the capacity of disk {lost} is not told")
    space, bandwidth = _unit(offers, shares) if shares else (0.0, 0.0)
    count = len(table.disks)
    return Usable(
        space * count,
        bandwidth * count,
        tuple(
            Unused(
                one.disk,
                max(0.0, one.space - share * space),
                max(0.0, one.bandwidth - share * bandwidth),
                share,
            )
            for one in disks
            for share in (shares.get(one.disk, 0.0),)
        ),
    )


def _checked(disks: Sequence[Capacity]) -> dict[DiskId, Capacity]:
    offers = {one.disk: one for one in disks}
    if len(offers) != len(disks):
        raise MalformedError("disks", "a disk is told twice")
    if not offers:
        raise ResourceError("there are no disks")
    return offers


def _shares(disks: Iterable[LogicalDisk]) -> dict[DiskId, float]:
    found: dict[DiskId, float] = {}
    for one in disks:
        for part in one.parts:
            found[part.disk] = found.get(part.disk, 0.0) + part.share
    return found


def _unit(offers: Mapping[DiskId, Capacity], shares: Mapping[DiskId, float]) -> tuple[float, float]:
    """Space and bandwidth of a logical disk: as much as each that makes up some can give."""
    return (
        min(offers[disk].space / share for disk, share in shares.items()),
        min(offers[disk].bandwidth / share for disk, share in shares.items()),
    )


def _sizes(
    offers: Mapping[DiskId, Capacity], have: Mapping[DiskId, float], by: By
) -> dict[DiskId, float]:
    """By disk: how many logical disks it could make up; in any unit while there are none."""
    if have:
        space, bandwidth = _unit(offers, have)
    else:
        # The middle one, so that no single disk says how space and bandwidth belong together.
        middle = sorted(offers.values(), key=lambda one: (one.bandwidth / one.space, one.disk))[
            (len(offers) - 1) // 2
        ]
        space, bandwidth = middle.space, middle.bandwidth
    found = {}
    for disk, one in offers.items():
        spacious, quick = one.space / space, one.bandwidth / bandwidth
        found[disk] = {
            By.BOTH: min(spacious, quick),
            By.SPACE: spacious,
            By.BANDWIDTH: quick,
        }[by]
    return found


def _bound(
    sizes: dict[DiskId, float], width: int, nodes: Mapping[DiskId, str] | None
) -> dict[DiskId, float]:
    """Bring down disks and nodes that are larger than their members of all groups can be."""
    by_node: dict[str, list[DiskId]] = {}
    for disk in sizes:
        by_node.setdefault(nodes[disk] if nodes else disk, []).append(disk)
    members = -(-width // len(by_node))
    total = float("inf")
    for _ in range(_ROUNDS):
        before, total = total, sum(sizes.values())
        if before - total <= total * 1e-9:
            break
        sizes = {disk: min(size, total / width) for disk, size in sizes.items()}
        for of_node in by_node.values():
            most = members * total / width
            factor = min(1.0, most / sum(sizes[disk] for disk in of_node))
            sizes |= {disk: sizes[disk] * factor for disk in of_node}
    return sizes


def _made(spare: dict[DiskId, int], first: int) -> list[LogicalDisk]:
    """Logical disks out of spare grains: whole ones, then joined ones, the largest parts first."""
    found: list[LogicalDisk] = []
    for disk, grains in spare.items():
        for _ in range(grains // GRAINS):
            found.append(whole(first + len(found), disk))
        spare[disk] = grains % GRAINS
    while sum(spare.values()) >= GRAINS:
        parts, missing = [], GRAINS
        for disk, grains in sorted(spare.items(), key=lambda one: (-one[1], one[0])):
            taken = min(grains, missing)
            if not taken:
                break
            spare[disk] -= taken
            missing -= taken
            parts.append(Part(disk, taken / GRAINS))
        found.append(LogicalDisk(first + len(found), tuple(parts)))
    return found
