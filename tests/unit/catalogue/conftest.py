from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from tests.interop.peers.postgresql import PostgreSQL

from heliograph.catalogue import migrate
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import Database
from heliograph.catalogue.passwords import Passwords
from heliograph.catalogue.tables import Base

GOOD = "a rather long sentence"


@dataclass
class Clock:
    """Time that moves when told."""

    at: datetime = field(default=datetime(2026, 3, 1, 12, 0, 0, 250_000, UTC))

    def now(self) -> datetime:
        return self.at

    def ticks(self) -> float:
        return self.at.timestamp()

    def move(self, **span: float) -> None:
        self.at += timedelta(**span)


def quick_passwords() -> Passwords:
    """Argon2 with the least work it does: the tests are not about its cost."""
    return Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A new SQLite database."""
    return f"sqlite:///{tmp_path / 'state' / 'catalogue.db'}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A server of the tests' own, started for the first test that wants it."""
    server = PostgreSQL()
    yield server
    server.close()


@pytest.fixture(scope="session")
def tables(postgresql: PostgreSQL) -> str:
    """The name of a database with all tables; to empty it is quicker than to make another."""
    name = postgresql.create()
    asyncio.run(_migrate(postgresql.url(name)))
    return name


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate.upgrade(database)
    await database.close()


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of SQLite's with all tables; to copy it is quicker than to make another."""
    path = tmp_path_factory.mktemp("catalogue") / "empty.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


#: Of few rows this is a tenth of the work of TRUNCATE, which makes new files for all tables.
EMPTY = "; ".join(
    [f"DELETE FROM {table.name}" for table in reversed(Base.metadata.sorted_tables)]
    + ["SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'"]
)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind: what is true of one has to be true of the other."""
    if request.param == "sqlite":
        url = str(request.getfixturevalue("url"))
        path = Path(url.removeprefix("sqlite:///"))
        path.parent.mkdir()
        shutil.copy(request.getfixturevalue("file"), path)
        return url
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name: str = request.getfixturevalue("tables")
    server.sql(EMPTY, name)
    return server.url(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of each kind that has not even tables."""
    if request.param == "sqlite":
        yield str(request.getfixturevalue("url"))
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
async def catalogue(store: str, clock: Clock) -> AsyncIterator[Catalogue]:
    opened = await Catalogue.open(
        store, passwords=quick_passwords(), now=clock.now, ticks=clock.ticks
    )
    yield opened
    await opened.close()
