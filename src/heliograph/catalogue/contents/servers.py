"""Servers: listed, added, changed, removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import delete, exists, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import FileRow, ServerRow
from heliograph.catalogue.contents import fields
from heliograph.catalogue.contents.fields import Kind
from heliograph.catalogue.contents.queries import (
    MAX_PAGE,
    Queries,
    check_revision,
    folded,
    matches,
    page,
    room,
    server_row,
)
from heliograph.catalogue.contents.revision import begin, note_removed, raise_version
from heliograph.catalogue.contents.values import Probe, ProbeKind, Server
from heliograph.catalogue.values import SYSTEM, Actor
from heliograph.model.errors import ConflictError

#: Servers of one catalogue: each is probed, and each decision may look at all of them.
MAX_SERVERS = 1000
#: Files that go with their server in one transaction: what comes after it waits so long.
REMOVED_AT_ONCE = 2000

#: What a new server has where nothing else is said.
DEFAULTS: Mapping[str, Any] = {
    "make": "",
    "region": "",
    "capacity_bps": 0,
    "max_sessions": 0,
    "weight": 1.0,
    "enabled": True,
    "drained": False,
    "probes": (Probe(ProbeKind.ICMP),),
}


class ServerQueries(Queries):
    """Servers by name."""

    async def list_servers(
        self, *, search: str = "", after: str = "", limit: int = MAX_PAGE
    ) -> list[Server]:
        """Servers by name, those behind ``after``, that have each word of ``search`` in their name,
        host, make or region."""
        query = (
            select(ServerRow)
            .where(ServerRow.folded_name > folded(after), *matches(ServerRow.sought, search))
            .order_by(ServerRow.folded_name)
            .limit(page(limit))
        )
        async with self._db.read() as session:
            return [server_of(row) for row in await session.scalars(query)]

    async def get_server(self, name: str) -> Server:
        """The server; ``NotFoundError`` without one."""
        async with self._db.read() as session:
            return server_of(await server_row(session, name))

    async def count_files(self, servers: Collection[int]) -> dict[int, int]:
        """How many files each of these servers holds, by their ids; those without are left out."""
        query = select(FileRow.server_id, func.count()).where(
            FileRow.server_id.in_(sorted(servers))
        )
        async with self._db.read() as session:
            rows = await session.execute(query.group_by(FileRow.server_id))
            return {server: count for server, count in rows}

    async def add_server(self, given: Mapping[str, Any], *, by: Actor = SYSTEM) -> Server:
        """Add a server, of which ``given`` says ``name``, ``host`` and other fields of ``Server``.

        ``ConflictError`` where the name is taken (letters' case does not tell names apart),
        ``TooLargeError`` where there are ``MAX_SERVERS``.
        """
        values = fields.clean(Kind.SERVER, given)
        fields.require(Kind.SERVER, values, ("name", "host"))
        async with self._db.write() as session:
            await begin(session, self._db)
            await _check_free(session, values["name"])
            await room(session, ServerRow.id, MAX_SERVERS, "servers")
            version = await raise_version(session, self._db)
            row = new_server(values, version)
            row.created = self._context.now()
            session.add(row)
            await session.flush()
            self._note(session, by, "server.add", row.name, host=row.host)
            return server_of(row)

    async def change_server(
        self,
        name: str,
        given: Mapping[str, Any],
        *,
        revision: int | None = None,
        by: Actor = SYSTEM,
    ) -> Server:
        """Change the fields given.

        ``PreconditionError`` where the server is not of that ``revision`` any more.
        """
        values = fields.clean(Kind.SERVER, given)
        async with self._db.write() as session:
            await begin(session, self._db)
            row = await server_row(session, name)
            check_revision(revision, row.revision, f"server {row.name!r}")
            if folded(values.get("name", row.name)) != row.folded_name:
                await _check_free(session, values["name"])
            before, was = row.name, {"drained": row.drained, "enabled": row.enabled}
            changed = change_server_row(row, values)
            if changed:
                row.revision = await raise_version(session, self._db)
                told = {one: getattr(row, one) for one in changed if one in was}
                action = "server.change"
                if changed == ["drained"]:
                    action = "server.drain" if row.drained else "server.return"
                self._note(session, by, action, before, fields=" ".join(changed), **told)
                await session.flush()
            return server_of(row)

    async def remove_server(
        self,
        name: str,
        *,
        with_files: bool = False,
        revision: int | None = None,
        by: Actor = SYSTEM,
    ) -> int:
        """Remove a server; how many files went with it.

        ``ConflictError`` where it has files and ``with_files`` is not said. Files go some thousands
        at a time; from the first of them on nobody is sent to the server.
        """
        gone = 0
        while True:
            async with self._db.write() as session:
                await begin(session, self._db)
                row = await server_row(session, name)
                check_revision(revision, row.revision, f"server {row.name!r}")
                has_files = await session.scalar(
                    select(exists().where(FileRow.server_id == row.id))
                )
                if has_files and not with_files:
                    raise ConflictError(
                        f"server {row.name!r} has files: remove them, or say that they go with it",
                        subject=row.name,
                    )
                version = await raise_version(session, self._db)
                if not has_files:
                    await note_removed(session, "server", [row.id], version)
                    self._note(session, by, "server.remove", row.name, files=gone)
                    await session.execute(delete(ServerRow).where(ServerRow.id == row.id))
                    return gone
                if row.enabled:
                    row.enabled, row.revision = False, version
                revision = None if revision is None else row.revision
                gone += await _remove_files(session, row.id, version)


async def _remove_files(session: AsyncSession, server: int, version: int) -> int:
    first = select(FileRow.id).where(FileRow.server_id == server).order_by(FileRow.id)
    ids = list(await session.scalars(first.limit(REMOVED_AT_ONCE)))
    await session.execute(delete(FileRow).where(FileRow.server_id == server, FileRow.id <= ids[-1]))
    await note_removed(session, "file", ids, version)
    return len(ids)


async def _check_free(session: AsyncSession, name: str) -> None:
    taken = await session.scalar(select(ServerRow.id).where(ServerRow.folded_name == folded(name)))
    if taken is not None:
        raise ConflictError(f"server {name!r} exists already", subject=name)


def new_server(values: Mapping[str, Any], version: int) -> ServerRow:
    """A row of values that were checked; ``created`` is for the caller to say."""
    row = ServerRow(revision=version)
    change_server_row(row, {**DEFAULTS, **values})
    return row


def change_server_row(row: ServerRow, values: Mapping[str, Any]) -> list[str]:
    """Set what differs; the names of those fields."""
    stored = dict(values)
    if "probes" in stored:
        stored["probes"] = [_stored_probe(one) for one in stored["probes"]]
    changed = [name for name, value in stored.items() if getattr(row, name) != value]
    for name in changed:
        setattr(row, name, stored[name])
    if "name" in changed:
        row.folded_name = folded(row.name)
    if changed:
        row.sought = fields.sought(row.name, row.host, row.make, row.region)
    return changed


def server_of(row: ServerRow) -> Server:
    """The row as a value."""
    return Server(
        id=row.id,
        name=row.name,
        host=row.host,
        make=row.make,
        region=row.region,
        capacity_bps=row.capacity_bps,
        max_sessions=row.max_sessions,
        weight=row.weight,
        enabled=row.enabled,
        drained=row.drained,
        probes=probes_of(row.probes),
        created=row.created,
        revision=row.revision,
    )


def probes_of(stored: Iterable[Mapping[str, Any]]) -> tuple[Probe, ...]:
    """Probes as they are stored, as values."""
    return tuple(
        Probe(ProbeKind(one["kind"]), one["interval"], one["port"], one["path"]) for one in stored
    )


def _stored_probe(probe: Probe) -> dict[str, Any]:
    return {
        "kind": probe.kind.value,
        "interval": probe.interval,
        "port": probe.port,
        "path": probe.path,
    }
