"""What people want of the cluster and no unit can tell of: in the database, for all managers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from heliograph.catalogue.leases import Lease
from heliograph.catalogue.values import Actor


class DesiredState(Protocol):
    """``catalogue.desired.DesiredState``."""

    @property
    def drained(self) -> frozenset[str]:
        """Units that are to have nothing."""
        ...

    @property
    def kept(self) -> Mapping[str, int]:
        """Groups that a channel keeps even if they are empty; others keep one, while there are
        groups to spare."""
        ...


class Desired(Protocol):
    """``catalogue.desired.Desired``.

    What is written is checked against the lease within the transaction: ``WrongStateError`` where
    it is another's by now; ``ResourceError`` or ``BusyError`` while the database is away.
    """

    async def load(self) -> DesiredState:
        """All of it."""
        ...

    # By position: names are the store's own.
    async def set_drained(self, unit: str, drained: bool, lease: Lease, by: Actor, /) -> None:
        """Say whether a unit is to have nothing."""
        ...

    async def set_kept(self, channel: str, groups: int, lease: Lease, by: Actor, /) -> None:
        """Say how many groups a channel keeps."""
        ...
