"""Which manager is active: the one that has the lease, and only as long as it knows that.

The database says who has the lease, by its own clock. A holder counts its time from *before* it
asked, by a clock of its own that does not jump, and stops a moment (``LeaseTimes.safety``) before
that time is over: whatever became of its questions, of the network or of the process, it stops
before anybody else can begin. Each new holder has a higher epoch, and units refuse orders of a
lower one, so that even a holder whose clock runs wrong does no harm.

``Leadership`` is the rules, without clock, input or output; ``Leader`` drives it on the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

import structlog

from heliograph.catalogue.leases import Lease, Leases
from heliograph.model.errors import MalformedError

log = structlog.get_logger(__name__)

#: The lease that makes a manager active.
LEASE = "manager"
#: Questions to the database that have not ended; more are not begun, as one that answers nobody
#: would be left with all of them.
MAX_ASKED = 3
#: Seconds between two looks while so many questions have no answer.
LOOK = 0.05


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """In seconds."""

    ttl: float = 2.0
    """For which the lease is good after each renewal."""
    renew: float = 0.5
    """Between two renewals, and between two attempts of a standby."""
    safety: float = 0.4
    """So much sooner than the lease's end its holder stops: orders on their way, clocks that go at
    different rates."""
    timeout: float = 1.0
    """For one answer of the database."""
    rest: float = 2.0
    """For which somebody who stepped down by himself lets others try."""

    def __post_init__(self) -> None:
        if not 0 < self.renew < self.ttl - self.safety < self.ttl or self.timeout <= 0:
            raise MalformedError("lease times", f"{self}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A question to the store of leases."""

    asked_at: float
    renew: Lease | None
    """The lease to renew; None: try to take it."""
    term: int
    """Of the asker; an answer to a question of an earlier one is worth nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """This manager is active from now on, or no more."""

    lease: Lease | None
    """The one it has; None: it is standby."""
    reason: str


class Leadership:
    """The rules. Times are of one clock that does not jump."""

    def __init__(self, times: LeaseTimes | None = None) -> None:
        self.times = times or LeaseTimes()
        self._lease: Lease | None = None
        self._until = 0.0
        """When we stop unless the lease is renewed."""
        self._next = 0.0
        """When to ask next."""
        self._term = 0
        self._told: Lease | None = None
        """What ``look`` has said last."""
        self._reason = ""

    def lease(self, now: float) -> Lease | None:
        """The lease that makes us active; None: we are not."""
        return self._lease if self._lease is not None and now < self._until else None

    def wakes_at(self) -> float:
        """When something is to be done next unless something happens."""
        return self._next if self._lease is None else min(self._next, self._until)

    def due(self, now: float) -> bool:
        """Whether it is time to ask."""
        return now >= self._next

    def ask(self, now: float) -> Attempt:
        """Begin a question; the store is to be asked after this. One without an answer is asked
        again, as nobody knows whether it was done, and twice does no harm."""
        self._next = now + self.times.renew
        return Attempt(now, self.lease(now), self._term)

    def answered(self, attempt: Attempt, lease: Lease | None, now: float) -> None:
        """The store's answer, however late: the lease counts from when it was asked for."""
        held = self._lease
        if attempt.term != self._term:
            return
        if lease is None:
            if held is not None and attempt.renew is not None:
                self._drop("somebody else has the lease")
            return
        if held is not None and lease.epoch < held.epoch:
            return
        until = attempt.asked_at + lease.ttl - self.times.safety
        if held is not None and held.epoch == lease.epoch:
            until = max(until, self._until)
        if now < until:
            self._lease, self._until = lease, until

    def hurry(self, now: float) -> None:
        """Ask at once: the active manager is not to be seen any more."""
        self._next = min(self._next, now)

    def step_down(self, now: float, reason: str) -> Lease | None:
        """Stop, and let others try; gives the lease that is to be given back."""
        lease = self._lease
        self._drop(reason)
        self._next = now + self.times.rest
        return lease

    def look(self, now: float) -> Change | None:
        """What has changed since the last look: a lease runs out by itself.

        To be called until it says None.
        """
        if self._lease is not None and now >= self._until:
            # One whose loop stood still learns it here, before it does anything else.
            self._drop("the lease could not be renewed in time")
            self._next = now
        told, lease = self._told, self._lease
        if told is not None and (lease is None or lease.epoch != told.epoch):
            self._told = None
            return Change(None, self._reason or "the lease was another's in between")
        if told is None and lease is not None:
            self._told = lease
            return Change(lease, "the lease is ours")
        return None

    def _drop(self, reason: str) -> None:
        self._lease = None
        self._term += 1
        self._reason = reason


