"""Makes the probes of all servers again and again, each in a schedule of its own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from heliograph.catalogue.contents.values import Probe, Server
from heliograph.dispatcher.monitor.health import ROUND, Aim, Outcome, aim_of
from heliograph.dispatcher.monitor.tasks import Tasks

log = structlog.get_logger(__name__)

#: A probe that came to its end so many seconds late says more of this process than of the server,
#: and is made again; so often in a row, as on a machine that is always late.
STALL, MAX_STALLS = 0.15, 3
#: Servers that come at once are measured at once, so many in a second.
FIRST_A_SECOND = 200


class Probing(Protocol):
    """What measures; ``probes.Prober``."""

    def close(self) -> None: ...
    def keep(self, hosts: set[str], /) -> None: ...
    def counters(self) -> Mapping[str, int]: ...
    async def probe(self, host: str, probe: Probe, timeout: float) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it goes."""

    concurrency: int
    """Probes at a time; others wait."""
    recheck: float
    """Seconds at most until one that found something else is made again."""


@dataclass(slots=True, eq=False)
class _Measuring:
    """One probe of one server, made again and again."""

    server: int
    host: str
    probe: Probe
    delay: float
    """Seconds until the first time."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Rounds:
    """Of one monitor."""

    def __init__(
        self,
        prober: Probing,
        tasks: Tasks,
        counters: Counter[str],
        pace: Pace,
        *,
        timeout: Callable[[Probe], float],
        take: Callable[[int, Probe, Outcome], bool],
        chance: Callable[[], float],
    ) -> None:
        """``timeout``: seconds that a probe may take. ``take`` is told what a server's probe found,
        and says whether to look again soon."""
        self._prober = prober
        self._tasks = tasks
        self._counters = counters
        self._pace = pace
        self._timeout = timeout
        self._take = take
        self._chance = chance
        self._measuring: dict[tuple[int, Aim], _Measuring] = {}
        self._slots = asyncio.Semaphore(pace.concurrency)

    def configure(self, pace: Pace) -> None:
        """Go on at another pace; every probe is made at once."""
        if pace.concurrency != self._pace.concurrency:
            self._slots = asyncio.Semaphore(pace.concurrency)  # who has a slot gives back the old
        self._pace = pace
        for one in self._measuring.values():
            one.changed.set()

    def close(self) -> None:
        """Measure no more, once the tasks are ended."""
        self._measuring.clear()
        self._prober.close()

    def schedule(self, servers: Iterable[Server]) -> None:
        """Have a task for each probe of these servers, and none beside."""
        wanted = {
            (server.id, aim_of(probe)): (server.host, probe)
            for server in servers
            for probe in server.probes
        }
        for key, one in [*self._measuring.items()]:
            if key not in wanted or wanted[key][0] != one.host:
                del self._measuring[key]
                if one.task is not None:
                    one.task.cancel()
            elif wanted[key][1] != one.probe:
                one.probe = wanted[key][1]
                one.changed.set()
        fresh = [key for key in wanted if key not in self._measuring]
        spread = len(fresh) / FIRST_A_SECOND if len(fresh) > FIRST_A_SECOND // 4 else 0.0
        for key in fresh:
            host, probe = wanted[key]
            one = _Measuring(key[0], host, probe, self._chance() * spread)
            self._measuring[key] = one
            self._begin(one)

    def _begin(self, one: _Measuring) -> None:
        one.task = self._tasks.own(
            lambda: self._measure_forever(one),
            f"probe {one.probe.kind} of server {one.server}",
            lambda: self._measuring.get((one.server, aim_of(one.probe))) is one,
        )

    async def _measure_forever(self, one: _Measuring) -> None:
        one.task = asyncio.current_task()  # another than before, where it was started again
        await asyncio.sleep(one.delay)
        phase = 0.5 + self._chance() / 2  # so that those that came together part
        stalls = 0
        while True:
            outcome, began, late = await self._measure(one)
            if late and outcome.silent and stalls < MAX_STALLS:
                stalls += 1
                self._counters["stalled"] += 1
                continue
            stalls = 0
            hurry = self._take(one.server, one.probe, outcome)
            wait = one.probe.interval * phase
            if hurry:
                wait = min(wait, ROUND * one.probe.interval, self._pace.recheck)
            else:
                phase = 1.0
            await self._pause(one, began + wait)

    async def _measure(self, one: _Measuring) -> tuple[Outcome, float, bool]:
        """What was found, when it began, and whether it ended later than it should."""
        slots = self._slots
        self._counters["waited"] += slots.locked()
        async with slots:
            began = time.monotonic()
            timeout = self._timeout(one.probe)
            try:
                outcome = await self._prober.probe(one.host, one.probe, timeout)
            except Exception:
                # The probe is at fault, not the server; but who cannot be measured is not known.
                log.exception("probe failed unexpectedly", server=one.server, kind=one.probe.kind)
                outcome = Outcome(None, reason="the probe failed: see the log", silent=True)
            return outcome, began, time.monotonic() - began > timeout + STALL

    async def _pause(self, one: _Measuring, until: float) -> None:
        """Wait, or until the probe is made otherwise: then it is made at once."""
        one.changed.clear()
        wait = until - time.monotonic()
        if wait <= 0:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await one.changed.wait()
