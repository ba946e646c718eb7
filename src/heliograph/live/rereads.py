"""Channels of a database that several nodes share, read anew when others changed them there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: Seconds in which changes are gathered, to be read at once.
GATHER = 0.05
#: Seconds between attempts while the database cannot be read, doubled each time.
RETRY, MOST_RETRY = 1.0, 30.0


class Rereads:
    """Of one node."""

    def __init__(self, read: Callable[[Collection[str]], Awaitable[None]]) -> None:
        """``read``: brings channels to what stands in the database."""
        self._read = read
        self._stale: set[str] = set()
        self._reading: asyncio.Task[None] | None = None

    def note(self, name: str) -> None:
        """Another node changed a channel."""
        self._stale.add(name)
        if self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(
                self._read_stale(), name="channels of the shared database"
            )

    async def close(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read_stale(self) -> None:
        pause = RETRY
        try:
            while self._stale:
                await asyncio.sleep(GATHER)
                names, self._stale = self._stale, set()
                try:
                    await self._read(names)
                    pause = RETRY
                except HelioError as error:
                    self._stale |= names
                    log.warning("channels not read again", error=error.message)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, MOST_RETRY)
        finally:
            self._reading = None
