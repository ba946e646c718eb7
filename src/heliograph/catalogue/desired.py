"""What the cluster's manager was told to do and has to know after it was started anew.

Units report what they have by themselves; only wishes of people that no unit can tell of are kept
here: which units are to be empty, which of them are not to be shown either, how many groups a
channel keeps even if nobody watches, and which channels are closed. They are written under the
manager's lease: one that lost it, and does not know yet, changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.audit import record
from heliograph.catalogue.context import Context
from heliograph.catalogue.leases import Lease, require
from heliograph.catalogue.tables import MOST_KEPT, ClosedRow, DrainedRow, KeptRow
from heliograph.catalogue.values import Actor
from heliograph.model.errors import ForbiddenError, MalformedError, TooManyError
from heliograph.model.media import check_channel_name
from heliograph.model.nodes import check_node_id

#: Units and channels remembered: far more than a manager can have.
MAX_ROWS = 10_000
#: Channels closed at once: their names fit into one message to all nodes.
MAX_CLOSED = 10_000


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What is wanted of the cluster."""

    drained: frozenset[str] = frozenset()
    """Units that are to have neither channels nor viewers."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Groups that a channel keeps even if they are empty, by its name; others keep one, while there
    are groups to spare."""
    removed: frozenset[str] = frozenset()
    """Those of the drained that are not to be shown."""
    closed: frozenset[str] = frozenset()
    """Channels on which nobody may publish and that nobody may watch."""


class Closing(StrEnum):
    """What becomes of it that a channel is closed, when the channel is deleted."""

    KEPT = "kept"
    """The name stays closed."""
    REFUSED = "refused"
    """The channel is not deleted: who may not open it shall not make it anew, open, either."""
    LIFTED = "lifted"
    """Whoever makes a channel of that name finds it open."""


def still_closed(channel: str) -> ForbiddenError:
    """What to tell an owner who would delete a channel that is closed."""
    words = f"channel {channel!r} is closed: only administrators may delete it until it is opened"
    return ForbiddenError(words, subject=channel)


async def forget(session: AsyncSession, channel: str, closing: Closing) -> bool:
    """Take out what is wanted of a channel; whether anything was.

    ``ForbiddenError`` where it is closed and ``closing`` refuses that.
    """
    closed = None
    if closing is Closing.REFUSED and await session.get(ClosedRow, channel) is not None:
        raise still_closed(channel)
    if closing is Closing.LIFTED:
        closed = await session.scalar(
            delete(ClosedRow).where(ClosedRow.channel == channel).returning(ClosedRow.channel)
        )
    kept = await session.scalar(
        delete(KeptRow).where(KeptRow.channel == channel).returning(KeptRow.channel)
    )
    return closed is not None or kept is not None


class Desired:
    """Reads and writes what is wanted."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    async def load(self) -> DesiredState:
        """All that is wanted. Read it after the lease was taken: nobody else writes it then."""
        async with self._db.read() as session:
            units = (await session.execute(select(DrainedRow.unit, DrainedRow.removed))).all()
            rows = await session.execute(select(KeptRow.channel, KeptRow.kept))
            return DesiredState(
                frozenset(unit for unit, _ in units),
                {channel: kept for channel, kept in rows},
                frozenset(unit for unit, removed in units if removed),
                frozenset(await session.scalars(select(ClosedRow.channel))),
            )

    async def set_drained(
        self, unit: str, drained: bool, lease: Lease, by: Actor, *, removed: bool = False
    ) -> None:
        """Say whether a unit is to be empty, and not to be shown either.

        ``WrongStateError`` where the lease is good no more. An audit line tells of what changed;
        said twice is said once.
        """
        check_node_id(unit)
        now = self._context.now()
        async with self._db.write() as session:
            await require(session, self._db, lease)
            row = await session.get(DrainedRow, unit)
            if (row is not None) == drained and (row is None or row.removed or not removed):
                return
            if row is None:
                if (await session.scalar(select(func.count(DrainedRow.unit))) or 0) >= MAX_ROWS:
                    raise TooManyError(f"{MAX_ROWS} units are drained already", subject="units")
                session.add(DrainedRow(unit=unit, since=now, removed=removed))
            elif drained:
                row.removed = True
            else:
                await session.delete(row)
            action = "unit.remove" if removed else "unit.drain" if drained else "unit.return"
            record(session, now, by, action, unit, epoch=lease.epoch)

    async def set_closed(self, channel: str, closed: bool, lease: Lease, by: Actor) -> None:
        """Say whether a channel is closed. Errors and audit as for ``set_drained``."""
        check_channel_name(channel)
        now = self._context.now()
        async with self._db.write() as session:
            await require(session, self._db, lease)
            row = await session.get(ClosedRow, channel)
            if (row is not None) == closed:
                return
            if row is not None:
                await session.delete(row)
            else:
                if (await session.scalar(select(func.count(ClosedRow.channel))) or 0) >= MAX_CLOSED:
                    raise TooManyError(f"{MAX_CLOSED} channels are closed", subject="channels")
                session.add(ClosedRow(channel=channel, since=now))
            action = "channel.close" if closed else "channel.open"
            record(session, now, by, action, channel, epoch=lease.epoch)

    async def note(
        self, action: str, subject: str, lease: Lease, by: Actor, **detail: str | float
    ) -> None:
        """Write an audit line about what is ordered and leaves nothing else here; errors as for
        ``set_drained``."""
        async with self._db.write() as session:
            await require(session, self._db, lease)
            now = self._context.now()
            record(session, now, by, action, subject, **detail, epoch=lease.epoch)

    async def forget(self, channel: str, closing: Closing, lease: Lease, by: Actor) -> None:
        """Want nothing more of a channel that was deleted, but for what ``closing`` says. Errors
        and audit as for ``set_drained``."""
        check_channel_name(channel)
        async with self._db.write() as session:
            await require(session, self._db, lease)
            if await forget(session, channel, closing):
                now = self._context.now()
                record(session, now, by, "channel.forget", channel, epoch=lease.epoch)

    async def set_kept(self, channel: str, groups: int, lease: Lease, by: Actor) -> None:
        """Say how many groups a channel keeps even if they are empty; 1 or less: as any other.

        Errors and audit as for ``set_drained``.
        """
        check_channel_name(channel)
        if groups > MOST_KEPT:
            raise MalformedError("groups", f"a channel keeps {MOST_KEPT} at most")
        now = self._context.now()
        async with self._db.write() as session:
            await require(session, self._db, lease)
            row = await session.get(KeptRow, channel)
            before, groups = (1 if row is None else row.kept), max(1, groups)
            if before == groups:
                return
            if groups == 1:
                await session.execute(delete(KeptRow).where(KeptRow.channel == channel))
            elif row is not None:
                row.kept = groups
            else:
                if (await session.scalar(select(func.count(KeptRow.channel))) or 0) >= MAX_ROWS:
                    raise TooManyError(f"{MAX_ROWS} channels keep groups", subject="channels")
                session.add(KeptRow(channel=channel, kept=groups))
            record(
                session,
                now,
                by,
                "channel.keep",
                channel,
                groups=groups,
                before=before,
                epoch=lease.epoch,
            )
