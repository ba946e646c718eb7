"""One node's blocks of a title on their way to its sender: those of its share, in any order.

The plane puts blocks where they belong, so that reads need not wait for each other, and blocks
that another node leaves behind may come late. What cannot be read is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from heliograph.model.errors import MalformedError
from heliograph.plane import Senders, SenderStats
from heliograph.vod.block_reader import MARGIN, PATIENCE, BlockReader
from heliograph.vod.feeding import LOOK, MAX_QUEUED, MOST_SLEEP, OPEN, READS
from heliograph.vod.manifest import BlockSource, Manifest


class ShareFeeder:
    """Feeds one sender of the plane from ``begin`` on until ``stop``."""

    def __init__(
        self,
        manifest: Manifest,
        source: BlockSource,
        plane: Senders,
        sender: int,
        log: Any,  # noqa: ANN401 - structlog's loggers have no common type
        *,
        failed: Callable[[str], None],
        ahead_us: int = 0,
    ) -> None:
        """``failed``: told why nothing more can be fed. ``ahead_us``: by how much packets go before
        they are due, at most."""
        self._manifest = manifest
        self._reader = BlockReader(source)
        self.counters = self._reader.counters
        self.window = self._reader.window
        self._plane = plane
        self._sender = sender
        self._log = log
        self._failed = failed
        self._ahead_us = ahead_us
        self._has: Callable[[int], bool] = lambda block: False
        self._task: asyncio.Task[None] | None = None
        self._reads: dict[int, asyncio.Task[None]] = {}
        self._begun: set[int] = set()
        self._next = 0
        self._end_us = OPEN
        self._media_us = self._at_us = 0
        self._speed = 0.0
        self._wake = asyncio.Event()

    # orders

    def begin(self, block: int, end_us: int, has: Callable[[int], bool]) -> None:
        """Feed from a block on what is due before ``end_us`` and in the share that ``has`` tells.
        The sender was flushed."""
        self.stop()
        self._begun.clear()
        self._next, self._end_us, self._has = block, end_us, has
        self._task = asyncio.create_task(self._run(), name=f"share of {self._manifest.name}")

    def share(self, has: Callable[[int], bool], from_us: int) -> None:
        """The share is larger: what it gained may begin at a media time that has passed."""
        self._has = has
        first = self._manifest.block_at(from_us)
        self._next = min(self._next, first)
        self.wake()

    def time(self, media_us: int, at_us: int, speed: float) -> None:
        """That media time is due at an instant of the plane's clock; speed 0: it stands."""
        self._media_us, self._at_us, self._speed = media_us, at_us, speed
        self.wake()

    def stop(self) -> None:
        """Read no more."""
        for task in (self._task, *self._reads.values()):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._task = None
        self._reads.clear()

    def wake(self) -> None:
        """Something is new."""
        self._wake.set()

    @property
    def position_us(self) -> int:
        """Media time by the clock."""
        passed = max(self._plane.monotonic_us() - self._at_us, 0)
        return self._media_us + int(passed * self._speed)

    # reading

    async def _run(self) -> None:
        try:
            while not self._over():
                await self._sleep(self._begin_reads())
            self._plane.sender_end(self._sender)
        except KeyError:
            self._failed("closed")  # the sender is gone
        except Exception:  # this session is at fault, and no other
            self._log.exception("share of a title failed")
            self._failed("failed")

    def _over(self) -> bool:
        """Whether all was fed and the end has come: before that a node may die whose blocks would
        be ours."""
        end = min(self._end_us, self._manifest.duration_us)
        return not self._reads and self._upcoming() is None and self.position_us >= end

    def _upcoming(self) -> int | None:
        """The next block of the share that was not begun."""
        blocks = self._manifest.blocks
        while self._next < len(blocks) and blocks[self._next].due_us < self._end_us:
            if self._next not in self._begun and self._has(self._next):
                return self._next
            if self._next not in self._begun and blocks[self._next].due_us > self._horizon():
                return self._next  # whoever has it; a search ends where reading does
            self._next += 1
        return None

    def _horizon(self) -> int:
        ahead = self.window.us * max(self._speed, 1.0) + self._ahead_us
        return self.position_us + round(ahead)

    def _begin_reads(self) -> float:
        """Ask for the blocks that are in the window; seconds until the next one will be."""
        loop = asyncio.get_running_loop()
        room = MAX_QUEUED - self._queued()
        room -= sum(self._manifest.blocks[number].bytes for number in self._reads)
        while len(self._reads) < READS and (number := self._upcoming()) is not None:
            block = self._manifest.blocks[number]
            ahead = block.due_us - self._horizon()
            if ahead > 0:
                pause = ahead / 1e6 / self._speed if self._speed else MOST_SLEEP
                return min(pause + 0.001, MOST_SLEEP)
            if room < block.bytes:
                return LOOK
            room -= block.bytes
            self._begun.add(number)
            left = (block.due_us - self.position_us) / 1e6 / (self._speed or 1.0) - MARGIN
            read = self._read(number, loop.time() + max(left, 0.0))
            self._reads[number] = asyncio.create_task(read, name=f"block of {self._manifest.name}")
        return LOOK

    async def _read(self, number: int, deadline: float) -> None:
        data, error = await self._reader.read(number, deadline, PATIENCE)
        try:
            if data is not None:
                self._plane.sender_feed(self._sender, data)
                self.counters.blocks += 1
                self.counters.bytes += len(data)
        except KeyError:
            return  # the sender's end is told elsewhere
        except (ValueError, MalformedError, BlockingIOError) as fault:
            self._log.error("title block is not taken", block=number, reason=str(fault))
            self.counters.errors += 1
            data = None
        finally:
            if self._reads.get(number) is asyncio.current_task():
                del self._reads[number]
                self.wake()
        if data is None:
            self.counters.lost += 1
            reason = "" if error is None else error.message
            self._log.warning("title block left out", block=number, reason=reason)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _queued(self) -> int:
        return SenderStats.of(self._plane.sender_stats(self._sender)).queued_bytes
