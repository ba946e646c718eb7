"""What the queries of the contents share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from heliograph.catalogue.audit import record
from heliograph.catalogue.content_tables import ServerRow, TitleRow
from heliograph.catalogue.contents.fields import fold
from heliograph.catalogue.context import Context, cut
from heliograph.catalogue.values import Actor
from heliograph.model.errors import NotFoundError, PreconditionError, TooLargeError

#: Rows of one answer.
MAX_PAGE = 1000
#: Values that one statement looks for: PostgreSQL takes 32 767, and a batch has fewer.
CHUNK = 1000
#: Characters of what is searched for.
MAX_SEARCH = 100


class Queries:
    """The database, the clock, and the audit log."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._db = context.database

    def _note(
        self,
        session: AsyncSession,
        by: Actor,
        action: str,
        subject: str,
        **detail: str | float | bool | None,
    ) -> None:
        record(session, self._context.now(), by, action, subject, **detail)


async def server_row(session: AsyncSession, name: str) -> ServerRow:
    """The server of that name; ``NotFoundError`` without one."""
    row = await session.scalar(select(ServerRow).where(ServerRow.folded_name == folded(name)))
    if row is None:
        raise NotFoundError(f"no server {name[:80]!r}", subject=name[:80])
    return row


async def title_row(session: AsyncSession, name: str) -> TitleRow:
    """The title of that name; ``NotFoundError`` without one."""
    row = await session.scalar(select(TitleRow).where(TitleRow.folded_name == folded(name)))
    if row is None:
        raise NotFoundError(f"no title {name[:80]!r}", subject=name[:80])
    return row


async def room(
    session: AsyncSession, column: InstrumentedAttribute[Any], most: int, what: str, more: int = 1
) -> int:
    """How many rows may be added; ``TooLargeError`` where they are fewer than ``more``."""
    left = most - (await session.scalar(select(func.count(column))) or 0)
    if left < more:
        raise TooLargeError(f"there are {most} {what}, and no more are taken", subject=what)
    return left


def check_revision(wanted: int | None, found: int, what: str) -> None:
    """``PreconditionError`` where a change was made for another state of the row."""
    if wanted is not None and wanted != found:
        raise PreconditionError(f"{what} was changed meanwhile")


def folded(name: str) -> str:
    """What a shown name is looked up by."""
    return cut(name, 65).lower()


def matches(
    column: ColumnElement[str] | InstrumentedAttribute[str], search: str
) -> list[ColumnElement[bool]]:
    """Conditions: the column, which is in lower case, has each word of the search."""
    words = fold(cut(search, MAX_SEARCH)).split()
    return [column.contains(word, autoescape=True) for word in words]


def page(limit: int) -> int:
    """Rows of an answer, within what is allowed."""
    return max(1, min(limit, MAX_PAGE))


def chunks(values: Sequence[Any]) -> list[Sequence[Any]]:
    """Parts that one statement can look for."""
    return [values[start : start + CHUNK] for start in range(0, len(values), CHUNK)]
