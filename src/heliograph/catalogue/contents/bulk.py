"""Many rows at once: what is there under the same name is changed, what is not is added.

Said twice is said once. A batch is one transaction, short enough that nobody waits for it; a record
that cannot be taken is reported and keeps no other from being taken.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, insert, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import FileRow, ServerRow, TitleRow
from heliograph.catalogue.contents import fields, files, references, servers, titles
from heliograph.catalogue.contents.fields import KEYS, NEEDED, Kind, Outcome, Record
from heliograph.catalogue.contents.files import FileQueries
from heliograph.catalogue.contents.naming import format_of
from heliograph.catalogue.contents.queries import chunks, folded
from heliograph.catalogue.contents.references import ReferenceQueries
from heliograph.catalogue.contents.revision import begin, raise_version
from heliograph.catalogue.contents.servers import ServerQueries
from heliograph.catalogue.contents.titles import TitleQueries
from heliograph.catalogue.contents.values import File, Server, Title
from heliograph.catalogue.engine import Database
from heliograph.catalogue.values import SYSTEM, Actor
from heliograph.model.errors import MalformedError, PeerError, TooLargeError

#: Records of one call.
MAX_RECORDS = 1000
#: Records of one transaction, and rows of an export that are read at a time: either takes a few
#: hundredths of a second.
BATCH = 250


@dataclass(slots=True)
class _Item:
    """A record whose fields were checked."""

    values: dict[str, Any]
    place: str


class _Batch:
    """One transaction's work; raises the version with the first row that changes."""

    def __init__(
        self, session: AsyncSession, database: Database, now: Callable[[], Any], outcome: Outcome
    ) -> None:
        self.session = session
        self.outcome = outcome
        self.now = now
        self._database = database
        self._version = 0
        self._of_networks = False

    async def version(self, *, networks: bool = False) -> int:
        """With which the changes of this transaction are marked."""
        if not self._version or (networks and not self._of_networks):
            self._version = await raise_version(self.session, self._database, networks=networks)
            self._of_networks = networks
        return self._version

    def reject(self, item: _Item, reason: str) -> None:
        self.outcome.rejected.append((item.place, reason))

    async def room(self, column: Any, most: int) -> int:  # noqa: ANN401 - any table's key
        """How many rows may be added; at least so many as there are records, where it is not told
        exactly."""
        if column.type.python_type is int:  # numbers are not given twice: there are no more rows
            newest = await self.session.scalar(select(func.max(column))) or 0
            if newest + BATCH <= most:
                return most - newest
        return most - (await self.session.scalar(select(func.count(column))) or 0)


class BulkQueries(ServerQueries, TitleQueries, FileQueries, ReferenceQueries):
    """Puts what an import brings, and tells what an export takes."""

    async def put(
        self, records: Sequence[Record], *, by: Actor = SYSTEM, source: str = ""
    ) -> Outcome:
        """Add or change what the records say; fields that are not given stay.

        ``source``: what they are of, for the audit log, which has a line for each transaction.
        ``TooLargeError`` above ``MAX_RECORDS``.
        """
        if len(records) > MAX_RECORDS:
            raise TooLargeError(f"more than {MAX_RECORDS} records at once", subject="records")
        outcome = Outcome()
        order = {kind: number for number, kind in enumerate(Kind)}
        ordered = sorted(records, key=lambda record: order[record.kind])
        for start in range(0, len(ordered), BATCH):
            await self._put_batch(ordered[start : start + BATCH], outcome, by, source)
        return outcome

    async def known_titles(self, names: Sequence[str]) -> set[str]:
        """Which of these titles there are, in lower case."""
        found: set[str] = set()
        async with self._db.read() as session:
            for some in chunks(sorted({folded(name) for name in names})):
                query = select(TitleRow.folded_name).where(TitleRow.folded_name.in_(some))
                found |= set(await session.scalars(query))
        return found

    async def records(self) -> AsyncIterator[Record]:
        """Everything as records, page by page, each after those that it speaks of."""
        for level in await self.list_levels():
            yield Record(Kind.LEVEL, asdict(level))
        for one in await self.list_classifications():
            yield Record(Kind.CLASS, asdict(one))
        networks = await self.list_networks(limit=BATCH)
        while networks:
            for network in networks:
                yield Record(Kind.NETWORK, asdict(network))
            networks = await self.list_networks(after=networks[-1].cidr, limit=BATCH)
        for server in await self.list_servers():
            yield Record(Kind.SERVER, _said(Kind.SERVER, server))
        some = await self.list_titles(limit=BATCH)
        while some:
            for title in some:
                yield Record(Kind.TITLE, _said(Kind.TITLE, title))
            some = await self.list_titles(after=some[-1].name, limit=BATCH)
        copies = await self.list_files(limit=BATCH)
        while copies:
            for file, of_title, on_server in copies:
                said = _said(Kind.FILE, file) | {"title": of_title, "server": on_server}
                yield Record(Kind.FILE, said)
            copies = await self.list_files(after=copies[-1][0].id, limit=BATCH)

    async def _put_batch(
        self, records: Sequence[Record], outcome: Outcome, by: Actor, source: str
    ) -> None:
        checked: dict[Kind, list[_Item]] = {}
        for record in records:
            try:
                values = fields.clean(record.kind, record.fields)
                fields.require(record.kind, values, KEYS[record.kind])
                checked.setdefault(record.kind, []).append(_Item(values, record.place))
            except PeerError as error:
                outcome.rejected.append((record.place, _reason(error)))
        if not checked:
            return
        before = outcome.added, outcome.changed
        async with self._db.write() as session:
            await begin(session, self._db)
            if not self._db.is_sqlite:
                # A plan that was kept from when a table was small reads the whole of it each time.
                await session.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            batch = _Batch(session, self._db, self._context.now, outcome)
            for kind, items in checked.items():
                await _PUT[kind](batch, kind, _once(kind, items))
                await session.flush()
            added, changed = outcome.added - before[0], outcome.changed - before[1]
            if added or changed:
                self._note(session, by, "contents.import", source, added=added, changed=changed)


