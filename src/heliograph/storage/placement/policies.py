"""How a block's logical disk is computed: policies, exchangeable by name."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heliograph.model.errors import NotFoundError
from heliograph.storage.placement.generator import Words
from heliograph.storage.placement.rendezvous import Rendezvous
from heliograph.storage.placement.scaddar import Scaddar
from heliograph.storage.placement.simple import Jump, RoundRobin
from heliograph.storage.placement.slicing import RandomSlicing
from heliograph.storage.placement.values import Table


class Placement(Hashable, Protocol):
    """Where blocks are: a pure function, the same on every node.

    Tables must not be empty. A block's number counts from 0, below 2^63.
    """

    @property
    def name(self) -> str:
        """By which settings and volumes know it."""

    @property
    def remembers(self) -> bool:
        """Whether places depend on operations of the past, not on the present disks alone."""

    def locate(self, seed: int, numbers: Words, table: Table) -> NDArray[np.int64]:
        """Ids of the logical disks of blocks. ``seed``: of the object, 0 to below 2^64."""

    def locate_few(self, seed: int, numbers: Sequence[int], table: Table) -> list[int]:
        """The same, quicker for a handful of blocks."""

    def state(self, table: Table) -> int:
        """Bytes that a node has to know, written compactly."""

    def unevenness(self, table: Table) -> float:
        """By what fraction one disk may be likelier than another; chance comes on top.

        Where it grows too large the table is to be started anew (``Table.restarted``).
        """


POLICIES: Mapping[str, Placement] = MappingProxyType(
    {
        one.name: one
        for one in (
            Rendezvous(),
            RandomSlicing(),
            Scaddar(128),
            Scaddar(64),
            Scaddar(32),
            Jump(),
            RoundRobin(),
        )
    }
)
#: Why: docs/adr/0012-which-placement.md.
DEFAULT = "rendezvous"


def policy_named(name: str) -> Placement:
    """The policy of that name, or ``NotFoundError``."""
    try:
        return POLICIES[name]
    except KeyError:
        known = ", ".join(POLICIES)
        raise NotFoundError(
            f"no placement {name[:80]!r}; there are {known}", subject=name[:80]
        ) from None
