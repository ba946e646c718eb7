"""Tasks that run until they are wanted no more, with an owner that notices their death."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

log = structlog.get_logger(__name__)

#: Seconds until a task that ended is started again: a fault that comes back must not spin.
REVIVE = 1.0


class Tasks:
    """Owned by one object, and ended with it."""

    def __init__(self) -> None:
        self.failed = 0
        """Tasks that ended though they were wanted: faults of the program."""
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    def own(
        self,
        work: Callable[[], Coroutine[None, None, None]],
        name: str,
        wanted: Callable[[], bool] = lambda: True,
    ) -> asyncio.Task[None]:
        """Begin something that never ends; where it does it is logged, and begun again if wanted.

        Whoever cancels the task wants it no more.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(work(), name=name)
        self._running.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.discard(task)
            if task.cancelled() or self._closed:
                return
            self.failed += 1
            log.error("task ended", task=name, error=repr(task.exception())[:300])
            loop.call_later(REVIVE, again)

        def again() -> None:
            if not self._closed and wanted():
                self.own(work, name, wanted)

        task.add_done_callback(ended)
        return task

    async def close(self) -> None:
        """Cancel all, and wait for their ends."""
        self._closed = True
        tasks = [*self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
