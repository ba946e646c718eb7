"""A title's blocks on their way to one viewer's sender: read ahead, mended where some are lost.

What cannot be read is left out: pictures go on with the next key unit, sound with the next block.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias

from heliograph.model.errors import GoneError, HelioError, MalformedError
from heliograph.plane import Senders, SenderStats
from heliograph.vod.block_reader import MARGIN, PATIENCE, BlockReader, Counters
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.reading import (
    Window,
    entry,
    following,
    key_after,
    next_entry,
    without_pictures,
)

#: Bytes of blocks that wait in the plane for one viewer: 3 s at 45 Mbit/s, as a title may have.
MAX_QUEUED = 24 << 20
#: Reads of one viewer under way at once: blocks lie on different disks.
READS = 4
#: Seconds in which the first block of a PLAY has to come; players wait 5 to 10 for an answer.
START_TIMEOUT = 4.0
#: Blocks that may be passed over at a start because they are lost.
MAX_PASSED = 16
#: Seconds between two looks at what is to be read: where the plane is full, and at most.
LOOK, MOST_SLEEP = 0.25, 2.0
#: Where a title ends whose end nobody asked for: what is recorded grows.
OPEN = 1 << 62

#: Reads under way, in order: block and what came of it, or why nothing.
Reads: TypeAlias = deque[tuple[int, asyncio.Task[tuple[bytes | None, HelioError | None]]]]


class Feeder:
    """Feeds one sender of the plane. ``enter`` begins, ``start`` goes on until ``stop``."""

    def __init__(
        self,
        manifest: Manifest,
        source: BlockSource,
        plane: Senders,
        sender: int,
        picture: int | None,
        log: Any,  # noqa: ANN401 - structlog's loggers have no common type
        *,
        failed: Callable[[str], None],
        renew: Callable[[], Manifest | None] | None = None,
    ) -> None:
        """``picture``: the track whose key units decide where a viewer enters. ``failed``: told why
        nothing more can be fed. ``renew``: gives the manifest of a title that grows."""
        self.manifest = manifest
        self._reader = BlockReader(source)
        self.entered = False
        """Whether what is read next follows what the plane has."""
        self.finished = False
        """Whether the plane was told that nothing more comes."""
        self.end_us = OPEN
        """What is due from then on is not read."""
        self._plane = plane
        self._sender = sender
        self._picture = picture
        self._log = log
        self._failed = failed
        self._renew = renew
        self._task: asyncio.Task[None] | None = None
        self._entering: asyncio.Task[tuple[bytes | None, HelioError | None]] | None = None
        self._wake = asyncio.Event()
        self._next: int | None = None  # the block to be read next
        self._hole = False  # pictures are left out up to the next key unit
        self._scale = self._speed = self._pace = 1.0

    @property
    def counters(self) -> Counters:
        """What became of the blocks."""
        return self._reader.counters

    @property
    def window(self) -> Window:
        """How much is read ahead."""
        return self._reader.window

    # orders

    async def enter(self, wanted_us: int, end_us: int, scale: float, pace: float = 1.0) -> int:
        """Begin anew there: the first block is with the plane when this returns; gives the media
        time at which it begins. ``pace``: how fast blocks may be read, 1 is as they are due.

        ``ResourceError``, ``RemoteError``: nothing can be read now; ``GoneError``: nothing is left.
        """
        await self.stop()
        self._plane.sender_flush(self._sender)
        self.entered = self.finished = False
        self._refresh()
        where = entry(self.manifest, wanted_us, self._picture)
        number: int | None = where.block
        due, self._hole = where.due_us, False
        fault: HelioError = GoneError(f"nothing of title {self.manifest.name} is left there")
        until = asyncio.get_running_loop().time() + START_TIMEOUT
        for _ in range(MAX_PASSED):
            if number is None or self.manifest.blocks[number].due_us >= end_us:
                break
            read = self._reader.read(number, until - START_TIMEOUT, START_TIMEOUT)
            self._entering = asyncio.create_task(read, name=f"start of {self.manifest.name}")
            data, error = await self._entering
            if data is not None and self._feed(number, data):
                self.entered = True
                self._pace = pace
                self._next = following(self.manifest, number, scale, self._picture, pace)
                return due
            self.counters.lost += 1
            fault = error or fault
            if asyncio.get_running_loop().time() >= until:
                break
            number, due = next_entry(self.manifest, number, self._picture)
        self._log.warning("title cannot be entered", wanted_us=wanted_us, reason=fault.message)
        raise fault

    def start(self, end_us: int, scale: float, speed: float) -> None:
        """Read on and feed, for a viewer who plays like that."""
        self.end_us, self._scale, self._speed = end_us, scale, speed
        self._task = asyncio.create_task(self._run(), name=f"blocks of {self.manifest.name}")

    def rest(self) -> None:
        """Read no more for now."""
        for task in (self._task, self._entering):
            if task is not None and task is not asyncio.current_task():
                task.cancel()

    async def stop(self) -> None:
        """Read no more, and know which block comes next."""
        self.rest()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task = None

    def wake(self) -> None:
        """The plane has room, or something else is new."""
        self._wake.set()

    # reading

    async def _run(self) -> None:
        """Feed the sender until there is nothing more; what goes wrong here ends the session."""
        reads: Reads = deque()
        try:
            while True:
                pause = self._begin_reads(reads)
                if reads:
                    number, read = reads[0]
                    data, _ = await read
                    await self._room()
                    if data is None or not self._feed(number, data):
                        self._leave_out(number)
                    reads.popleft()
                elif self._done():
                    break
                else:
                    await self._sleep(pause)
            self._plane.sender_end(self._sender)
            self.finished = True
        except KeyError:
            self._failed("closed")  # the sender's last event comes, or was lost
        except Exception:  # this session is at fault, and no other
            self._log.exception("title session failed")
            self._failed("failed")
        finally:
            if reads:
                self._next = reads[0][0]
            for _, read in reads:
                read.cancel()

    def _begin_reads(self, reads: Reads) -> float:
        """Ask for the blocks that are in the window; seconds until the next one will be."""
        loop = asyncio.get_running_loop()
        stats = self._stats()
        ratio = self._scale * self._speed
        horizon = stats.position_us + round(self.window.us * ratio)
        room = MAX_QUEUED - stats.queued_bytes
        room -= sum(self.manifest.blocks[number].bytes for number, _ in reads)
        while self._next is not None and len(reads) < READS:
            block = self.manifest.blocks[self._next]
            if block.due_us >= self.end_us or room < block.bytes:
                break
            if block.due_us > horizon:
                return min((block.due_us - horizon) / 1e6 / ratio + 0.001, MOST_SLEEP)
            room -= block.bytes
            left = (block.due_us - stats.position_us) / 1e6 / ratio - MARGIN
            deadline = loop.time() + max(left, 0.0)
            read = asyncio.create_task(self._reader.read(self._next, deadline, PATIENCE))
            reads.append((self._next, read))
            self._next = following(
                self.manifest, self._next, self._scale, self._picture, self._pace
            )
        return LOOK

    def _done(self) -> bool:
        """Whether nothing more is to be read."""
        if self._next is None:
            return not self._grows()
        return self.manifest.blocks[self._next].due_us >= self.end_us

    def _grows(self) -> bool:
        """Whether a title that is being recorded has more by now, or will have."""
        before = self.manifest
        if not before.live or self.end_us <= before.duration_us or not self._refresh():
            return False
        if len(self.manifest.blocks) > len(before.blocks):
            self._next = len(before.blocks)
        return self.manifest.live or self._next is not None

    def _refresh(self) -> bool:
        """Take a title that is being recorded as it is now; whether it is there still."""
        if not self.manifest.live or self._renew is None:
            return False
        newer = self._renew()
        if newer is None:
            return False
        self.manifest = newer
        return True

    async def _room(self) -> None:
        """Wait until the plane takes a block more: a viewer by TCP may take nothing."""
        while self._stats().queued_bytes >= MAX_QUEUED:
            await self._sleep(LOOK)

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _feed(self, number: int, data: bytes) -> bool:
        """Give a block to the plane; whether it was one."""
        try:
            if self._hole and self._picture is not None:
                data = self._mended(number, data)
            if data:
                self._plane.sender_feed(self._sender, data)
        except (ValueError, MalformedError) as error:
            self._log.error("title block is no block", block=number, reason=str(error))
            self.counters.errors += 1
            return False
        self.counters.blocks += 1
        self.counters.bytes += len(data)
        return True

    def _mended(self, number: int, data: bytes) -> bytes:
        """After a gap: what can be decoded of a block."""
        assert self._picture is not None
        due, end = self.manifest.blocks[number].due_us, self.manifest.blocks[number].end_us
        key = key_after(self.manifest, number - 1, due, self._picture)
        if key is None or key.block > number:
            return without_pictures(data, self._picture, end + 1)
        self._hole = False
        return without_pictures(data, self._picture, key.due_us)

    def _leave_out(self, number: int) -> None:
        self.counters.lost += 1
        self._hole = self._scale <= 1
        self._log.warning("title block left out", block=number, lost=self.counters.lost)

    def _stats(self) -> SenderStats:
        return SenderStats.of(self._plane.sender_stats(self._sender))
