"""Disks that come and go, as tables: the same for every policy."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from heliograph.model.errors import MalformedError
from heliograph.storage.merging import Capacity, merge
from heliograph.storage.placement import Table
from heliograph.storage.values import DiskId

#: Eight disks to begin with, then twenty operations of one and of several disks.
MIXED = "8 +1 +1 +2 -1 +1 +1 -2 +4 +1 -1 +1 +1 -3 +2 +1 -1 +1 +1 -1 +1"
#: Disks of a scenario, at most: more than a volume should have.
MAX_DISKS = 1000
#: Operations of a scenario, at most.
MAX_CHANGES = 200
#: Terabytes and megabytes a second of what is sold and what was sold some years ago.
MODELS = ((2, 120), (4, 150), (4, 180), (6, 180), (8, 200), (12, 250), (18, 270))
_CHANGE = re.compile(r"[+-][1-9]\d{0,3}")


def changes(text: str) -> tuple[int, ...]:
    """``"8 +2 -1"`` as numbers: disks to begin with, then what comes and goes.

    ``MalformedError``: something else, or a removal of all disks.
    """
    first, *rest = text.split() or [""]
    if not re.fullmatch(r"[1-9]\d{0,3}", first) or not all(map(_CHANGE.fullmatch, rest)):
        raise MalformedError(
            "operations",
            f"{text[:80]!r} (disks to begin with, then additions and removals: 8 +2 -1)",
        )
    found = (int(first), *map(int, rest))
    if len(rest) > MAX_CHANGES:
        raise MalformedError("operations", f"{len(rest)} of them (at most {MAX_CHANGES})")
    count = 0
    for number, change in enumerate(found):
        count += change
        if not 1 <= count <= MAX_DISKS:
            raise MalformedError("operations", f"{count} disks after {number} (1 to {MAX_DISKS})")
    return found


@dataclass(frozen=True, slots=True)
class Moment:
    """The disks after an operation."""

    table: Table
    shares: dict[DiskId, float]
    """By physical disk: what part of all blocks it should have."""


def moments(
    steps: Sequence[int],
    *,
    equal: bool,
    seed: int,
    width: int,
    per_node: int,
) -> tuple[list[Moment], dict[DiskId, str]]:
    """The disks at the beginning and after each operation, and the nodes of all that ever were.

    ``seed`` draws which disks go, and which models unequal ones are.
    """
    chance = random.Random(seed)
    present: list[Capacity] = []
    nodes: dict[DiskId, str] = {}
    table = Table()
    found = []
    for step in steps:
        for _ in range(step):
            number = len(nodes)
            disk = DiskId(f"{number:016x}")
            nodes[disk] = f"node-{number // per_node}"
            space, bandwidth = (4, 150) if equal else chance.choice(MODELS)
            present.append(Capacity(disk, space * 1e12, bandwidth * 1e6))
        for _ in range(-step):
            present.pop(chance.randrange(len(present)))
        table = merge(table, present, width=width, nodes=nodes)
        whole = len(table.disks)
        shares = {disk: share / whole for disk, share in table.shares.items()}
        found.append(Moment(table, shares))
    return found, nodes
