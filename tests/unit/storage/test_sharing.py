"""Blocks fetched once for all who want them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from heliograph.model.errors import GoneError
from heliograph.storage.sharing import SharedBlocks
from heliograph.storage.values import ObjectId

FILM = ObjectId("f1" * 16)


class Slow:
    """A source that answers when it is let go."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, float | None]] = []
        self.ended = 0
        self.gate = asyncio.Event()

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        self.asked.append((number, deadline))
        try:
            await self.gate.wait()
        finally:
            self.ended += 1
        if number == 404:
            raise GoneError("lost")
        return b"%d" % number


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0)


async def test_a_block_is_fetched_once_and_then_comes_from_memory() -> None:
    blocks, slow = SharedBlocks(1000), Slow()
    first, second = blocks.source(FILM, slow), blocks.source(FILM, slow)
    tasks = [asyncio.create_task(one.block(7)) for one in (first, second, first)]
    await until(lambda: blocks.shared == 2)
    slow.gate.set()
    assert await asyncio.gather(*tasks) == [b"7"] * 3
    assert await second.block(7) == b"7"
    assert slow.asked == [(7, None)]
    assert blocks.fetching == 0
    assert blocks.cache.counters.hits == 1


async def test_who_is_cancelled_takes_nothing_from_the_others() -> None:
    blocks, slow = SharedBlocks(0), Slow()
    source = blocks.source(FILM, slow)
    tasks = [asyncio.create_task(source.block(7)) for _ in range(2)]
    await until(lambda: blocks.shared == 1)
    tasks[0].cancel()
    await asyncio.wait(tasks[:1])
    slow.gate.set()
    assert await tasks[1] == b"7"


async def test_what_nobody_waits_for_any_more_is_given_up() -> None:
    blocks, slow = SharedBlocks(0), Slow()
    source = blocks.source(FILM, slow)
    tasks = [asyncio.create_task(source.block(7)) for _ in range(2)]
    await until(lambda: blocks.shared == 1)
    for task in tasks:
        task.cancel()
    await until(lambda: slow.ended == 1)
    assert blocks.fetching == 0
    slow.gate.set()
    assert await source.block(7) == b"7"


async def test_errors_reach_everybody_and_are_not_kept() -> None:
    blocks, slow = SharedBlocks(1000), Slow()
    source = blocks.source(FILM, slow)
    slow.gate.set()
    tasks = [asyncio.create_task(source.block(404)) for _ in range(3)]
    for error in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(error, GoneError)
    with pytest.raises(GoneError):
        await source.block(404)
    assert len(slow.asked) == 2


async def test_who_is_in_a_hurry_does_not_wait_for_who_is_not() -> None:
    blocks, slow = SharedBlocks(1000), Slow()
    source = blocks.source(FILM, slow)
    tasks = [asyncio.create_task(source.block(7, deadline)) for deadline in (None, 9.0, 8.9, 20.0)]
    await until(lambda: len(slow.asked) == 2 and blocks.shared == 2)
    assert [deadline for _, deadline in slow.asked] == [None, 9.0]
    slow.gate.set()
    assert await asyncio.gather(*tasks) == [b"7"] * 4
    assert blocks.fetching == 0
