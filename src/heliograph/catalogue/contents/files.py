"""Files: copies of titles on servers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import FileRow, ServerRow, TitleRow
from heliograph.catalogue.contents import fields
from heliograph.catalogue.contents.fields import KEYS, NEEDED, Kind
from heliograph.catalogue.contents.queries import (
    MAX_PAGE,
    Queries,
    check_revision,
    chunks,
    folded,
    matches,
    page,
    room,
    server_row,
    title_row,
)
from heliograph.catalogue.contents.revision import begin, note_removed, raise_version
from heliograph.catalogue.contents.values import File, Format
from heliograph.catalogue.values import SYSTEM, Actor
from heliograph.model.errors import ConflictError, NotFoundError, TooLargeError

#: Files of one catalogue: three copies of each title.
MAX_FILES = 300_000
#: Files of one title: a page shows them, and each decision looks at all of them.
MAX_OF_TITLE = 1000

#: What a new file has where nothing else is said.
DEFAULTS: Mapping[str, Any] = {
    "bits_per_second": 0,
    "size": None,
    "codecs": "",
    "width": 0,
    "height": 0,
}


class FileQueries(Queries):
    """Files by number, or by their title and address."""

    async def list_files(
        self,
        *,
        search: str = "",
        title: str = "",
        server: str = "",
        after: int = 0,
        limit: int = MAX_PAGE,
    ) -> list[tuple[File, str, str]]:
        """Files with the names of their title and their server, by number, those behind ``after``.

        ``search``: words that are all in the address, or all in the title or its name. ``title``
        and ``server``: only of these; ``NotFoundError`` where there is none.
        """
        query = select(FileRow)
        in_uri = matches(func.lower(FileRow.uri), search)
        if in_uri:
            in_title = matches(TitleRow.sought, search)
            query = query.join(TitleRow, TitleRow.id == FileRow.title_id)
            query = query.where(or_(and_(*in_uri), and_(*in_title)))
        async with self._db.read() as session:
            if title:
                query = query.where(FileRow.title_id == (await title_row(session, title)).id)
            if server:
                query = query.where(FileRow.server_id == (await server_row(session, server)).id)
            query = query.where(FileRow.id > after).order_by(FileRow.id).limit(page(limit))
            rows = list(await session.scalars(query))
            # Not joined: without figures of the tables PostgreSQL would read all titles each time.
            of_title = await _names(session, TitleRow, {row.title_id for row in rows})
            on_server = await _names(session, ServerRow, {row.server_id for row in rows})
            return [  # a title or server that went just now has no name
                (file_of(row), of_title.get(row.title_id, ""), on_server.get(row.server_id, ""))
                for row in rows
            ]

    async def get_file(self, id: int) -> tuple[File, str, str]:
        """The file with this number, and the names of its title and its server; ``NotFoundError``
        without one."""
        async with self._db.read() as session:
            row = await _row(session, id)
            title = await session.get_one(TitleRow, row.title_id)
            server = await session.get_one(ServerRow, row.server_id)
            return file_of(row), title.name, server.name

    async def add_file(self, given: Mapping[str, Any], *, by: Actor = SYSTEM) -> File:
        """Add a file, of which ``given`` says ``title``, ``server`` (names), ``format``, ``uri``
        and other fields of ``File``.

        ``NotFoundError`` where there is no such title or server, ``ConflictError`` where the title
        has that address already, ``TooLargeError`` where there are ``MAX_FILES``, or
        ``MAX_OF_TITLE`` of the title.
        """
        values = fields.clean(Kind.FILE, given)
        fields.require(Kind.FILE, values, (*KEYS[Kind.FILE], *NEEDED[Kind.FILE]))
        async with self._db.write() as session:
            await begin(session, self._db)
            title = await title_row(session, values["title"])
            server = await server_row(session, values["server"])
            await _check_free(session, title, values["uri"])
            await room(session, FileRow.id, MAX_FILES, "files")
            count = await session.scalar(select(func.count()).where(FileRow.title_id == title.id))
            if (count or 0) >= MAX_OF_TITLE:
                raise TooLargeError(
                    f"title {title.name!r} has {MAX_OF_TITLE} files", subject=title.name
                )
            version = await raise_version(session, self._db)
            row = FileRow(**new_file(values, title.id, server.id, version))
            session.add(row)
            await session.flush()
            self._note(session, by, "file.add", title.name, uri=row.uri, server=server.name)
            return file_of(row)

    async def change_file(
        self, id: int, given: Mapping[str, Any], *, revision: int | None = None, by: Actor = SYSTEM
    ) -> File:
        """Change the fields given; a file stays with its title.

        Errors as for ``add_file``, and ``PreconditionError`` where the file is not of that
        ``revision`` any more.
        """
        values = fields.clean(Kind.FILE, given)
        async with self._db.write() as session:
            await begin(session, self._db)
            row = await _row(session, id)
            check_revision(revision, row.revision, f"file {id}")
            title = await session.get_one(TitleRow, row.title_id)
            if folded(values.pop("title", title.name)) != title.folded_name:
                raise ConflictError(f"file {id} is one of {title.name!r}", subject=title.name)
            if values.get("uri", row.uri) != row.uri:
                await _check_free(session, title, values["uri"])
            if "server" in values:
                values["server_id"] = (await server_row(session, values.pop("server"))).id
            changed = change_file_row(row, values)
            if changed:
                row.revision = await raise_version(session, self._db)
                told = " ".join(changed)
                self._note(session, by, "file.change", title.name, uri=row.uri, fields=told)
                await session.flush()
            return file_of(row)

    async def remove_file(
        self, id: int, *, revision: int | None = None, by: Actor = SYSTEM
    ) -> None:
        """Forget a file; the server keeps it. ``PreconditionError`` where it is not of that
        ``revision`` any more."""
        async with self._db.write() as session:
            await begin(session, self._db)
            row = await _row(session, id)
            check_revision(revision, row.revision, f"file {id}")
            title = await session.get_one(TitleRow, row.title_id)
            version = await raise_version(session, self._db)
            await note_removed(session, "file", [row.id], version)
            self._note(session, by, "file.remove", title.name, uri=row.uri)
            await session.execute(delete(FileRow).where(FileRow.id == row.id))


async def _names(
    session: AsyncSession, row: type[TitleRow] | type[ServerRow], ids: Collection[int]
) -> dict[int, str]:
    found: dict[int, str] = {}
    for some in chunks(sorted(ids)):
        query = select(row.id, row.name).where(row.id.in_(some))
        found |= {id: name for id, name in await session.execute(query)}
    return found


async def _row(session: AsyncSession, id: int) -> FileRow:
    row = await session.get(FileRow, id) if 0 < id < 2**31 else None
    if row is None:
        raise NotFoundError(f"no file {id}", subject=str(id))
    return row


async def _check_free(session: AsyncSession, title: TitleRow, uri: str) -> None:
    taken = await session.scalar(
        select(FileRow.id).where(FileRow.title_id == title.id, FileRow.uri == uri)
    )
    if taken is not None:
        raise ConflictError(f"title {title.name!r} has that file already", subject=title.name)


def new_file(values: Mapping[str, Any], title: int, server: int, version: int) -> dict[str, Any]:
    """The columns of a new row, of values that were checked."""
    kept = {name: value for name, value in values.items() if name not in ("title", "server")}
    kept["format"] = Format(kept["format"]).value
    return {**DEFAULTS, **kept, "title_id": title, "server_id": server, "revision": version}


def change_file_row(row: FileRow, values: Mapping[str, Any]) -> list[str]:
    """Set what differs; the names of those fields."""
    changed = [name for name, value in values.items() if getattr(row, name) != value]
    for name in changed:
        value = values[name]
        setattr(row, name, value.value if isinstance(value, Format) else value)
    return ["server" if name == "server_id" else name for name in changed]


def file_of(row: FileRow) -> File:
    """The row as a value."""
    return File(
        id=row.id,
        title=row.title_id,
        server=row.server_id,
        format=Format(row.format),
        uri=row.uri,
        bits_per_second=row.bits_per_second,
        size=row.size,
        codecs=row.codecs,
        width=row.width,
        height=row.height,
        revision=row.revision,
    )
