"""The popularity of titles, from what all dispatchers and units of a cluster counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from heliograph.dispatcher.statistics.popularity import Popularity

#: Seconds after which it is looked at anew: nobody decides by it more often.
FRESH = 60.0
#: Half-lives that are looked back: what is older counts less than a thousandth.
LOOK_BACK = 10


class Uses(Protocol):
    """Where counts come from; see ``catalogue.contents.reports``."""

    def uses(self, since: datetime) -> AsyncIterator[tuple[str, datetime, int]]:
        """Title, hour, how often it was wanted."""
        ...


def utc_now() -> datetime:
    return datetime.now(UTC)


class Ranks:
    """Asks for the counts when somebody wants to know, and not too often."""

    def __init__(
        self, source: Uses, half_life: float, *, now: Callable[[], datetime] = utc_now
    ) -> None:
        """``half_life`` in seconds."""
        self.half_life = half_life
        self._source = source
        self._now = now
        self._found: Popularity | None = None
        self._at = 0.0
        self._turn = asyncio.Lock()

    async def current(self) -> Popularity:
        """Of all titles, not older than a minute. Errors as of the database."""
        async with self._turn:
            now = self._now()
            if self._found is None or not 0 <= now.timestamp() - self._at < FRESH:
                found = Popularity(self.half_life)
                since = now - timedelta(seconds=min(LOOK_BACK * self.half_life, 3e8))
                async for name, hour, uses in self._source.uses(since):
                    # In the middle of its hour, as far as that is over.
                    over = max(0.0, (now - hour).total_seconds())
                    middle = hour.timestamp() + min(1800.0, over / 2)
                    found.add(name, middle, uses)
                self._found, self._at = found, now.timestamp()
            return self._found
