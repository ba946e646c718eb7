from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import text

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import Database
from heliograph.catalogue.passwords import Passwords

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


@pytest.fixture
async def store(url: str) -> str:
    """A new database of the kind asked for: SQLite, or PostgreSQL where
    ``HELIOGRAPH_TEST_POSTGRESQL`` names one whose tables may be dropped."""
    server = os.environ.get("HELIOGRAPH_TEST_POSTGRESQL")
    if not server:
        return url
    database = Database(server)
    async with database.write() as session:
        await session.execute(text("DROP SCHEMA public CASCADE"))
        await session.execute(text("CREATE SCHEMA public"))
    await database.close()
    return server


@pytest.fixture
async def catalogue(store: str, clock: Clock) -> AsyncIterator[Catalogue]:
    opened = await Catalogue.open(
        store, passwords=quick_passwords(), now=clock.now, ticks=clock.ticks
    )
    yield opened
    await opened.close()
