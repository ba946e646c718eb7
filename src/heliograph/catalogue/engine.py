"""The database itself: its address, its connections, its transactions.

SQLite has one writer at a time. A transaction that will write says so when it begins (``BEGIN
IMMEDIATE``): one that read first and then wants to write would be refused at once, however long
the busy time-out. Writers of this process wait for one another in a queue before they ask SQLite;
other processes are waited for by the busy time-out. Readers never wait: the journal is a
write-ahead log.

A server (PostgreSQL) may be away, or worse, be there and say nothing. Every question to it has a
time-out, each connection is asked for a sign of life before it is used, and one that was silent
takes all others of its time with it: what comes next connects anew. So a call fails within
seconds, and the first one after the server's return succeeds.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy.exc
import structlog
from sqlalchemy import URL, Connection, ExceptionContext, Executable, Row, event, make_url, text
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.pool import AsyncAdaptedQueuePool

from heliograph.catalogue.single import Single
from heliograph.model.errors import (
    AwayError,
    BusyError,
    ConflictError,
    MalformedError,
    ResourceError,
    SettingsError,
)

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

log = structlog.get_logger(__name__)

#: Milliseconds that SQLite waits for another process's transaction.
BUSY_TIMEOUT_MS = 5000
#: Connections to SQLite, each with a thread: one writes, the others read.
SQLITE_CONNECTIONS = 4
#: Connections to a server.
SERVER_CONNECTIONS = 10
#: Seconds to wait for the writers ahead, or for a free connection to SQLite.
WAIT = 10.0
#: Seconds to wait for a free connection to a server: it has others to answer, or is away.
SERVER_WAIT = 3.0
#: Seconds to connect to a server: one of the local network takes some milliseconds.
CONNECT_TIMEOUT = 2.0
#: Seconds for a connection's sign of life: less than a manager has to renew its lease, so that
#: silence costs it one attempt, and the next one connects anew.
PING_TIMEOUT = 0.5
#: Seconds for one statement; those of the catalogue take milliseconds.
COMMAND_TIMEOUT = 3.0
#: Seconds after which a server ends a transaction whose owner says nothing more: what that one has
#: locked, everybody else waits for.
ABANDONED = 5.0
#: Writers in the queue: at a few hundred writes a second it is served within ``WAIT``.
MAX_WRITERS = 2000
#: Key of SQLAlchemy's execution options by which a transaction says that it will write.
_WRITES = "heliograph_writes"

_DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg"}
#: What may stand behind a server's address, as ``psql`` has it.
_QUERY = {"host", "port", "ssl", "sslmode", "passfile", "target_session_attrs", "application_name"}

#: SQLSTATEs of a server that is well but cannot do this now: two wait for each other, or too long.
_TRY_AGAIN = {"40001", "40P01", "55P03", "57014"}
#: Beginnings of SQLSTATEs of a server that is not there now: its connection broke, it has no more
#: of them, it starts or stops.
_AWAY = ("08", "53300", "57P")
#: SQLSTATE of a server that was made a standby: the connection is good for nothing any more.
_READ_ONLY = "25006"


def unclosed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle what no owner of a task did; an event loop's exception handler.

    SQLAlchemy leaves the farewell to a server that is away to a task that nobody asks for its end:
    it has nothing to tell but that the server is away, which is known.
    """
    if "_terminate_graceful_close" in repr(context.get("future")):
        log.info("a connection to the database ended without a farewell")
    else:
        loop.default_exception_handler(context)


def _is_told(record: logging.LogRecord) -> bool:
    """Whether the pool's trouble with a connection is worth a stack trace.

    Who is cancelled within a transaction leaves a connection behind whose reset is cancelled as
    well: the pool throws it away and makes another.
    """
    return record.exc_info is None or record.exc_info[0] is not asyncio.CancelledError


