from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from heliograph.catalogue.catalogue import Catalogue
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
    return f"sqlite:///{tmp_path / 'state' / 'catalogue.db'}"


@pytest.fixture
async def catalogue(url: str, clock: Clock) -> AsyncIterator[Catalogue]:
    opened = await Catalogue.open(
        url, passwords=quick_passwords(), now=clock.now, ticks=clock.ticks
    )
    yield opened
    await opened.close()
