"""The audit log: who did what, to what, when and from where.

A line is written in the transaction of the change it speaks of: neither is there without the other.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.context import Context, cut
from heliograph.catalogue.tables import AuditRow
from heliograph.catalogue.values import Actor, AuditEntry

#: How long a line is kept: a year answers “who was that last summer”.
KEEP = timedelta(days=366)
#: Lines kept at most: about 200 MB of SQLite.
KEEP_ROWS = 500_000
#: Lines of one answer.
MAX_PAGE = 500
#: Characters of one value of a line's detail.
MAX_DETAIL = 200


def record(
    session: AsyncSession,
    now: datetime,
    by: Actor,
    action: str,
    subject: str,
    **detail: str | float | bool | None,
) -> None:
    """Add a line to the transaction under way. Nothing secret may be in ``detail``."""
    kept: dict[str, Any] = {
        name: value[:MAX_DETAIL] if isinstance(value, str) else value
        for name, value in detail.items()
        if value is not None
    }
    session.add(
        AuditRow(
            at=now,
            actor=cut(by.name, 64),
            action=action,
            subject=cut(subject, 128),
            address=cut(by.address, 64),
            detail=kept,
        )
    )


class Audit:
    """Reads and bounds the log."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def append(
        self, by: Actor, action: str, subject: str, **detail: str | float | bool | None
    ) -> None:
        """Write a line about something that happened outside of the database."""
        async with self._context.database.write() as session:
            record(session, self._context.now(), by, action, subject, **detail)

    async def read(
        self,
        *,
        before: int | None = None,
        limit: int = 100,
        actor: str | None = None,
        subject: str | None = None,
        action: str | None = None,
    ) -> list[AuditEntry]:
        """Lines, newest first; ``before`` is the id of the last one already seen.

        ``action`` may end with a dot, for all that begin so (``account.``).
        """
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(max(1, min(limit, MAX_PAGE)))
        if before is not None:
            query = query.where(AuditRow.id < before)
        if actor is not None:
            query = query.where(AuditRow.actor == cut(actor, 64))
        if subject is not None:
            query = query.where(AuditRow.subject == cut(subject, 128))
        if action is not None and action.endswith("."):
            query = query.where(AuditRow.action.startswith(cut(action, 32), autoescape=True))
        elif action is not None:
            query = query.where(AuditRow.action == cut(action, 32))
        async with self._context.database.read() as session:
            return [_entry(row) for row in await session.scalars(query)]

    async def prune(self, *, keep: timedelta = KEEP, rows: int = KEEP_ROWS) -> int:
        """Remove lines that are too old or too many; how many went."""
        async with self._context.database.write() as session:
            old = AuditRow.at < self._context.now() - keep
            gone = await session.scalar(select(func.count()).where(old)) or 0
            await session.execute(delete(AuditRow).where(old))
            edge = await session.scalar(
                select(AuditRow.id).order_by(AuditRow.id.desc()).offset(rows).limit(1)
            )
            if edge is not None:
                surplus = AuditRow.id <= edge
                gone += await session.scalar(select(func.count()).where(surplus)) or 0
                await session.execute(delete(AuditRow).where(surplus))
            return gone


def _entry(row: AuditRow) -> AuditEntry:
    return AuditEntry(
        row.id, row.at, row.actor, row.action, row.subject, row.address, dict(row.detail)
    )
