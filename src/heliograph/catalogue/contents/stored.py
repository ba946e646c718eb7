"""Titles that are there because a volume of ours has them, for as long as it does.

Each is a title like all others: people give it classes, regions, a policy. What was added by hand
under such a name is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import FileRow, StoredTitleRow, TitleRow
from heliograph.catalogue.contents import fields
from heliograph.catalogue.contents.fields import Kind
from heliograph.catalogue.contents.queries import Queries, chunks, folded, room
from heliograph.catalogue.contents.revision import begin, note_removed, raise_version
from heliograph.catalogue.contents.titles import (
    MAX_TITLES,
    change_title_row,
    new_title,
    taken_names,
)
from heliograph.catalogue.values import SYSTEM, Actor

#: Titles of one transaction, and of one statement that reads them.
BATCH = 250


@dataclass(frozen=True, slots=True)
class StoredTitle:
    """A title of a volume, as the catalogue has it."""

    object: str
    """Id under which the volume keeps it."""
    name: str
    title: str
    """For people."""
    duration: float | None
    """Seconds; None: it is still being recorded."""
    other: str = ""
    """A name that it has no more, by no wish of anybody's: it is given the new one. Another name
    than this was chosen by people, and stays."""


class StoredQueries(Queries):
    """Titles of volumes."""

    async def stored(self) -> dict[str, StoredTitle]:
        """All, by object."""
        query = select(
            StoredTitleRow.object, TitleRow.name, TitleRow.title, TitleRow.duration
        ).join(TitleRow, TitleRow.id == StoredTitleRow.title_id)
        async with self._db.read() as session:
            return {row[0]: StoredTitle(*row) for row in await session.execute(query)}

    async def keep_stored(
        self, titles: Sequence[StoredTitle], *, by: Actor = SYSTEM
    ) -> list[StoredTitle]:
        """Have these, new or with another duration or name; those that cannot be had, as their
        names are taken by a channel or by a title of somebody. ``TooLargeError``: ``MAX_TITLES``
        are there.
        """
        refused: list[StoredTitle] = []
        for start in range(0, len(titles), BATCH):
            async with self._db.write() as session:
                await begin(session, self._db)
                refused += await self._keep(session, titles[start : start + BATCH], by)
        return refused

    async def _keep(
        self, session: AsyncSession, titles: Sequence[StoredTitle], by: Actor
    ) -> list[StoredTitle]:
        wanted = [one.object for one in titles]
        known = {
            row.object: row.title_id
            for row in await session.scalars(
                select(StoredTitleRow).where(StoredTitleRow.object.in_(wanted))
            )
        }
        taken = await taken_names(session, [one.name for one in titles])
        fresh = [one for one in titles if one.object not in known]
        await room(session, TitleRow.id, MAX_TITLES, "titles", len(fresh))
        refused = []
        for one in titles:
            if one.object not in known:
                continue
            row = await session.get_one(TitleRow, known[one.object])
            values: dict[str, Any] = {"duration": one.duration}
            if row.name == one.other and folded(one.name) not in taken:
                values["name"] = one.name
                taken[folded(one.name)] = "title"
                taken.pop(row.folded_name, None)
            before = row.name
            if change_title_row(row, values):
                row.revision = await raise_version(session, self._db)
                await session.flush()
            if row.name != before:
                self._note(session, by, "title.change", before, fields="name")
        for one in fresh:
            if folded(one.name) in taken:
                refused.append(one)
                continue
            given = {"name": one.name, "title": one.title, "duration": one.duration}
            values = fields.clean(Kind.TITLE, given)
            version = await raise_version(session, self._db)
            row = TitleRow(**new_title(values, version, self._context.now()))
            session.add(row)
            await session.flush()
            session.add(StoredTitleRow(object=one.object, title_id=row.id))
            taken[row.folded_name] = "title"
            self._note(session, by, "title.add", row.name, title=row.title)
        return refused

    async def forget_stored(self, objects: Collection[str], *, by: Actor = SYSTEM) -> None:
        """Volumes have these no more. Titles of which servers have copies stay, as anybody's."""
        for some in chunks(sorted(objects)):
            async with self._db.write() as session:
                await begin(session, self._db)
                query = select(StoredTitleRow.title_id).where(StoredTitleRow.object.in_(some))
                ids = list(await session.scalars(query))
                copied = set(
                    await session.scalars(
                        select(FileRow.title_id).where(FileRow.title_id.in_(ids)).distinct()
                    )
                )
                gone = [id for id in ids if id not in copied]
                if gone:
                    version = await raise_version(session, self._db)
                    await note_removed(session, "title", gone, version)
                for row in await session.scalars(select(TitleRow).where(TitleRow.id.in_(gone))):
                    self._note(session, by, "title.remove", row.name, files=0)
                await session.execute(delete(StoredTitleRow).where(StoredTitleRow.object.in_(some)))
                await session.execute(delete(TitleRow).where(TitleRow.id.in_(gone)))