logging.getLogger(f"{AsyncAdaptedQueuePool.__module__}.{AsyncAdaptedQueuePool.__name__}").addFilter(
    _is_told
)


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
        self._single = None if self.path is None else Single(self.url, _prepare)
        self._writers = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """A session that sees one state of the database and changes nothing."""
        async with self.translated(), AsyncSession(self.engine, autoflush=False) as session:
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """A session whose changes are there, and safe, when the block ends without an error.

        Where a server falls silent at the very end, they may be there in spite of the error.
        """
        async with self.translated(), self.turn():
            engine = self.engine.execution_options(**{_WRITES: True})
            async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
                yield session

    async def look(self, statement: Executable) -> Sequence[Row[Any]]:
        """Rows of a single question that is asked all the time."""
        if self._single is None:
            async with self.read() as session:
                return (await session.execute(statement)).all()
        async with self.translated():
            return (await self._single.run(statement))[0]

    async def change(self, statement: Executable) -> int:
        """Carry out a single change that is made all the time; how many rows it changed. They are
        safe as after ``write``."""
        if self._single is None:
            async with self.write() as session:
                options = {"synchronize_session": False}
                result = await session.execute(statement, execution_options=options)
                return result.rowcount  # type: ignore[attr-defined, no-any-return]
        async with self.translated(), self.turn():
            return (await self._single.run(statement))[1]

    async def close(self) -> None:
        """Close all connections; SQLite folds its write-ahead log in."""
        if self._single is not None:
            await self._single.close()
        await self.engine.dispose()

    def insert(self, table: Any) -> postgresql.Insert | sqlite.Insert:  # noqa: ANN401 - or a class
        """An insert that may say what becomes of a row that is there. Each kind of database has its
        own; PostgreSQL's loads all its drivers, which most servers do without."""
        if self.is_sqlite:
            from sqlalchemy.dialects import sqlite

            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)

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
    async def unhurried(self) -> AsyncIterator[AsyncConnection]:
        """A connection for what may take minutes, and says that it will write."""
        engine = self.engine if self.is_sqlite else self._create(patient=True)
        try:
            async with engine.execution_options(**{_WRITES: True}).connect() as connection:
                yield connection
        finally:
            if engine is not self.engine:
                await engine.dispose()

    async def alone(self, session: AsyncSession, what: str) -> None:
        """Let no other transaction past this line for ``what`` until this one has ended.

        SQLite has one writer at a time anyway.
        """
        if not self.is_sqlite:
            key = zlib.crc32(what.encode())
            await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})

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
        except sqlalchemy.exc.DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None) or ""
            if "database is locked" in str(error.orig) or state in _TRY_AGAIN:
                raise self._too_busy() from None
            if state.startswith("22") or _is_of_driver(error.orig, "DataError"):
                raise MalformedError("value", str(error.orig)) from error
            kind = AwayError if _is_away(error.orig, state) else ResourceError
            raise kind(f"database: {error.orig}", subject="database") from error
        except TimeoutError:
            raise AwayError("the database does not answer", subject="database") from None
        except (sqlalchemy.exc.InvalidRequestError, OSError) as error:
            away = not self.is_sqlite and _is_unreachable(error)
            kind = AwayError if away else ResourceError
            raise kind(f"database: {error}", subject="database") from error

    def _too_busy(self) -> BusyError:
        self.busy += 1
        return BusyError("the database is busy", subject="database", retry_after=1)

    def _create(self, *, patient: bool = False) -> AsyncEngine:
        if self.is_sqlite:
            # What lives in memory is gone with its connection, and belongs to that alone.
            size = SQLITE_CONNECTIONS if self.path is not None else 1
            engine = create_async_engine(
                self.url,
                poolclass=AsyncAdaptedQueuePool,
                pool_size=size,
                max_overflow=0,
                pool_timeout=WAIT,
                pool_recycle=-1,
            )
            event.listen(engine.sync_engine, "connect", _prepare)
            event.listen(engine.sync_engine, "begin", _begin)
            return engine
        url, arguments = _connect_arguments(self.url, patient=patient)
        try:
            engine = create_async_engine(
                url,
                connect_args=arguments,
                pool_size=SERVER_CONNECTIONS,
                max_overflow=0,
                pool_timeout=SERVER_WAIT,
            )
        except ImportError as error:
            raise SettingsError(
                f"database.url: {self.url.get_backend_name()} needs the package {error.name!r}: "
                f"install heliograph[{self.url.get_backend_name()}]"
            ) from None
        event.listen(engine.sync_engine, "checkout", _ping)
        event.listen(engine.sync_engine, "handle_error", _give_up)
        return engine


