"""Adds to many rows at a time, which are made where there are none.

Counts come by the ten thousand. SQLAlchemy prepares each row of a statement anew, which takes five
times as long as SQLite needs to write it; here the statement is written once, and rows are handed
to the driver as tuples.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.engine import Database

#: What is to be added, by the values of the keys: an amount for each sum.
Sheet: TypeAlias = defaultdict[tuple[Any, ...], dict[str, float]]

#: Items that are worked on while nothing else runs: a millisecond.
TURN = 500

_Item = TypeVar("_Item")


async def in_turns(items: Iterable[_Item]) -> AsyncIterator[list[_Item]]:
    """The same, ``TURN`` at a time, between which others have their turn."""
    left = iter(items)
    while some := [*islice(left, TURN)]:
        yield some
        await asyncio.sleep(0)


class Adding:
    """Adds to the rows of one table."""

    def __init__(self, database: Database, table: Any, keys: Sequence[str]) -> None:  # noqa: ANN401
        """``table``: a mapped class. ``keys``: columns of its primary key; the others are sums."""
        columns = table.__table__.columns
        sums = [name for name in columns.keys() if name not in keys]  # noqa: SIM118
        insert = database.insert(table.__table__)
        added = {name: columns[name] + insert.excluded[name] for name in sums}
        dialect = database.engine.dialect
        compiled = insert.on_conflict_do_update(index_elements=[*keys], set_=added).compile(
            dialect=dialect
        )
        given = (*keys, *sums)
        order = compiled.positiontup or ()
        self._nothing: dict[str, float] = dict.fromkeys(sums, 0)
        self._statement = str(compiled)
        self._arranged = itemgetter(*(given.index(name) for name in order))
        processors = (
            columns[name].type.dialect_impl(dialect).bind_processor(dialect) for name in given
        )
        self._processors = [(at, one) for at, one in enumerate(processors) if one is not None]

    def sheet(self) -> Sheet:
        """An empty one for this table."""
        return defaultdict(self._nothing.copy)

    async def add(self, session: AsyncSession, counts: Sheet) -> None:
        """Add a sheet to the table."""
        if not counts:
            return
        # Times, of which there are few, as the driver takes them.
        processors = [(at, lru_cache(one)) for at, one in self._processors]
        rows = []
        # In one order everywhere: two nodes that write at a time do not wait for each other.
        async for keys in in_turns(sorted(counts)):
            for key in keys:
                row = [*key, *counts[key].values()]
                for at, process in processors:
                    row[at] = process(row[at])
                rows.append(self._arranged(row))
        connection = await session.connection()
        await connection.exec_driver_sql(self._statement, rows)
