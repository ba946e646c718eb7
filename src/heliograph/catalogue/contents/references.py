"""Classifications, levels, and networks of clients: small tables that others speak of.

They are put as a whole: what is there under that code, or of that network, is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.content_tables import (
    ClassificationRow,
    LevelRow,
    NetworkRow,
    TitleClassRow,
    TitleRow,
)
from heliograph.catalogue.contents import checks, fields
from heliograph.catalogue.contents.fields import KEYS, Kind, fold
from heliograph.catalogue.contents.queries import MAX_PAGE, Queries, matches, page, room
from heliograph.catalogue.contents.revision import begin, raise_version
from heliograph.catalogue.contents.values import Classification, Level, Network
from heliograph.catalogue.context import cut
from heliograph.catalogue.values import SYSTEM, Actor
from heliograph.model.errors import ConflictError, NotFoundError

#: Classifications, and levels, of one catalogue: people choose from a list of them.
MAX_CODES = 1000
#: Networks of one catalogue: each dispatcher holds all of them in memory.
MAX_NETWORKS = 50_000

Reference: TypeAlias = LevelRow | ClassificationRow | NetworkRow

DEFAULTS: Mapping[Kind, Mapping[str, Any]] = {
    Kind.LEVEL: {"name": "", "min_age": 0},
    Kind.CLASS: {"name": ""},
    Kind.NETWORK: {"region": "", "refused": False},
}
ROWS: Mapping[Kind, Any] = {
    Kind.LEVEL: LevelRow,
    Kind.CLASS: ClassificationRow,
    Kind.NETWORK: NetworkRow,
}
MOST: Mapping[Kind, int] = {
    Kind.LEVEL: MAX_CODES,
    Kind.CLASS: MAX_CODES,
    Kind.NETWORK: MAX_NETWORKS,
}


class ReferenceQueries(Queries):
    """Reference tables by code, or by network."""

    async def list_classifications(
        self, *, search: str = "", after: str = "", limit: int = MAX_PAGE
    ) -> list[Classification]:
        """Classifications by code, those behind ``after``, that have ``search`` in it or in their
        name."""
        query = select(ClassificationRow).order_by(ClassificationRow.code)
        async with self._db.read() as session:
            found = [
                Classification(row.code, row.name)
                for row in await session.scalars(query)
                if _has(search, row.code, row.name)
            ]
        return [one for one in sorted(found, key=_code) if one.code > after][: page(limit)]

    async def list_levels(
        self, *, search: str = "", after: str = "", limit: int = MAX_PAGE
    ) -> list[Level]:
        """Levels by code, as ``list_classifications``."""
        query = select(LevelRow).order_by(LevelRow.code)
        async with self._db.read() as session:
            found = [
                Level(row.code, row.name, row.min_age)
                for row in await session.scalars(query)
                if _has(search, row.code, row.name)
            ]
        return [one for one in sorted(found, key=_code) if one.code > after][: page(limit)]

    async def list_networks(
        self, *, search: str = "", after: str = "", limit: int = MAX_PAGE
    ) -> list[Network]:
        """Networks in the order of their texts, those behind ``after``, that have ``search`` in
        themselves or in their region."""
        query = select(NetworkRow).where(NetworkRow.cidr > cut(after, 43))
        if search:
            in_region = matches(func.lower(NetworkRow.region), search)
            query = query.where(or_(and_(*matches(NetworkRow.cidr, search)), and_(*in_region)))
        query = query.order_by(NetworkRow.cidr).limit(page(limit))
        async with self._db.read() as session:
            return [network_of(row) for row in await session.scalars(query)]

    async def put_classification(
        self, given: Mapping[str, Any], *, by: Actor = SYSTEM
    ) -> Classification:
        """Add or change a classification: ``code`` and ``name``."""
        row = await self._put(Kind.CLASS, given, by)
        assert isinstance(row, ClassificationRow)
        return Classification(row.code, row.name)

    async def put_level(self, given: Mapping[str, Any], *, by: Actor = SYSTEM) -> Level:
        """Add or change a level: ``code``, ``name`` and ``min_age``."""
        row = await self._put(Kind.LEVEL, given, by)
        assert isinstance(row, LevelRow)
        return Level(row.code, row.name, row.min_age)

    async def put_network(self, given: Mapping[str, Any], *, by: Actor = SYSTEM) -> Network:
        """Add or change a network: ``cidr``, ``region`` and ``refused``."""
        row = await self._put(Kind.NETWORK, given, by)
        assert isinstance(row, NetworkRow)
        return network_of(row)

    async def remove_classification(self, code: str, *, by: Actor = SYSTEM) -> None:
        """Remove a classification; ``ConflictError`` while titles have it."""
        used = select(TitleClassRow.title_id).where(TitleClassRow.code == cut(code, 33))
        await self._remove(Kind.CLASS, code, by, used)

    async def remove_level(self, code: str, *, by: Actor = SYSTEM) -> None:
        """Remove a level; ``ConflictError`` while titles have it."""
        used = select(TitleRow.id).where(TitleRow.level_code == cut(code, 33))
        await self._remove(Kind.LEVEL, code, by, used)

    async def remove_network(self, cidr: str, *, by: Actor = SYSTEM) -> None:
        """Remove a network."""
        await self._remove(Kind.NETWORK, cidr, by, None)

    async def _put(self, kind: Kind, given: Mapping[str, Any], by: Actor) -> Reference:
        values = fields.clean(kind, given)
        fields.require(kind, values, KEYS[kind])
        key: str = values[KEYS[kind][0]]
        async with self._db.write() as session:
            await begin(session, self._db)
            row: Reference | None = await session.get(ROWS[kind], key)
            action = f"{kind}.change"
            if row is None:
                action = f"{kind}.add"
                await room(session, key_of(kind), MOST[kind], f"{kind} rows")
                row = new_row(kind, values)
                session.add(row)
            elif not change_row(row, values):
                return row
            await raise_version(session, self._db, networks=kind is Kind.NETWORK)
            told = {name: value for name, value in values.items() if name != KEYS[kind][0]}
            self._note(session, by, action, key, **told)
            await session.flush()
            return row

    async def _remove(self, kind: Kind, key: str, by: Actor, used: Any) -> None:  # noqa: ANN401
        if kind is Kind.NETWORK:
            key = checks.cidr(key)
        async with self._db.write() as session:
            await begin(session, self._db)
            row = await session.get(ROWS[kind], cut(key, 64))
            if row is None:
                raise NotFoundError(f"no {kind} {key[:80]!r}", subject=key[:80])
            if used is not None and await session.scalar(used.limit(1)) is not None:
                raise ConflictError(f"titles have {kind} {key!r}", subject=key)
            await raise_version(session, self._db, networks=kind is Kind.NETWORK)
            self._note(session, by, f"{kind}.remove", key)
            await session.execute(delete(ROWS[kind]).where(key_of(kind) == key))


def key_of(kind: Kind) -> Any:  # noqa: ANN401 - a column of one of three tables
    """The column that tells the rows of a kind apart."""
    return getattr(ROWS[kind], KEYS[kind][0])


def new_row(kind: Kind, values: Mapping[str, Any]) -> Reference:
    """A row of values that were checked; a code stands in for a name that is not given."""
    row: Reference = ROWS[kind](**{**DEFAULTS[kind], **values})
    if isinstance(row, LevelRow | ClassificationRow):
        row.name = row.name or row.code
    return row


def change_row(row: Reference, values: Mapping[str, Any]) -> list[str]:
    """Set what differs; the names of those fields. A code stands in for a name that is empty."""
    changed = []
    for name, value in values.items():
        if name == "name" and not value:
            value = values["code"]
        if getattr(row, name) != value:
            setattr(row, name, value)
            changed.append(name)
    return changed


def network_of(row: NetworkRow) -> Network:
    """The row as a value."""
    return Network(row.cidr, row.region, row.refused)


def _code(one: Classification | Level) -> str:
    return one.code


def _has(search: str, *texts: str) -> bool:
    within = fold(" ".join(texts))
    return all(word in within for word in fold(search[:100]).split())


async def found_rows(session: AsyncSession, kind: Kind, keys: list[str]) -> dict[str, Reference]:
    """The rows with these keys."""
    rows = await session.scalars(select(ROWS[kind]).where(key_of(kind).in_(keys)))
    return {getattr(row, KEYS[kind][0]): row for row in rows}