def _said(kind: Kind, value: Server | Title | File) -> dict[str, Any]:
    return {name: getattr(value, name) for name in fields.FIELDS[kind]}


def _reason(error: PeerError) -> str:
    return error.reason if isinstance(error, MalformedError) else error.message


def _once(kind: Kind, items: Iterable[_Item]) -> list[_Item]:
    """What is said of one row in several records, put together: the last word counts."""
    found: dict[tuple[str, ...], _Item] = {}
    for item in items:
        key = tuple(
            item.values[name] if name in ("uri", "code", "cidr") else folded(item.values[name])
            for name in KEYS[kind]
        )
        known = found.get(key)
        if known is None:
            found[key] = item
        else:
            known.values.update(item.values)
            known.place = item.place
    return list(found.values())


async def _put_references(batch: _Batch, kind: Kind, items: list[_Item]) -> None:
    name = KEYS[kind][0]
    known = await references.found_rows(batch.session, kind, [one.values[name] for one in items])
    room = await batch.room(references.key_of(kind), references.MOST[kind])
    networks = kind is Kind.NETWORK
    for item in items:
        row = known.get(item.values[name])
        if row is None:
            if room <= 0:
                batch.reject(item, f"there are {references.MOST[kind]} already")
                continue
            room -= 1
            await batch.version(networks=networks)
            batch.session.add(references.new_row(kind, item.values))
            batch.outcome.added += 1
        elif references.change_row(row, item.values):
            await batch.version(networks=networks)
            batch.outcome.changed += 1
        else:
            batch.outcome.unchanged += 1


async def _put_servers(batch: _Batch, kind: Kind, items: list[_Item]) -> None:
    names = [folded(one.values["name"]) for one in items]
    rows = await batch.session.scalars(select(ServerRow).where(ServerRow.folded_name.in_(names)))
    known = {row.folded_name: row for row in rows}
    room = await batch.room(ServerRow.id, servers.MAX_SERVERS)
    for item in items:
        row = known.get(folded(item.values["name"]))
        if row is None:
            if room <= 0:
                batch.reject(item, f"there are {servers.MAX_SERVERS} servers already")
                continue
            if missing := _missing(kind, item):
                batch.reject(item, missing)
                continue
            room -= 1
            row = servers.new_server(item.values, await batch.version())
            row.created = batch.now()
            batch.session.add(row)
            batch.outcome.added += 1
        elif servers.change_server_row(row, {**item.values, "name": row.name}):
            row.revision = await batch.version()
            batch.outcome.changed += 1
        else:
            batch.outcome.unchanged += 1


