"""From Zenoh's threads to the event loop: a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

#: Things that wait for the loop; at a few thousand a second it is the work of seconds, and more of
#: it would be stale.
MAX_WAITING = 8192
#: Things done in one turn of the loop, which others wait for: about 5 ms.
TURN = 256

Job: TypeAlias = Callable[[], None]


class Inbox:
    """``post`` is called in any thread; jobs are done on the loop, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._jobs: deque[Job] = deque()
        self._due = False
        self._closed = False
        self.lost = 0
        """Jobs that found no room; the newest goes, as what waits is older news of the same."""

    def post(self, job: Job, *, surely: bool = False) -> bool:
        """Have a job done, unless there is no room; whether it will be. ``surely`` where its number
        is bounded by other means."""
        if self._closed:
            return False
        if len(self._jobs) >= MAX_WAITING and not surely:
            self.lost += 1
            return False
        self._jobs.append(job)
        # Two threads may both find it not due: then the loop looks once more, and finds nothing.
        if not self._due:
            self._due = True
            try:
                self._loop.call_soon_threadsafe(self._work)
            except RuntimeError:  # the loop is closed
                self._closed = True
        return not self._closed

    def close(self) -> None:
        """Do nothing more."""
        self._closed = True
        self._jobs.clear()

    def _work(self) -> None:
        # Before the jobs are looked at: whoever posts from now on has the loop look again.
        self._due = False
        for _ in range(TURN):
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            job()
        if self._jobs and not self._due:
            self._due = True
            self._loop.call_soon(self._work)
