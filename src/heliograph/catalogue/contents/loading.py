"""All that a dispatcher decides by, read page by page, and afterwards only what changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from heliograph.catalogue.content_tables import (
    FileRow,
    NetworkRow,
    RemovedRow,
    ServerRow,
    TitleClassRow,
    TitleRegionRow,
    TitleRow,
)
from heliograph.catalogue.contents.queries import Queries
from heliograph.catalogue.contents.revision import current, newest
from heliograph.catalogue.contents.servers import server_of
from heliograph.catalogue.contents.values import Contents, File, Format, Network, Server, Title

#: Rows that are made values of at a time: everything else of the process waits so long, a few
#: milliseconds.
PAGE = 1000

_FORMATS = {one.value: one for one in Format}
_Value = TypeVar("_Value", Server, Title, File)


class LoadQueries(Queries):
    """Reads the contents as they were at one moment."""

    async def version(self) -> int:
        """That of the contents now: grows with every change of a server, a title, a file or what
        they refer to; 0 where there never was one."""
        return await newest(self._db)

    async def load(self, before: Contents | None = None) -> Contents:
        """The contents. With those of ``before``, which this process got here, only what changed
        since is read.

        Servers, titles and files are by number, networks in the order of their texts.
        """
        async with self._db.read() as session:
            if not self._db.is_sqlite:  # where reading alone gives one state already
                await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            version, whole_from, networks_from = await current(session)
            if before is not None and before.version == version:
                return before
            if before is None or not whole_from <= before.version < version:
                before = Contents(0)
            since = before.version
            changed = select(ServerRow).where(ServerRow.revision > since).order_by(ServerRow.id)
            servers = [server_of(row) for row in await session.scalars(changed)]
            titles = await _titles(session, since)
            files = await _files(session, since)
            networks = before.networks
            if networks_from > since:
                networks = await _networks(session)
            gone = await _gone(session, since) if since else {}
        news = Contents(version, tuple(servers), tuple(titles), tuple(files), networks)
        return await asyncio.to_thread(_merged, before, news, gone) if since else news

    async def load_bars(self) -> Contents:
        """What keeps titles and channels from viewers: networks, and of titles that are not
        published or not licensed everywhere the name and that; all else is left out."""
        columns = (TitleRow.id, TitleRow.name, TitleRow.published)
        licensed = TitleRow.id.in_(select(TitleRegionRow.title_id))
        titles: list[Title] = []
        async with self._db.read() as session:
            networks = await _networks(session)
            async for rows in _pages(
                session, columns, only=TitleRow.published.is_(False) | licensed
            ):
                regions = await _labels(
                    session, TitleRegionRow.title_id, TitleRegionRow.region, rows, 0
                )
                titles += [
                    Title(id, name, "", regions=regions.get(id, ()), published=published)
                    for id, name, published in rows
                ]
        return Contents(0, titles=tuple(titles), networks=networks)


async def _pages(
    session: AsyncSession,
    columns: Sequence[InstrumentedAttribute[Any]],
    since: int = 0,
    only: ColumnElement[bool] | None = None,
) -> AsyncIterator[Sequence[Any]]:
    """Rows of these columns in the order of the first one, which tells them apart.

    ``since``: only those that changed after this version, in the order of the last column, their
    revision: an index leads to them, wherever they are in the table. ``only``: what has to hold.
    """
    key, revision = columns[0], columns[-1]
    query = select(*columns).limit(PAGE)
    if only is not None:
        query = query.where(only)
    query = query.where(revision > since).order_by(revision, key) if since else query.order_by(key)
    rows = (await session.execute(query)).all()
    while rows:
        yield rows
        await asyncio.sleep(0)  # others are let in between, however quick the database is
        if len(rows) < PAGE:
            return
        last, at = rows[-1][0], rows[-1][-1]
        behind = (revision >= at, or_(revision > at, key > last)) if since else (key > last,)
        rows = (await session.execute(query.where(*behind))).all()


async def _titles(session: AsyncSession, since: int) -> list[Title]:
    columns = (
        TitleRow.id,
        TitleRow.name,
        TitleRow.title,
        TitleRow.description,
        TitleRow.duration,
        TitleRow.level_code,
        TitleRow.policy,
        TitleRow.published,
        TitleRow.created,
        TitleRow.revision,
    )
    found: list[Title] = []
    async for rows in _pages(session, columns, since):
        classes = await _labels(session, TitleClassRow.title_id, TitleClassRow.code, rows, since)
        regions = await _labels(
            session, TitleRegionRow.title_id, TitleRegionRow.region, rows, since
        )
        found += [
            Title(
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                row[5] or "",
                classes.get(row[0], ()),
                regions.get(row[0], ()),
                *row[6:],
            )
            for row in rows
        ]
    return found


async def _labels(
    session: AsyncSession,
    title: InstrumentedAttribute[int],
    label: InstrumentedAttribute[str],
    titles: Sequence[Any],
    since: int,
) -> dict[int, tuple[str, ...]]:
    """Classes, or regions, of the titles, whose numbers are in their first column."""
    query = select(title, label)
    if since:
        query = query.where(title.in_([row[0] for row in titles]))
    else:
        query = query.where(title.between(titles[0][0], titles[-1][0]))
    found: dict[int, tuple[str, ...]] = {}
    for id, one in await session.execute(query):
        found[id] = tuple(sorted((*found[id], one))) if id in found else (one,)
    return found


async def _files(session: AsyncSession, since: int) -> list[File]:
    columns = (
        FileRow.id,
        FileRow.title_id,
        FileRow.server_id,
        FileRow.format,
        FileRow.uri,
        FileRow.bits_per_second,
        FileRow.size,
        FileRow.codecs,
        FileRow.width,
        FileRow.height,
        FileRow.revision,
    )
    found: list[File] = []
    async for rows in _pages(session, columns, since):
        found += [File(row[0], row[1], row[2], _FORMATS[row[3]], *row[4:]) for row in rows]
    return found


async def _networks(session: AsyncSession) -> tuple[Network, ...]:
    columns = (NetworkRow.cidr, NetworkRow.region, NetworkRow.refused)
    found: list[Network] = []
    async for rows in _pages(session, columns):
        found += [Network(*row) for row in rows]
    return tuple(found)


async def _gone(session: AsyncSession, since: int) -> dict[str, set[int]]:
    """Numbers of what was removed, by kind."""
    gone: dict[str, set[int]] = {"server": set(), "title": set(), "file": set()}
    query = select(RemovedRow.kind, RemovedRow.row_id).where(RemovedRow.revision > since)
    for kind, id in await session.execute(query):
        gone[kind].add(id)
    return gone


def _merged(before: Contents, news: Contents, gone: dict[str, set[int]]) -> Contents:
    """What was known, with what changed in its place and without what is gone."""
    servers = _put(before.servers, news.servers, gone["server"])
    titles = _put(before.titles, news.titles, gone["title"])
    files = _put(before.files, news.files, gone["file"])
    if gone["server"] or gone["title"]:  # their files went with them, and are not told of
        files = tuple(
            one
            for one in files
            if one.server not in gone["server"] and one.title not in gone["title"]
        )
    return Contents(news.version, servers, titles, files, news.networks)


def _put(before: tuple[_Value, ...], news: Iterable[_Value], gone: set[int]) -> tuple[_Value, ...]:
    """In the order of their numbers."""
    found = {one.id: one for one in news}
    if not found and not gone:
        return before
    kept = [found.pop(one.id, one) for one in before if one.id not in gone]
    # What is new has greater numbers than all that was known.
    kept += (found[id] for id in sorted(found))
    return tuple(kept)
