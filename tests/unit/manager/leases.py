"""A database that keeps one lease, and can go away; by whatever clock it is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from heliograph.catalogue.desired import Closing, DesiredState
from heliograph.catalogue.leases import Lease
from heliograph.catalogue.values import Actor
from heliograph.model.errors import ResourceError, WrongStateError


@dataclass
class Database:
    """Leases and what is wanted, as ``catalogue`` keeps them."""

    clock: Callable[[], float]
    away: bool = False
    hangs: bool = False
    """Nobody gets an answer, and no error either."""
    epoch: int = 0
    holder: str = ""
    ends: float = 0.0
    drained: set[str] = field(default_factory=set)
    kept: dict[str, int] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    written: list[tuple[str, str]] = field(default_factory=list)

    async def _reach(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.away:
            raise ResourceError("the database is away", subject="database")

    def take(self, name: str, holder: str, ttl: float) -> Lease | None:
        now = self.clock()
        if self.ends > now and self.holder != holder:
            return None
        if self.ends <= now:
            self.epoch += 1
        self.holder, self.ends = holder, now + ttl
        return Lease(name, holder, self.epoch, ttl)

    def good(self, lease: Lease) -> bool:
        return (
            self.holder == lease.holder and self.epoch == lease.epoch and self.ends > self.clock()
        )

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        await self._reach()
        return self.take(name, holder, ttl)

    async def renew(self, lease: Lease) -> Lease | None:
        await self._reach()
        if not self.good(lease):
            return None
        self.ends = self.clock() + lease.ttl
        return lease

    async def release(self, lease: Lease) -> None:
        await self._reach()
        if self.good(lease):
            self.ends = self.clock()

    async def load(self) -> DesiredState:
        await self._reach()
        return DesiredState(
            frozenset(self.drained),
            dict(self.kept),
            frozenset(self.removed),
            frozenset(self.closed),
        )

    async def set_drained(
        self, unit: str, drained: bool, lease: Lease, by: Actor, *, removed: bool = False
    ) -> None:
        await self._write(lease, "remove" if removed else "drain" if drained else "return", by)
        (self.drained.add if drained else self.drained.discard)(unit)
        (self.removed.add if removed else self.removed.discard)(unit)

    async def set_kept(self, channel: str, groups: int, lease: Lease, by: Actor) -> None:
        await self._write(lease, "keep", by)
        self.kept[channel] = groups

    async def set_closed(self, channel: str, closed: bool, lease: Lease, by: Actor) -> None:
        await self._write(lease, "close" if closed else "open", by)
        (self.closed.add if closed else self.closed.discard)(channel)

    async def forget(self, channel: str, closing: Closing, lease: Lease, by: Actor) -> None:
        await self._write(lease, "forget", by)
        if closing is Closing.LIFTED:
            self.closed.discard(channel)
        self.kept.pop(channel, None)

    async def note(
        self, action: str, subject: str, lease: Lease, by: Actor, **detail: str | float
    ) -> None:
        await self._write(lease, f"{action} {subject}", by)

    async def _write(self, lease: Lease, what: str, by: Actor) -> None:
        await self._reach()
        if not self.good(lease):
            raise WrongStateError("the lease is another's", subject=lease.name)
        self.written.append((what, by.name))
