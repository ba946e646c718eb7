"""Blocks of titles for all viewers of a node: from memory, or fetched once for all who wait."""

from __future__ import annotations

import asyncio
import functools
import math
from dataclasses import dataclass
from typing import Protocol

from heliograph.storage.caching import Cache
from heliograph.storage.values import ObjectId

#: Seconds by which somebody has to be in a greater hurry than a fetch under way to have one of his
#: own: disks and nodes go by deadlines, and would serve the older one too late for him.
HURRY = 0.25


class Source(Protocol):
    """Where the blocks of an object come from (``vod.manifest.BlockSource``)."""

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        """A block; ``deadline``: the loop's time by which it is wanted."""


@dataclass(slots=True, eq=False)
class _Fetch:
    task: asyncio.Task[bytes]
    deadline: float
    waiters: int = 0


class SharedBlocks:
    """A cache before sources, and what is being fetched from them."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes kept in memory."""
        self.cache = Cache(limit)
        self.shared = 0
        """Requests that were answered by a fetch under way."""
        self._fetches: dict[tuple[ObjectId, int], _Fetch] = {}

    @property
    def fetching(self) -> int:
        """Blocks under way; as many as callers wait for, at most."""
        return len(self._fetches)

    def source(self, object: ObjectId, source: Source) -> Source:
        """The same source, through memory. Any number of them for one object, or one for all."""
        return _Through(self, object, source)

    async def block(
        self, object: ObjectId, number: int, deadline: float | None, source: Source
    ) -> bytes:
        """A block from memory, from a fetch under way, or from the source; errors are its own."""
        found = self.cache.get(object, number, asyncio.get_running_loop().time())
        if found is not None:
            return found
        key, until = (object, number), math.inf if deadline is None else deadline
        fetch = self._fetches.get(key)
        if fetch is None or until < fetch.deadline - HURRY:
            task = asyncio.create_task(self._fetch(object, number, deadline, source))
            fetch = self._fetches[key] = _Fetch(task, until)
            task.add_done_callback(functools.partial(self._ended, key, fetch))
        else:
            self.shared += 1
        fetch.waiters += 1
        try:
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiters -= 1
            if not fetch.waiters and not fetch.task.done():
                fetch.task.cancel()
                self._remove(key, fetch)

    async def _fetch(
        self, object: ObjectId, number: int, deadline: float | None, source: Source
    ) -> bytes:
        payload = await source.block(number, deadline)
        self.cache.put(object, number, payload, asyncio.get_running_loop().time())
        return payload

    def _ended(self, key: tuple[ObjectId, int], fetch: _Fetch, task: asyncio.Task[bytes]) -> None:
        self._remove(key, fetch)
        if not task.cancelled():
            task.exception()  # whoever waits is told; who was cancelled meanwhile does not ask

    def _remove(self, key: tuple[ObjectId, int], fetch: _Fetch) -> None:
        if self._fetches.get(key) is fetch:
            del self._fetches[key]


class _Through:
    def __init__(self, blocks: SharedBlocks, object: ObjectId, source: Source) -> None:
        self._blocks = blocks
        self._object = object
        self._source = source

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        return await self._blocks.block(self._object, number, deadline, self._source)