async def _put_titles(batch: _Batch, kind: Kind, items: list[_Item]) -> None:
    session = batch.session
    no_levels, no_classes = await titles.unknown_labels(session, [one.values for one in items])
    names = [folded(one.values["name"]) for one in items]
    rows = list(await session.scalars(select(TitleRow).where(TitleRow.folded_name.in_(names))))
    known = {row.folded_name: row for row in rows}
    classes, regions = await titles.labels(session, [row.id for row in rows])
    taken = await titles.taken_names(session, [name for name in names if name not in known])
    room = await batch.room(TitleRow.id, titles.MAX_TITLES)
    new: list[dict[str, Any]] = []
    labelled: list[tuple[str, dict[str, Any]]] = []
    for item in items:
        values = item.values
        name = folded(values["name"])
        wrong = no_classes & set(values.get("classes", ()))
        row = known.get(name)
        if values.get("level") in no_levels:
            batch.reject(item, f"no level {values['level']!r}")
        elif wrong:
            batch.reject(item, f"no class {min(wrong)!r}")
        elif row is None and name in taken:
            batch.reject(item, f"{taken[name]} {values['name']!r} exists already")
        elif row is None and room <= 0:
            batch.reject(item, f"there are {titles.MAX_TITLES} titles already")
        elif row is None:
            room -= 1
            new.append(titles.new_title(values, await batch.version(), batch.now()))
            labelled.append((name, values))
            batch.outcome.added += 1
        elif titles.change_title_row(row, {**values, "name": row.name}) + titles.changed_labels(
            values, classes[row.id], regions[row.id]
        ):
            row.revision = await batch.version()
            labelled.append((name, values))
            batch.outcome.changed += 1
        else:
            batch.outcome.unchanged += 1
    await session.flush()
    if new:  # without making objects of them, which takes far longer
        await session.execute(insert(TitleRow), new)
    labelled = [one for one in labelled if "classes" in one[1] or "regions" in one[1]]
    ids = await _ids(session, TitleRow, [name for name, _ in labelled])
    fresh = {one["folded_name"] for one in new}
    await titles.set_labels(
        session, [(ids[name], values, name in fresh) for name, values in labelled]
    )


async def _put_files(batch: _Batch, kind: Kind, items: list[_Item]) -> None:
    session = batch.session
    of_title = await _ids(session, TitleRow, [one.values["title"] for one in items])
    on_server = await _ids(
        session, ServerRow, [one.values["server"] for one in items if "server" in one.values]
    )
    wanted = [
        (of_title[name], one.values["uri"])
        for one in items
        if (name := folded(one.values["title"])) in of_title
    ]
    pair = tuple_(FileRow.title_id, FileRow.uri)
    rows = await session.scalars(select(FileRow).where(pair.in_(wanted))) if wanted else ()
    known = {(row.title_id, row.uri): row for row in rows}
    counts: dict[int, int] = {}
    if wanted:
        count = select(FileRow.title_id, func.count()).group_by(FileRow.title_id)
        of_these = FileRow.title_id.in_(sorted({title for title, _ in wanted}))
        counts = {title: copies for title, copies in await session.execute(count.where(of_these))}
    room = await batch.room(FileRow.id, files.MAX_FILES)
    new: list[dict[str, Any]] = []
    for item in items:
        values = dict(item.values)
        title = of_title.get(folded(values.pop("title")))
        server_name = values.pop("server", "")
        server = on_server.get(folded(server_name))
        row = None if title is None else known.get((title, values["uri"]))
        if title is None:
            batch.reject(item, f"no title {item.values['title']!r}")
        elif server_name and server is None:
            batch.reject(item, f"no server {server_name!r}")
        elif row is not None:
            values |= {} if server is None else {"server_id": server}
            if files.change_file_row(row, values):
                row.revision = await batch.version()
                batch.outcome.changed += 1
            else:
                batch.outcome.unchanged += 1
        elif server is None:
            batch.reject(item, _missing(kind, item))
        elif not values.setdefault("format", format_of(values["uri"])):
            batch.reject(item, f"{values['uri'][:80]!r} does not tell its format")
        elif room <= 0:
            batch.reject(item, f"there are {files.MAX_FILES} files already")
        elif counts.get(title, 0) >= files.MAX_OF_TITLE:
            batch.reject(item, f"its title has {files.MAX_OF_TITLE} files already")
        else:
            room -= 1
            counts[title] = counts.get(title, 0) + 1
            new.append(files.new_file(values, title, server, await batch.version()))
            batch.outcome.added += 1
    if new:
        await session.execute(insert(FileRow), new)


async def _ids(
    session: AsyncSession, row: type[TitleRow] | type[ServerRow], names: list[str]
) -> dict[str, int]:
    """Numbers by names in lower case."""
    wanted = sorted({folded(name) for name in names})
    query = select(row.folded_name, row.id).where(row.folded_name.in_(wanted))
    return {name: id for name, id in await session.execute(query)}


def _missing(kind: Kind, item: _Item) -> str:
    """What a new row would need besides; empty where nothing is missing."""
    missing = [name for name in NEEDED[kind] if not item.values.get(name)]
    return f"{missing[0]} is missing" if missing else ""


_PUT = {
    Kind.LEVEL: _put_references,
    Kind.CLASS: _put_references,
    Kind.NETWORK: _put_references,
    Kind.SERVER: _put_servers,
    Kind.TITLE: _put_titles,
    Kind.FILE: _put_files,
}
