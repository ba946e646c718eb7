"""Single statements on SQLite, each a transaction of its own, in one step of one thread.

A session's transaction is a dozen orders to a thread and back, each of which wakes the event loop:
a server with nothing to do would spend most of its time on looking whether there is anything new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sqlalchemy import URL, Engine, Executable, Row, create_engine, event
from sqlalchemy.pool import StaticPool

Answer = tuple[Sequence[Row[Any]], int]
"""Rows, and how many were changed."""


class Single:
    """Of one file; its connection is made with the first statement."""

    def __init__(self, url: URL, prepare: Callable[[Any, object], None]) -> None:
        """``prepare`` sets up the connection."""
        self._engine: Engine = create_engine(
            url.set(drivername="sqlite+pysqlite"),
            poolclass=StaticPool,  # one connection, made and used by the one thread
            isolation_level="AUTOCOMMIT",
        )
        event.listen(self._engine, "connect", prepare)
        self._thread: ThreadPoolExecutor | None = None

    async def run(self, statement: Executable) -> Answer:
        """Carry out one statement; errors are SQLAlchemy's."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._carry_out, statement
        )

    def _carry_out(self, statement: Executable) -> Answer:
        with self._engine.connect() as connection:
            result = connection.execute(statement)
            return (result.all(), 0) if result.returns_rows else ((), result.rowcount)

    async def close(self) -> None:
        """Close the connection; a later statement makes another."""
        thread, self._thread = self._thread, None
        if thread is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(thread, self._engine.dispose)
            thread.shutdown(wait=False)
