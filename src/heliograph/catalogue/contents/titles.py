"""Titles: listed, added, changed, removed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, delete, func, insert, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import (
    ClassificationRow,
    FileRow,
    LevelRow,
    ServerRow,
    StoredTitleRow,
    TitleClassRow,
    TitleRegionRow,
    TitleRow,
)
from heliograph.catalogue.contents import fields
from heliograph.catalogue.contents.fields import Kind
from heliograph.catalogue.contents.queries import (
    MAX_PAGE,
    Queries,
    check_revision,
    chunks,
    folded,
    matches,
    page,
    room,
    title_row,
)
from heliograph.catalogue.contents.revision import begin, note_removed, raise_version
from heliograph.catalogue.contents.values import Copies, Title
from heliograph.catalogue.tables import ChannelRow
from heliograph.catalogue.values import SYSTEM, Actor
from heliograph.model.errors import ConflictError, NotFoundError

#: Titles of one catalogue: a dispatcher holds all of them in memory, about 1 kB each.
MAX_TITLES = 100_000

#: What a new title has where nothing else is said.
DEFAULTS: Mapping[str, Any] = {
    "title": "",
    "description": "",
    "duration": None,
    "level": "",
    "policy": "",
    "published": True,
}


class TitleQueries(Queries):
    """Titles by name."""

    async def list_titles(
        self, *, search: str = "", after: str = "", limit: int = MAX_PAGE
    ) -> list[Title]:
        """Titles by name, those behind ``after``, that have each word of ``search`` in their name
        or title."""
        query = (
            select(TitleRow)
            .where(TitleRow.folded_name > folded(after), *matches(TitleRow.sought, search))
            .order_by(TitleRow.folded_name)
            .limit(page(limit))
        )
        async with self._db.read() as session:
            rows = list(await session.scalars(query))
            classes, regions = await labels(session, [row.id for row in rows])
            return [title_of(row, classes[row.id], regions[row.id]) for row in rows]

    async def get_title(self, name: str) -> Title:
        """The title; ``NotFoundError`` without one."""
        async with self._db.read() as session:
            return await _whole(session, await title_row(session, name))

    async def count_titles(self) -> int:
        """How many there are."""
        async with self._db.read() as session:
            return await session.scalar(select(func.count(TitleRow.id))) or 0

    async def count_copies(
        self,
        titles: Collection[int],
        answering: Collection[int] = (),
        readable: Callable[[Collection[str]], Awaitable[Mapping[str, int]]] | None = None,
    ) -> dict[int, Copies]:
        """What there is of each of these titles, by their ids. ``answering``: ids of the servers
        that their monitors call alive. ``readable``: which of some objects of volumes can be
        read, and how many blocks of each are lost; None: nobody knows better than that all can."""
        objects: dict[str, int] = {}
        found = dict.fromkeys(titles, Copies())
        withdrawn = or_(ServerRow.drained, not_(ServerRow.enabled))
        usable = and_(ServerRow.id.in_(answering), not_(withdrawn))
        async with self._db.read() as session:
            for some in chunks(sorted(titles)):
                counted = (
                    select(
                        FileRow.title_id,
                        func.count(),
                        func.sum(case((usable, 1), else_=0)),
                        func.sum(case((withdrawn, 1), else_=0)),
                    )
                    .join(ServerRow, ServerRow.id == FileRow.server_id)
                    .where(FileRow.title_id.in_(some))
                    .group_by(FileRow.title_id)
                )
                for title, *counts in await session.execute(counted):
                    found[title] = Copies(*counts)
                stored = select(StoredTitleRow).where(StoredTitleRow.title_id.in_(some))
                for row in await session.scalars(stored):
                    objects[row.object] = row.title_id
        good: Mapping[str, int] = dict.fromkeys(objects, 0)
        if readable is not None and objects:
            good = await readable([*objects])
        for object, title in objects.items():
            lost = good.get(object, 0)
            found[title] = replace(found[title], stored=True, readable=object in good, lost=lost)
        return found

    async def add_title(self, given: Mapping[str, Any], *, by: Actor = SYSTEM) -> Title:
        """Add a title, of which ``given`` says ``name`` and other fields of ``Title``.

        ``ConflictError`` where a title or a channel has the name, ``NotFoundError`` where the level
        or a class is not known, ``TooLargeError`` where there are ``MAX_TITLES``.
        """
        values = fields.clean(Kind.TITLE, given)
        fields.require(Kind.TITLE, values, ("name",))
        async with self._db.write() as session:
            await begin(session, self._db)
            await _check_free(session, values["name"])
            await _check_labels(session, values)
            await room(session, TitleRow.id, MAX_TITLES, "titles")
            version = await raise_version(session, self._db)
            row = TitleRow(**new_title(values, version, self._context.now()))
            session.add(row)
            await session.flush()
            await set_labels(session, [(row.id, values, True)])
            self._note(session, by, "title.add", row.name, title=row.title)
            return await _whole(session, row)

    async def change_title(
        self,
        name: str,
        given: Mapping[str, Any],
        *,
        revision: int | None = None,
        by: Actor = SYSTEM,
    ) -> Title:
        """Change the fields given.

        Errors as for ``add_title``, and ``PreconditionError`` where the title is not of that
        ``revision`` any more.
        """
        values = fields.clean(Kind.TITLE, given)
        async with self._db.write() as session:
            await begin(session, self._db)
            row = await title_row(session, name)
            check_revision(revision, row.revision, f"title {row.name!r}")
            if folded(values.get("name", row.name)) != row.folded_name:
                await _check_free(session, values["name"])
            await _check_labels(session, values)
            before = row.name
            classes, regions = await labels(session, [row.id])
            changed = change_title_row(row, values) + changed_labels(
                values, classes[row.id], regions[row.id]
            )
            if changed:
                row.revision = await raise_version(session, self._db)
                await session.flush()
                await set_labels(session, [(row.id, values, False)])
                self._note(session, by, "title.change", before, fields=" ".join(changed))
            return await _whole(session, row)

    async def remove_title(
        self, name: str, *, revision: int | None = None, by: Actor = SYSTEM
    ) -> int:
        """Remove a title; how many files went with it: the servers keep theirs."""
        async with self._db.write() as session:
            await begin(session, self._db)
            row = await title_row(session, name)
            check_revision(revision, row.revision, f"title {row.name!r}")
            files = await session.scalar(select(func.count()).where(FileRow.title_id == row.id))
            version = await raise_version(session, self._db)
            await note_removed(session, "title", [row.id], version)
            self._note(session, by, "title.remove", row.name, files=files)
            await session.execute(delete(TitleRow).where(TitleRow.id == row.id))
            return files or 0


async def _whole(session: AsyncSession, row: TitleRow) -> Title:
    classes, regions = await labels(session, [row.id])
    return title_of(row, classes[row.id], regions[row.id])


async def _check_free(session: AsyncSession, name: str) -> None:
    taken = await taken_names(session, [name])
    if taken:
        raise ConflictError(f"{taken[folded(name)]} {name!r} exists already", subject=name)


async def taken_names(session: AsyncSession, names: Collection[str]) -> dict[str, str]:
    """Which of the names, folded, are taken, and by what: ``title`` or ``channel``."""
    found: dict[str, str] = {}
    for some in chunks(sorted({folded(name) for name in names})):
        for what, column in (("channel", ChannelRow.folded_name), ("title", TitleRow.folded_name)):
            for one in await session.scalars(select(column).where(column.in_(some))):
                found[one] = what
    return found


async def _check_labels(session: AsyncSession, values: Mapping[str, Any]) -> None:
    levels, classes = await unknown_labels(session, [values])
    if levels:
        raise NotFoundError(f"no level {min(levels)!r}", subject="level")
    if classes:
        raise NotFoundError(f"no class {min(classes)!r}", subject="classes")


async def unknown_labels(
    session: AsyncSession, many: Iterable[Mapping[str, Any]]
) -> tuple[set[str], set[str]]:
    """Levels and classes that the values speak of and nobody has made."""
    many = list(many)
    levels = {one["level"] for one in many if one.get("level")}
    classes = {code for one in many for code in one.get("classes", ())}
    for some in chunks(sorted(levels)):
        levels -= set(await session.scalars(select(LevelRow.code).where(LevelRow.code.in_(some))))
    for some in chunks(sorted(classes)):
        known = select(ClassificationRow.code).where(ClassificationRow.code.in_(some))
        classes -= set(await session.scalars(known))
    return levels, classes


async def labels(
    session: AsyncSession, titles: Collection[int]
) -> tuple[dict[int, tuple[str, ...]], dict[int, tuple[str, ...]]]:
    """Classes and regions of the titles with these ids, in order; empty for one that has none."""
    found: list[dict[int, tuple[str, ...]]] = []
    for row, column in (
        (TitleClassRow, TitleClassRow.code),
        (TitleRegionRow, TitleRegionRow.region),
    ):
        of_title: dict[int, tuple[str, ...]] = defaultdict(tuple)
        for some in chunks(sorted(titles)):
            query = select(row.title_id, column).where(row.title_id.in_(some))
            for title, label in await session.execute(query):
                of_title[title] = (*of_title[title], label)
        found.append(of_title)
    for of_title in found:
        for title, several in of_title.items():
            of_title[title] = tuple(sorted(several))
    return found[0], found[1]


async def set_labels(
    session: AsyncSession, many: Iterable[tuple[int, Mapping[str, Any], bool]]
) -> None:
    """Put the classes and regions of titles, as far as given, in place of what they had; which
    those have nothing of that are new."""
    many = list(many)
    for row, name, field in (
        (TitleClassRow, "classes", "code"),
        (TitleRegionRow, "regions", "region"),
    ):
        given = [(title, values[name], new) for title, values, new in many if name in values]
        for some in chunks([title for title, _, new in given if not new]):
            await session.execute(delete(row).where(row.title_id.in_(some)))
        rows = [{"title_id": title, field: one} for title, several, _ in given for one in several]
        if rows:
            await session.execute(insert(row), rows)


def new_title(values: Mapping[str, Any], version: int, created: datetime) -> dict[str, Any]:
    """The columns of a new row, of values that were checked; without labels."""
    columns = {**DEFAULTS, **values, "created": created, "revision": version}
    for name in ("classes", "regions"):
        columns.pop(name, None)
    columns["level_code"] = columns.pop("level") or None
    columns["title"] = columns["title"] or columns["name"]
    columns["folded_name"] = folded(columns["name"])
    columns["sought"] = fields.sought(columns["name"], columns["title"])
    return columns


def change_title_row(row: TitleRow, values: Mapping[str, Any]) -> list[str]:
    """Set what differs but for labels; the names of those fields."""
    stored = {name: value for name, value in values.items() if name not in ("classes", "regions")}
    if "level" in stored:
        stored["level_code"] = stored.pop("level") or None
    if not stored.get("title", "-"):
        stored["title"] = stored.get("name", row.name)
    changed = [name for name, value in stored.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, stored[name])
    if "name" in changed:
        row.folded_name = folded(row.name)
    if changed:
        row.sought = fields.sought(row.name, row.title)
    return ["level" if name == "level_code" else name for name in changed]


def changed_labels(
    values: Mapping[str, Any], classes: tuple[str, ...], regions: tuple[str, ...]
) -> list[str]:
    """Which of the labels given are others than those that the title has."""
    had = {"classes": classes, "regions": regions}
    return [name for name, several in had.items() if values.get(name, several) != several]


def title_of(row: TitleRow, classes: tuple[str, ...], regions: tuple[str, ...]) -> Title:
    """The row as a value."""
    return Title(
        id=row.id,
        name=row.name,
        title=row.title,
        description=row.description,
        duration=row.duration,
        level=row.level_code or "",
        classes=classes,
        regions=regions,
        policy=row.policy,
        published=row.published,
        created=row.created,
        revision=row.revision,
    )
