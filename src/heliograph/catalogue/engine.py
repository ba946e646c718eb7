"""The database itself: its address, its connections, its transactions.

SQLite has one writer at a time. A transaction that will write says so when it begins (``BEGIN
IMMEDIATE``): one that read first and then wants to write would be refused at once, however long
the busy time-out. Writers of this process wait for one another in a queue before they ask SQLite;
other processes are waited for by the busy time-out. Readers never wait: the journal is a
write-ahead log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import sqlalchemy.exc
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from heliograph.model.errors import (
    BusyError,
    ConflictError,
    MalformedError,
    ResourceError,
    SettingsError,
)

#: Milliseconds that SQLite waits for another process's transaction.
BUSY_TIMEOUT_MS = 5000
#: Connections to SQLite, each with a thread: one writes, the others read.
SQLITE_CONNECTIONS = 4
#: Connections to a server.
SERVER_CONNECTIONS = 10
#: Seconds to wait for a free connection or for the writers ahead.
WAIT = 10.0
#: Writers in the queue: at a few hundred writes a second it is served within ``WAIT``.
MAX_WRITERS = 2000
#: Key of SQLAlchemy's execution options by which a transaction says that it will write.
_WRITES = "heliograph_writes"

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}


class Database:
    """An engine, and transactions that end as a whole or not at all."""

    def __init__(self, url: str) -> None:
        """``SettingsError`` where the address is of no known kind."""
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        file = self.url.database if self.is_sqlite else None
        self.path = Path(file) if file and file != ":memory:" else None
        """SQLite's file; None where there is none."""
        self.busy = 0
        """Transactions refused because the database was busy for too long."""
        self.engine = self._create()
        self._writers = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one state of the database and changes nothing."""
        async with self.translated(), AsyncSession(self.engine, autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are there, and safe, when the block ends without an error."""
        async with self.translated(), self.turn():
            engine = self.engine.execution_options(**{_WRITES: True})
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                yield session

    async def close(self) -> None:
        """Close all connections; SQLite folds its write-ahead log in."""
        await self.engine.dispose()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """This process's turn to write; a server arranges its writers itself."""
        if not self.is_sqlite:
            yield
            return
        if self._waiting >= MAX_WRITERS:
            raise self._too_busy()
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT):
                await self._writers.acquire()
        except TimeoutError:
            raise self._too_busy() from None
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._writers.release()

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Errors of the database as ours."""
        try:
            yield
        except sqlalchemy.exc.IntegrityError as error:
            raise ConflictError(
                f"the database refuses this: {error.orig}", subject="database"
            ) from error
        except UnicodeEncodeError as error:
            raise MalformedError("text", error.reason) from None
        except sqlalchemy.exc.TimeoutError:
            raise self._too_busy() from None
        except sqlalchemy.exc.OperationalError as error:
            if "database is locked" in str(error.orig):
                raise self._too_busy() from None
            raise ResourceError(f"database: {error.orig}", subject="database") from error
        except (sqlalchemy.exc.DBAPIError, OSError) as error:
            reason = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
            raise ResourceError(f"database: {reason}", subject="database") from error

    def _too_busy(self) -> BusyError:
        self.busy += 1
        return BusyError("the database is busy", subject="database", retry_after=1)

    def _create(self) -> AsyncEngine:
        pool: dict[str, Any] = {"pool_size": SERVER_CONNECTIONS, "pool_pre_ping": True}
        if self.is_sqlite:
            # What lives in memory is gone with its connection, and belongs to that alone.
            size = SQLITE_CONNECTIONS if self.path is not None else 1
            pool = {"pool_size": size, "poolclass": AsyncAdaptedQueuePool}
        try:
            engine = create_async_engine(
                self.url, max_overflow=0, pool_timeout=WAIT, pool_recycle=-1, **pool
            )
        except ImportError as error:
            raise SettingsError(
                f"database.url: {self.url.get_backend_name()} needs the package {error.name!r}: "
                f"install heliograph[{self.url.get_backend_name()}]"
            ) from None
        if self.is_sqlite:
            event.listen(engine.sync_engine, "connect", _prepare)
            event.listen(engine.sync_engine, "begin", _begin)
        return engine


def parse_url(text: str) -> URL:
    """The address with the driver that is used; ``SettingsError`` where that is not known."""
    try:
        url = make_url(text)
    except sqlalchemy.exc.ArgumentError:
        raise SettingsError("database.url is no address of a database") from None
    kind = url.get_backend_name()
    if kind not in _DRIVERS or url.drivername not in (kind, _DRIVERS[kind]):
        raise SettingsError(
            f"database.url: {url.drivername!r} is not known; sqlite and postgresql are"
        )
    return url.set(drivername=_DRIVERS[kind])


def _prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
    """Settings of each connection to SQLite."""
    # The driver begins no transaction by itself; ``_begin`` does, with the right kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    # The order matters: changing the journal waits for others only once the time-out is set.
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA journal_mode = WAL")
    # What was acknowledged survives a power cut; there are few writes, and chat is written in
    # batches.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def writing(engine: AsyncEngine) -> AsyncEngine:
    """The same engine; its transactions say that they will write."""
    return engine.execution_options(**{_WRITES: True})
