"""The version of the contents: every change of them raises it in the same transaction.

Writers come one after the other, so that versions are given in the order of the transactions' ends,
and who read up to one has missed nothing below it.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import ContentVersionRow, RemovedRow
from heliograph.catalogue.engine import Database

#: What who adds a title or a channel locks: the two share their names.
NAMES = "contents"
#: Removals that are remembered one by one; who missed more reads everything anew.
MAX_REMOVALS = 20_000

_ROW = 1
_CURRENT = select(
    ContentVersionRow.version, ContentVersionRow.whole_from, ContentVersionRow.networks_from
).where(ContentVersionRow.id == _ROW)


async def begin(session: AsyncSession, database: Database) -> None:
    """Let no other change of the contents begin before this transaction has ended."""
    await database.alone(session, NAMES)


async def raise_version(
    session: AsyncSession, database: Database, *, networks: bool = False
) -> int:
    """The version of the change under way. ``networks``: one of them is among what changed."""
    build = database.insert(ContentVersionRow)
    first = build.values(id=_ROW, version=1, whole_from=0, networks_from=int(networks))
    later = {"version": ContentVersionRow.version + 1}
    if networks:
        later["networks_from"] = ContentVersionRow.version + 1
    raised = first.on_conflict_do_update(
        index_elements=[ContentVersionRow.id], set_=later
    ).returning(ContentVersionRow.version)
    version: int = (await session.execute(raised)).scalar_one()
    return version


async def current(session: AsyncSession) -> tuple[int, int, int]:
    """The version, from which one on removals are known, and that of the networks; zeros in an
    empty database."""
    row = (await session.execute(_CURRENT)).one_or_none()
    return (0, 0, 0) if row is None else (row[0], row[1], row[2])


async def newest(database: Database) -> int:
    """The version, asked for on its own; 0 in an empty database."""
    rows = await database.look(_CURRENT)
    return rows[0][0] if rows else 0


async def note_removed(
    session: AsyncSession, kind: str, ids: Collection[int], version: int
) -> None:
    """Remember that rows of ``kind`` (``server``, ``title``, ``file``) are gone."""
    known = await session.scalar(select(func.count(RemovedRow.row_id))) or 0
    if known + len(ids) > MAX_REMOVALS:
        await session.execute(delete(RemovedRow))
        await session.execute(update(ContentVersionRow).values(whole_from=version))
        return
    rows = [{"kind": kind, "row_id": one, "revision": version} for one in ids]
    if rows:
        await session.execute(insert(RemovedRow), rows)
