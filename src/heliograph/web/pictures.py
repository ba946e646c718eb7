"""Small pictures of channels on air, made by a process of their own."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import structlog

from heliograph.live.channel import Channel
from heliograph.model.errors import BusyError
from heliograph.web.picture_worker import ANSWER, DECODERS, REQUEST

log = structlog.get_logger(__name__)

#: Seconds a picture stays good; the list of channels shows it, and nobody needs it fresher.
MAX_AGE = 5
#: Seconds for one picture, start of the process included; usually some 20 ms.
TIMEOUT = 5.0
#: Channels whose picture may wait at once. At 20 ms each the last one waits about a second.
MAX_WAITING = 64
#: Bytes of a JPEG: one of 320 pixels width has 40 kB at most, so more is no answer of ours.
MAX_JPEG = 1 << 20

_COMMAND = (sys.executable, "-m", "heliograph.web.picture_worker")


#: Codec and newest key access unit of a channel; None without one.
Source: TypeAlias = Callable[[Channel], Awaitable[tuple[str, bytes] | None]]
#: The same of something else.
Find: TypeAlias = Callable[[], Awaitable[tuple[str, bytes] | None]]


async def _own(channel: Channel) -> tuple[str, bytes] | None:
    found = channel.picture_source()
    return None if found is None else (found[0].codec.value, found[1])


@dataclass(frozen=True, slots=True)
class _Kept:
    made: float
    jpeg: bytes | None


class Pictures:
    """Makes, keeps and shares pictures. The process starts with the first one asked for."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
        command: Sequence[str] = _COMMAND,
    ) -> None:
        self.source: Source = _own
        """Where key access units come from."""
        self.made = self.failed = self.crashed = self.refused = 0
        self._clock = clock
        self._timeout = timeout
        self._command = command
        self._kept: dict[str, _Kept] = {}
        self._waiting: dict[str, asyncio.Task[bytes | None]] = {}
        self._turn = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    def counters(self) -> dict[str, int]:
        """For the metrics."""
        return {
            "made": self.made,
            "failed": self.failed,
            "crashed": self.crashed,
            "refused": self.refused,
        }

    async def get(self, channel: Channel) -> bytes | None:
        """A JPEG at most ``MAX_AGE`` old; None without one; ``BusyError`` where too many wait."""
        return await self.of(channel.name, lambda: self.source(channel))

    async def of(self, key: str, find: Find) -> bytes | None:
        """The same of anything; ``find`` gives its key unit where none is kept under ``key``."""
        now = self._clock()
        kept = self._kept.get(key)
        if kept is not None and now - kept.made < MAX_AGE:
            return kept.jpeg
        task = self._waiting.get(key)
        if task is None:
            if self._closed:
                return None
            if len(self._waiting) >= MAX_WAITING:
                self.refused += 1
                raise BusyError("too many pictures wait", subject=key, retry_after=MAX_AGE)
            self._forget(now)
            task = asyncio.create_task(self._make(key, find))
            self._waiting[key] = task
        # Who asked may go away; others wait for the same picture.
        return await asyncio.shield(task)

    def _forget(self, now: float) -> None:
        for name in [name for name, kept in self._kept.items() if now - kept.made >= MAX_AGE]:
            del self._kept[name]

    async def _make(self, key: str, find: Find) -> bytes | None:
        jpeg = None
        try:
            async with self._turn:
                source = await find()
                if source is not None and source[0] in DECODERS:
                    jpeg = await self._ask(*source)
                    if jpeg is None:
                        self.failed += 1
                    else:
                        self.made += 1
        finally:
            self._waiting.pop(key, None)
            self._kept[key] = _Kept(self._clock(), jpeg)
        return jpeg

    async def _ask(self, codec: str, data: bytes) -> bytes | None:
        try:
            async with asyncio.timeout(self._timeout):
                process = await self._started()
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(REQUEST.pack(len(codec), len(data)) + codec.encode() + data)
                await process.stdin.drain()
                (size,) = ANSWER.unpack(await process.stdout.readexactly(ANSWER.size))
                if size > MAX_JPEG:
                    raise ValueError("answer too large")
                return await process.stdout.readexactly(size) or None
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            self.crashed += 1
            log.warning("picture process failed", error=repr(error))
            await self._end()
            return None
        except asyncio.CancelledError:
            await self._end()  # an answer half read would be taken for the next one's
            raise

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()

    async def close(self) -> None:
        """End the process, and whoever waits gets nothing."""
        self._closed = True
        tasks = list(self._waiting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._end()
