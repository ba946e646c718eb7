"""What HLS files of servers are: multivariant playlists or playlists of segments.

The catalogue knows a file by its address alone. Whether that names variants, which, and where their
segments end is asked for when somebody first wants the title by content steering, and kept;
decisions and redirects never wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from heliograph.catalogue.contents.scanning import Page, fetch_page
from heliograph.dispatcher.multivariant import Multivariant, parse_cuts, parse_multivariant
from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: Seconds after which a playlist is read again: titles on demand change rarely, and players that
#: have begun keep what they have.
FRESH_S = 60.0
#: Seconds until one that could not be read is tried again.
RETRY_S = 5.0
#: Seconds that a viewer waits for playlists that nobody has read before.
PATIENCE_S = 2.0
#: Playlists kept, some KB each; then the oldest are forgotten.
MAX_KEPT = 2000
#: Playlists read at a time; others wait for their turn.
AT_ONCE = 16

Fetch: TypeAlias = Callable[[str], Awaitable[Page]]
"""Gets a page; ``HelioError`` where it cannot be had."""


@dataclass(slots=True)
class _Kept:
    found: Multivariant | None
    """None: it could not be read yet."""
    until: float
    """When it is to be read again."""


class Renditions:
    """Reads playlists and keeps them; one a portal."""

    def __init__(
        self, fetch: Fetch = fetch_page, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``clock``: seconds."""
        self.counters: Counter[str] = Counter(
            # Playlists of servers read, and those that could not be.
            playlists_read=0,
            playlist_failures=0,
        )
        self._fetch = fetch
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)

    def find(self, uri: str) -> Multivariant | None:
        """What is known of an address; None: nothing."""
        kept = self._kept.get(uri)
        return None if kept is None else kept.found

    async def learn(self, uris: Iterable[str], patience: float = PATIENCE_S) -> None:
        """Read what is not known, or may be another by now. Returns when all is known that can be,
        after ``patience`` seconds at most; what is late is known later."""
        now = self._clock()
        waited = set()
        for uri in uris:
            kept = self._kept.get(uri)
            if (kept is None or kept.until <= now) and uri not in self._reading:
                self._begin(uri)
            if (kept is None or kept.found is None) and uri in self._reading:
                waited.add(self._reading[uri])
        if waited:
            await asyncio.wait(waited, timeout=patience)

    def _begin(self, uri: str) -> None:
        if len(self._reading) >= MAX_KEPT:
            return
        task = asyncio.get_running_loop().create_task(self._read(uri), name="playlist")
        self._reading[uri] = task

    async def _read(self, uri: str) -> None:
        before = self._kept.pop(uri, None)
        found = None if before is None else before.found
        if found is not None:
            self._kept[uri] = _Kept(found, self._clock() + FRESH_S)  # good until it is read
        pause = RETRY_S
        try:
            async with self._turns:
                found, pause = await self._parsed(uri), FRESH_S
            self.counters["playlists_read"] += 1
        except HelioError as error:
            self.counters["playlist_failures"] += 1
            log.info("playlist not read", uri=uri, error=error.message)
        finally:
            del self._reading[uri]
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept.pop(uri, None)
        self._kept[uri] = _Kept(found, self._clock() + pause)

    async def _parsed(self, uri: str) -> Multivariant:
        page = await self._fetch(uri)
        found = await asyncio.to_thread(parse_multivariant, page.text, page.url)
        if not found.variants:
            return found
        page = await self._fetch(found.variants[0].uri)
        return replace(found, cuts=await asyncio.to_thread(parse_cuts, page.text))

    async def close(self) -> None:
        """Read nothing more."""
        tasks = list(self._reading.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
