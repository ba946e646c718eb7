"""Leases: who may act for all, until when, by the clock of the database alone.

A lease belongs to one holder for some seconds; who wants to keep it renews it in time. Each time
that it is taken, its *epoch* is one more than before, so that whoever is given orders can refuse
those of a holder before. Clocks of the machines that ask are not looked at: a row holds when the
lease ends by the clock of the database, and every comparison is made there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Float, and_, case, cast, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.context import Context
from heliograph.catalogue.engine import Database
from heliograph.catalogue.tables import LeaseRow
from heliograph.model.errors import MalformedError, WrongStateError

#: Characters of a lease's name and of its holder's.
MAX_NAME = 32
MAX_HOLDER = 64
#: Seconds that a lease is given for at most: whoever has it may die right after.
MAX_TTL = 3600.0

#: What SQLite's day 0 is later called: 1970 began at this day.
_DAY_OF_1970 = 2_440_587.5


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it was given. It is surely good for ``ttl`` seconds after the *question*, by a
    clock of the holder's own that does not jump: the database counts from a moment later on."""

    name: str
    holder: str
    epoch: int
    """1 for the first holder; one more whenever it is taken anew."""
    ttl: float
    """Seconds from each renewal to its end."""


class Leases:
    """Takes, renews and gives back leases; each call is one short transaction."""

    def __init__(self, context: Context) -> None:
        self._db = context.database

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        """Take a lease that is free or has run out, or renew one that ``holder`` has already.

        None where somebody else has it.
        """
        _check(name, holder, ttl)
        now = clock(self._db)
        kept = and_(LeaseRow.holder == holder, LeaseRow.ends > now)
        statement = self._db.insert(LeaseRow).values(
            name=name, holder=holder, epoch=1, ttl=ttl, ends=now + ttl
        )
        statement = statement.on_conflict_do_update(
            index_elements=[LeaseRow.name],
            set_={
                "holder": holder,
                "epoch": case((kept, LeaseRow.epoch), else_=LeaseRow.epoch + 1),
                "ttl": ttl,
                "ends": now + ttl,
            },
            where=or_(LeaseRow.holder == holder, LeaseRow.ends <= now),
        )
        async with self._db.write() as session:
            await session.execute(statement)
            # The row is ours until the end of the transaction, whoever holds the lease.
            owner, epoch, given, left = (
                await session.execute(
                    select(
                        LeaseRow.holder, LeaseRow.epoch, LeaseRow.ttl, LeaseRow.ends - now
                    ).where(LeaseRow.name == name)
                )
            ).one()
            if owner == holder:
                return Lease(name, holder, epoch, ttl)
            if left > given:
                # The clock was set back: a holder that is dead must not have it for all that time,
                # and one that lives renews it before these seconds are over.
                await session.execute(
                    update(LeaseRow).where(LeaseRow.name == name).values(ends=now + LeaseRow.ttl)
                )
            return None

    async def renew(self, lease: Lease) -> Lease | None:
        """Keep a lease for another ``ttl``; None where it has run out or is another's."""
        now = clock(self._db)
        renewal = update(LeaseRow).where(*_good(lease, now))
        renewed = await self._db.change(renewal.values(ttl=lease.ttl, ends=now + lease.ttl))
        return lease if renewed else None

    async def release(self, lease: Lease) -> None:
        """Give a lease back: it ends at once. Nothing happens where it is another's already."""
        now = clock(self._db)
        async with self._db.write() as session:
            await session.execute(
                update(LeaseRow)
                .where(*_good(lease, now))
                .values(ends=now)
                .execution_options(synchronize_session=False)
            )

    async def current(self, name: str) -> Lease | None:
        """The lease that is good now; None where nobody has it."""
        query = select(LeaseRow).where(LeaseRow.name == name, LeaseRow.ends > clock(self._db))
        async with self._db.read() as session:
            row = await session.scalar(query)
            return None if row is None else Lease(row.name, row.holder, row.epoch, row.ttl)


async def require(session: AsyncSession, database: Database, lease: Lease) -> None:
    """Hold a lease fast until the end of the transaction; ``WrongStateError`` where it is good no
    more. Nobody takes it before what is written under it is there."""
    query = select(LeaseRow.name).where(*_good(lease, clock(database)))
    if await session.scalar(query.with_for_update()) is None:
        raise WrongStateError(
            f"{lease.holder!r} does not have {lease.name!r} any more", subject=lease.name
        )


def clock(database: Database) -> ColumnElement[float]:
    """Seconds since 1970 by the clock of the database, at the moment when it looks."""
    if database.is_sqlite:
        return (func.julianday("now", type_=Float) - _DAY_OF_1970) * literal(86_400.0)
    # Not now(), which is when the transaction began: it may have waited for the row since.
    return cast(func.extract("epoch", func.clock_timestamp()), Float(53))


def _good(lease: Lease, now: ColumnElement[float]) -> tuple[ColumnElement[bool], ...]:
    return (
        LeaseRow.name == lease.name,
        LeaseRow.holder == lease.holder,
        LeaseRow.epoch == lease.epoch,
        LeaseRow.ends > now,
    )


def _check(name: str, holder: str, ttl: float) -> None:
    if not (0 < len(name) <= MAX_NAME and name.isprintable()):
        raise MalformedError("lease", f"its name must have 1 to {MAX_NAME} characters")
    if not (0 < len(holder) <= MAX_HOLDER and holder.isprintable()):
        raise MalformedError("lease", f"its holder must have 1 to {MAX_HOLDER} characters")
    if not (math.isfinite(ttl) and 0 < ttl <= MAX_TTL):
        raise MalformedError("lease", f"it is given for more than 0 and up to {MAX_TTL:g} s")