def parse_url(address: str) -> URL:
    """The address with the driver that is used; ``SettingsError`` where that is not known."""
    try:
        url = make_url(address)
    except sqlalchemy.exc.ArgumentError:
        raise SettingsError("database.url is no address of a database") from None
    kind = url.get_backend_name()
    if kind not in _DRIVERS or url.drivername not in (kind, _DRIVERS[kind]):
        raise SettingsError(
            f"database.url: {url.drivername!r} is not known; sqlite and postgresql are"
        )
    if kind != "sqlite" and (unknown := sorted(set(url.query) - _QUERY)):
        raise SettingsError(
            f"database.url: {unknown[0]!r} is not known; {', '.join(sorted(_QUERY))} are"
        )
    return url.set(drivername=_DRIVERS[kind])


def _connect_arguments(url: URL, *, patient: bool) -> tuple[URL, dict[str, Any]]:
    """The address, and what the driver is told besides."""
    query = dict(url.query)
    if "sslmode" in query:  # the name that ``psql`` has for it
        query["ssl"] = query.pop("sslmode")
    settings = {
        "application_name": str(query.pop("application_name", "heliograph")),
        "idle_in_transaction_session_timeout": f"{ABANDONED * 1000:.0f}",
    }
    arguments: dict[str, Any] = {"timeout": CONNECT_TIMEOUT, "server_settings": settings}
    if not patient:
        arguments["command_timeout"] = COMMAND_TIMEOUT
        settings["statement_timeout"] = f"{ABANDONED * 1000:.0f}"
    return url.set(query=query), arguments


def _ping(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401
    """Ask a connection for a sign of life before it is used."""
    try:
        connection.run_async(lambda driver: driver.execute("SELECT 1", timeout=PING_TIMEOUT))
    except BaseException as error:
        # Else it would be closed in order, which takes another two seconds.
        connection.driver_connection.terminate()
        if not isinstance(error, Exception):  # whoever asked does not wait any more
            raise
        raise sqlalchemy.exc.InvalidatePoolError() from error


def _give_up(context: ExceptionContext) -> None:
    """After silence, the connection and all others of its time are not used again.

    That of a task that was cancelled is closed at once: in order, it would wait for the server.
    """
    error = context.original_exception
    cancelled = not isinstance(error, Exception)
    of_standby = getattr(error, "sqlstate", None) == _READ_ONLY
    if not (cancelled or of_standby or isinstance(error, TimeoutError)):
        return
    if context.connection is not None and not context.connection.closed:
        driver = context.connection.connection.driver_connection
        if driver is not None:
            driver.terminate()
    if not cancelled:
        context.is_disconnect = True


def _is_of_driver(error: BaseException | None, name: str) -> bool:
    """Whether an error is, or comes of, one that the driver calls so: there a value is of a type,
    or a size, that the column has not."""
    while error is not None:
        if any(kind.__name__ == name for kind in type(error).__mro__):
            return True
        error = error.__cause__
    return False


def _is_away(error: BaseException | None, state: str) -> bool:
    """Whether what the server, or its driver, says may be over in a moment. A standby, or several,
    may become the server that takes changes."""
    standby = state == _READ_ONLY or _is_of_driver(error, "TargetServerAttributeNotMatched")
    return standby or state.startswith(_AWAY)


def _is_unreachable(error: BaseException) -> bool:
    """Whether a connection that failed may come about later: not where a certificate, a file's
    rights, or the server's own refusal of TLS is in the way, which the driver gives no class."""
    lasting = isinstance(error, ssl.SSLError | PermissionError) or type(error) is ConnectionError
    return isinstance(error, OSError) and not lasting


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