class Leader:
    """Takes and keeps the lease as long as it runs, and tells what changes."""

    def __init__(
        self,
        leases: Leases,
        holder: str,
        changed: Callable[[Change], None],
        times: LeaseTimes | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """``holder``: a name that no other process ever had, not an earlier one of this node
        either. ``changed`` is called on the event loop and must not wait."""
        self.rules = Leadership(times)
        self._leases = leases
        self._holder = holder
        self._changed = changed
        self._clock = clock or uptime
        self._counters: Counter[str] = Counter(asked=0, failed=0, won=0, lost=0)
        self._wake = asyncio.Event()
        self._asked: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._troubled = False

    def start(self) -> None:
        """Begin to try."""
        self.rules.hurry(self._clock())
        self._task = asyncio.get_running_loop().create_task(self._run(), name="manager lease")

    async def close(self) -> None:
        """Stop, and give the lease back so that a standby need not wait for its end."""
        if self._task is None:
            return
        self._task.cancel()
        for one in [*self._asked]:
            one.cancel()
        await asyncio.wait({self._task, *self._asked}, timeout=self.rules.times.timeout)
        self._task = None
        lease = self.rules.step_down(self._clock(), "this manager stops")
        self._look()
        if lease is not None:
            await self._release(lease)

    @property
    def lease(self) -> Lease | None:
        """The lease while we are active; right even where nothing has run for a while."""
        return self.rules.lease(self._clock())

    def hurry(self) -> None:
        """The active manager is gone: try at once."""
        self.rules.hurry(self._clock())
        self._wake.set()

    def step_down(self, reason: str) -> None:
        """Others know better: stop, give the lease back, and let them try for a while."""
        lease = self.rules.step_down(self._clock(), reason)
        self._look()
        if lease is not None:
            self._begin(self._release(lease))

    def counters(self) -> Mapping[str, int]:
        """Since the start."""
        return dict(self._counters)

    async def _run(self) -> None:
        while True:
            self._look()
            now = self._clock()
            full = len(self._asked) >= MAX_ASKED
            if self.rules.due(now) and not full:
                self._begin(self._ask(self.rules.ask(now)))
            self._wake.clear()
            pause = max(LOOK if full else 0.0, self.rules.wakes_at() - now)
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="manager lease question")
        self._asked.add(task)
        task.add_done_callback(self._asked.discard)

    async def _ask(self, attempt: Attempt) -> None:
        times, name = self.rules.times, LEASE
        self._counters["asked"] += 1
        try:
            async with asyncio.timeout(times.timeout):
                if attempt.renew is not None:
                    lease = await self._leases.renew(attempt.renew)
                else:
                    lease = await self._leases.acquire(name, self._holder, times.ttl)
        except Exception as error:  # of whatever kind: without an answer there is no lease
            self._counters["failed"] += 1
            if not self._troubled:
                self._troubled = True
                log.warning("no answer about the manager's lease", error=str(error)[:200])
            return
        self._troubled = False
        self.rules.answered(attempt, lease, self._clock())
        self._look()
        self._wake.set()

    async def _release(self, lease: Lease) -> None:
        try:
            async with asyncio.timeout(self.rules.times.timeout):
                await self._leases.release(lease)
        except Exception as error:
            log.warning("the lease was not given back", error=str(error)[:200])

    def _look(self) -> None:
        while (change := self.rules.look(self._clock())) is not None:
            self._counters["won" if change.lease else "lost"] += 1
            epoch = None if change.lease is None else change.lease.epoch
            log.info("manager is active" if epoch else "manager is standby",
                     epoch=epoch, reason=change.reason)  # fmt: skip
            self._changed(change)


def uptime() -> float:
    """Seconds by a clock that goes on while the machine sleeps, as the database's does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
