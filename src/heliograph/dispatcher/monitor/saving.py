"""Saves what a monitor finds, in batches; a database that is away keeps nobody waiting."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

import structlog

from heliograph.catalogue.contents.values import Condition, ProbeKind, ServerState
from heliograph.dispatcher.monitor.history import History, Row

log = structlog.get_logger(__name__)

#: Seconds after which states are saved though no condition changed: a quarter of what makes one
#: old.
SAVE_ALL = 15.0
#: Seconds that the database has to take what is saved.
TIMEOUT = 10.0

#: ``ContentStore.save_states``.
Save: TypeAlias = Callable[[Sequence[ServerState], Sequence[Row]], Awaitable[object]]


class Saver:
    """Of one monitor; called by one task."""

    def __init__(self, save: Save) -> None:
        self._save = save
        self._counters: Counter[str] = Counter(saved=0, save_failures=0)
        self._history = History()
        self._saved: dict[int, tuple[Condition, datetime]] = {}
        self._saved_all = float("-inf")
        self._away = False

    def add(self, server: int, kind: ProbeKind, ms: float | None) -> None:
        """A measurement to be saved."""
        self._history.add(server, kind, ms)

    def forget(self) -> None:
        """Somebody else saves."""
        self._history.clear()
        self._saved.clear()

    def counts(self) -> Mapping[str, int]:
        """Since the start."""
        return {**self._counters, "rows_lost": self._history.lost}

    async def save(
        self, states: Mapping[int, ServerState], timeout: float = TIMEOUT, *, whole: bool = False
    ) -> None:
        """Save measurements, and the states that are others, or all where that is long ago or
        ``whole``. What cannot be saved waits for the next time."""
        now = time.monotonic()
        whole = whole or now - self._saved_all >= SAVE_ALL
        known = {} if whole else self._saved
        fresh = [
            one for one in states.values() if known.get(one.server) != (one.condition, one.since)
        ]
        rows = self._history.take(time.time())
        if not fresh and not rows:
            return
        done = False
        try:
            async with asyncio.timeout(timeout):
                await self._save(fresh, rows)
            done = True
        except Exception as error:  # whatever the database has: measuring goes on
            if not self._away:
                log.warning("states not saved", error=str(error)[:300] or type(error).__name__)
        finally:
            self._away = not done
            if not done:
                self._counters["save_failures"] += 1
                self._history.give_back([row for row in rows if row[0] in states])
        if done:
            self._counters["saved"] += len(fresh) + len(rows)
            self._saved_all = now if whole else self._saved_all
            told = self._saved | {one.server: (one.condition, one.since) for one in fresh}
            self._saved = {id: value for id, value in told.items() if id in states}
