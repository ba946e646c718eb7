"""Adds to many rows at a time, which are made where there are none.

Counts come by the ten thousand, while the same process answers requests. So a table's are handed to
the database as one text, and one statement reads, sums, sorts and writes them: in the database's
own code, beside which this process's Python goes on. A statement a row, or a parameter a value,
would have that wait for each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias, TypeVar

from sqlalchemy import Column, text
from sqlalchemy.ext.asyncio import AsyncSession

from heliograph.catalogue.engine import Database
from heliograph.catalogue.tables import UtcDateTime

#: The keys of one row, and what is to be added to its sums; those left out at the end are 0. Times
#: are as ``times_in`` has them. The same keys may come several times.
Counted: TypeAlias = tuple[str | float, ...]

#: Items that are worked on while nothing else runs: a millisecond.
TURN = 500

_Item = TypeVar("_Item")
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


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
        source, value = _reading(database)
        values = [value(at, columns[name]) for at, name in enumerate((*keys, *sums))]
        totals = [f"coalesce(sum({value}), 0)" for value in values[len(keys) :]]
        # In one order everywhere: two nodes that write at a time do not wait for each other.
        order = ", ".join(str(at + 1) for at in range(len(keys)))
        name = table.__tablename__
        self._statement = text(
            f"INSERT INTO {name} ({', '.join((*keys, *sums))}) "
            f"SELECT {', '.join((*values[: len(keys)], *totals))} FROM {source} "
            f"GROUP BY {order} ORDER BY {order} ON CONFLICT ({', '.join(keys)}) "
            f"DO UPDATE SET {', '.join(f'{one} = {name}.{one} + excluded.{one}' for one in sums)}"
        )

    async def add(self, session: AsyncSession, rows: Iterable[Counted]) -> None:
        """Add these to the table."""
        parts = [_encode(some)[1:-1] async for some in in_turns(rows)]
        if parts:
            await session.execute(self._statement, {"rows": f"[{','.join(parts)}]"})


def times_in(database: Database) -> Callable[[datetime], str]:
    """How times stand in rows: as SQLite keeps them, or as a server reads them."""
    if not database.is_sqlite:
        return lru_cache(datetime.isoformat)
    processor = (
        UtcDateTime().dialect_impl(database.engine.dialect).bind_processor(database.engine.dialect)
    )
    assert processor is not None
    return lru_cache(processor)


def _reading(database: Database) -> tuple[str, Callable[[int, Column[Any]], str]]:
    """Where a statement has the rows of its parameter ``rows`` from, and how it has one's value of
    a column. SQLite's have the type they were written with, and get that of the column."""
    if database.is_sqlite:
        return "json_each(:rows) AS one", lambda at, _: f"json_extract(one.value, '$[{at}]')"
    dialect = database.engine.dialect
    return (
        "json_array_elements(CAST(:rows AS json)) AS one(value)",
        lambda at, column: f"CAST(one.value ->> {at} AS {column.type.compile(dialect)})",
    )
