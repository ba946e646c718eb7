"""Work that has to be done now and then, in a task with an owner."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: Seconds one run may take: what is bounded well needs a few, and a hung one must not stop the
#: next for ever.
PATIENCE = 60.0
#: Seconds that a run under way has to end when the server stops: half a transaction is rolled back,
#: and says so in the log.
STOP = 2.0


class Periodic:
    """Calls ``work`` every so many seconds; a run that fails is logged, and the next one comes."""

    def __init__(
        self,
        name: str,
        seconds: float,
        work: Callable[[], Awaitable[None]],
        *,
        at_once: bool = False,
    ) -> None:
        """``at_once``: whether the first run is at the start rather than ``seconds`` later."""
        self.failures = 0
        """Runs that did not end well."""
        self._name = name
        self._seconds = seconds
        self._work = work
        self._at_once = at_once
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """End; a run under way has ``STOP`` seconds to come to its end, and is cancelled then."""
        task, self._task = self._task, None
        self._over.set()
        if task is None:
            return
        await asyncio.wait([task], timeout=STOP)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _run(self) -> None:
        if not self._at_once:
            await self._pause()
        while not self._over.is_set():
            try:
                async with asyncio.timeout(PATIENCE):
                    await self._work()
            except HelioError as error:  # a database that is away, say: known, and no fault of ours
                self.failures += 1
                log.warning("periodic work failed", work=self._name, error=error.message)
            except Exception:  # whatever it was, the next run may find it mended
                self.failures += 1
                log.exception("periodic work failed", work=self._name)
            await self._pause()

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await self._over.wait()
