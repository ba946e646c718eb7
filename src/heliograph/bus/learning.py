"""Lists that another node has, of which it announces which one is good.

Asked for when it is another one than is known here, one at a time, until there is no other.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from heliograph.bus.bus import Bus, Registration
from heliograph.bus.presence import Event
from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: Seconds before a list is asked for again, doubled each time.
RETRY, MOST_RETRY = 0.5, 30.0
#: Seconds before the next list is asked for.
SOON = 0.1

News = TypeVar("News")


class Learning(Generic[News]):
    """Of one kind of list, at one node."""

    def __init__(
        self,
        bus: Bus,
        kind: str,
        news: Callable[[], News | None],
        take: Callable[[News], Awaitable[None]],
        what: str,
    ) -> None:
        """``kind``: under which it is announced. ``news``: where there is another list than the one
        known here; None: nowhere. ``take`` asks for that one and goes by it; it may raise any
        ``HelioError``, and is called again then. ``what``: names the list in logs."""
        self.counters: Counter[str] = Counter(lists=0, lists_failed=0, lists_unsaved=0)
        self._bus, self._kind = bus, kind
        self._news, self._take, self._what = news, take, what
        self._registration: Registration | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen."""
        self._registration = self._bus.watch(self._kind, self._heard)

    async def close(self) -> None:
        """Listen no more."""
        if self._registration is not None:
            self._registration.close()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _heard(self, _event: Event) -> None:
        if self._task is None and self._news() is not None:
            self._task = asyncio.get_running_loop().create_task(self._learn(), name=self._what)

    async def _learn(self) -> None:
        pause = RETRY
        try:
            while (news := self._news()) is not None:
                try:
                    await self._take(news)
                except HelioError as error:
                    self.counters["lists_failed"] += 1
                    log.warning("list not known", what=self._what, error=error.message)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, MOST_RETRY)
                    continue
                self.counters["lists"] += 1
                pause = RETRY
                if self._news() is not None:  # it was changed meanwhile, or said so too early
                    await asyncio.sleep(SOON)
        finally:
            self._task = None
