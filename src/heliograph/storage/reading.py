"""What is asked of one disk, in the order in which it is needed.

What has a deadline goes first, the earliest before the others; then what has none (imports,
exports); then background work (rebuilding, scrubbing, moving), below a rate. The order is decided
on the event loop, the disk's calls are made in a few threads.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import TypeVar, cast

import structlog

from heliograph.model.errors import BusyError, HelioError, PeerError
from heliograph.storage.disks.disk import Block, Disk
from heliograph.storage.disks.format import Buffer
from heliograph.storage.errors import DiskError, name_of
from heliograph.storage.ordering import Order, Rank, Waiting
from heliograph.storage.values import BlockKey

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Calls of one disk at a time. One would leave it idle between two; a disk that turns gains
#: little from more than a few, and one of flash memory is near its full rate with four.
THREADS = 4
#: What may wait for one disk, of each rank. With 150 streams of a block a second that ask for two
#: ahead, 300 wait when the disk stands still for two seconds.
LIMIT = 1024
#: Bytes of blocks that wait to be written to one disk, or are being written: two seconds' work of
#: a disk that turns.
WRITING = 256 << 20
#: Seconds after which a call is given up: a disk that needs longer hangs. It keeps its thread.
PATIENCE = 15.0
#: Seconds that calls under way have to end when the reader is closed.
STOP = 5.0
#: Bounds of the classes of lateness, seconds; the last class has none.
LATENESS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0)


@dataclass(slots=True)
class Counters:
    """What one disk was asked since the start."""

    reads: int = 0
    """Blocks read from the disk, whole or not."""
    coalesced: int = 0
    """Reads answered by one that waited or was under way already."""
    writes: int = 0
    others: int = 0
    """Deletions, heads and the like."""
    bytes_read: int = 0
    bytes_written: int = 0
    refused: int = 0
    """``BusyError``: too much waited already."""
    abandoned: int = 0
    """Not begun because nobody waited for it any more."""
    hung: int = 0
    """Given up after ``PATIENCE``."""
    errors: Counter[str] = field(default_factory=Counter)
    """Of the disk, by kind: ``ENOSPC``, ``EIO``, …, ``CorruptError``."""
    in_time: int = 0
    """Answers before their deadline."""
    late: int = 0
    lateness: list[int] = field(default_factory=lambda: [0] * (len(LATENESS) + 1))
    """Late answers by how late: up to 1 ms, up to 5 ms and so on as in ``LATENESS``."""
    busy_s: float = 0.0
    """Seconds that calls took, the sum over all threads."""


@dataclass(slots=True, eq=False)
class _Job:
    call: Callable[[], object]
    same: Hashable | None
    """Others who want the same are answered by this one."""
    kind: str
    size: int = 0
    background: bool = False
    waiters: dict[asyncio.Future[object], float] = field(default_factory=dict)
    """Who waits, and until when."""
    entry: Waiting[_Job] | None = None
    timer: asyncio.TimerHandle | None = None
    given_up: bool = False


class DiskReader:
    """The way to one disk from the running event loop."""

    def __init__(
        self,
        disk: Disk,
        *,
        threads: int = THREADS,
        limit: int = LIMIT,
        background_bps: float | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """``background_bps``: bytes a second of background work, None: as many as there are."""
        self.disk = disk
        self.counters = Counters()
        self._patience = patience
        self._order: Order[_Job] = Order(limit, background_bps)
        self._limit = threads
        self._loop = asyncio.get_running_loop()
        self._same: dict[Hashable, _Job] = {}
        self._inbox: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running: set[_Job] = set()
        self._hung = 0
        self._behind = 0
        self._writing = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._idle = asyncio.Event()

    @property
    def background_bps(self) -> float | None:
        """Bytes a second of background work, at most; 0 stops it, None lets it have all."""
        return self._order.rate

    @background_bps.setter
    def background_bps(self, rate: float | None) -> None:
        self._order.rate = rate
        self._pump()

    @property
    def waiting(self) -> int:
        """What has not begun."""
        return len(self._order)

    @property
    def running(self) -> int:
        """Calls under way; those of a disk that hangs count."""
        return len(self._running) + self._hung

    @property
    def overdue(self) -> int:
        """Reads that were hopelessly late before they began, and let others go first."""
        return self._order.overdue

    @property
    def hanging(self) -> bool:
        """Whether the disk answers nothing at present: everything is refused at once."""
        return self._hung >= self._limit

    async def read(
        self,
        key: BlockKey,
        deadline: float | None = None,
        *,
        background: bool = False,
        fresh: bool = False,
    ) -> Block:
        """A block, checked; who asks for the same meanwhile gets the same.

        ``deadline``: the loop's time by which it is wanted. ``fresh``: from the medium itself.
        Errors are those of ``Disk.get``; ``BusyError``: too many wait.
        """
        job = _Job(functools.partial(self.disk.get, key, fresh=fresh), (key, fresh), "read")
        return cast(Block, await self._ask(job, deadline, background))

    async def write(
        self,
        key: BlockKey,
        payload: Buffer,
        lengths: tuple[int, ...] = (),
        deadline: float | None = None,
        *,
        background: bool = False,
    ) -> None:
        """Keep a block, as ``Disk.put``. One that has begun goes on when nobody waits any more."""
        call = functools.partial(self.disk.put, key, payload, lengths)
        size = memoryview(payload).nbytes
        await self._ask(_Job(call, None, "write", size), deadline, background)

    async def delete(
        self, key: BlockKey, deadline: float | None = None, *, background: bool = True
    ) -> bool:
        """Remove a block, as ``Disk.delete``."""
        call = functools.partial(self.disk.delete, key)
        return bool(await self._ask(_Job(call, None, "other"), deadline, background))

    async def call(
        self, work: Callable[[], T], deadline: float | None = None, *, background: bool = False
    ) -> T:
        """Anything else of the disk: heads, the state, a list of keys."""
        return cast(T, await self._ask(_Job(work, None, "other"), deadline, background))

    async def close(self) -> None:
        """End: what waits fails, what is under way has ``STOP`` seconds. The disk stays open."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        self._fail_waiting("the disk is being closed", errno.ESHUTDOWN)
        self._idle.clear()
        if self._running:
            try:
                async with asyncio.timeout(STOP):
                    await self._idle.wait()
            except TimeoutError:
                log.warning("disk does not answer at its closing", disk=self.disk.id)
        for _ in self._threads:
            self._inbox.put(None)

    async def _ask(self, job: _Job, deadline: float | None, background: bool) -> object:
        if self._closed or self.hanging:
            reason = "the disk is closed" if self._closed else "the disk does not answer"
            number = errno.ESHUTDOWN if self._closed else errno.ETIMEDOUT
            raise self._error(reason, number)
        until = math.inf if deadline is None else deadline
        rank = Rank.URGENT if deadline is not None else Rank.PLAIN
        if background:
            rank, until = Rank.BACKGROUND, math.inf
        job = self._enter(job, rank, until)
        answer: asyncio.Future[object] = self._loop.create_future()
        job.waiters[answer] = until
        self._pump()
        try:
            return await answer
        finally:
            del job.waiters[answer]
            if answer.done() and not answer.cancelled():
                answer.exception()  # who is cancelled in the same moment does not look at it
            if not job.waiters and job.entry is not None and self._order.drop(job.entry):
                self.counters.abandoned += 1
                self._writing -= job.size
                self._forget(job)

    def _enter(self, job: _Job, rank: Rank, until: float) -> _Job:
        """Have it wait, or find one that will do."""
        other = self._same.get(job.same) if job.same is not None else None
        if other is not None:
            self.counters.coalesced += 1
            if other.entry is not None:
                self._order.hasten(other.entry, rank, until)
            return other
        try:
            if job.size and self._writing + job.size > WRITING:
                raise BusyError(f"{WRITING} bytes wait to be written already", retry_after=1)
            job.entry = self._order.add(rank, until, job, self._loop.time())
        except BusyError as error:
            self.counters.refused += 1
            error.subject = self.disk.id
            raise
        self._writing += job.size
        if job.same is not None:
            self._same[job.same] = job
        return job

    def _pump(self) -> None:
        """Begin what can begin."""
        now = self._loop.time()
        while len(self._running) + self._hung < self._limit:
            # Half of the threads at most: a read that comes meanwhile finds one at once.
            entry = self._order.next(now, self._behind < max(1, self._limit // 2))
            if entry is None:
                break
            job = entry.work
            job.background = entry.rank is Rank.BACKGROUND
            self._behind += job.background
            self._running.add(job)
            job.timer = self._loop.call_later(self._patience, self._give_up, job)
            if len(self._threads) < len(self._running) + self._hung:
                self._start_thread()
            self._inbox.put(job)
        self._wake_later(now)

    def _wake_later(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._order.waiting(Rank.BACKGROUND) and not self._closed:
            pause = self._order.pause(now)
            if 0 < pause < math.inf:
                self._timer = self._loop.call_later(pause, self._pump)

    def _start_thread(self) -> None:
        name = f"disk {self.disk.id} {len(self._threads)}"
        # A thread in a disk that hangs for good must not keep the process from its end.
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (job := self._inbox.get()) is not None:
            result: object = None
            error: BaseException | None = None
            began = time.monotonic()
            try:
                result = job.call()
            except BaseException as caught:  # told to whoever waits
                error = caught
            seconds = time.monotonic() - began
            try:
                self._loop.call_soon_threadsafe(self._done, job, result, error, seconds)
            except RuntimeError:  # the loop has ended, and nobody waits
                return
            del job, result, error  # a block must not live until the next one is read

    def _done(self, job: _Job, result: object, error: BaseException | None, seconds: float) -> None:
        now = self._loop.time()
        if job.timer is not None:
            job.timer.cancel()
        self._behind -= job.background
        self._writing -= job.size
        if job.given_up:
            self._hung -= 1
        else:
            self._running.discard(job)
            self._forget(job)
        self._tally(job, result, error, seconds, now)
        if not job.given_up:
            self._answer(job, result, error, now)
        if not self._running:
            self._idle.set()
        self._pump()

    def _tally(
        self, job: _Job, result: object, error: BaseException | None, seconds: float, now: float
    ) -> None:
        counters = self.counters
        counters.busy_s += seconds
        size = len(result.payload) if isinstance(result, Block) else job.size
        if job.kind == "read":
            counters.reads += 1
            counters.bytes_read += size
        elif job.kind == "write":
            counters.writes += 1
            counters.bytes_written += size if error is None else 0
        else:
            counters.others += 1
        if job.background:
            self._order.spend(size, now)
        if isinstance(error, DiskError):
            counters.errors[name_of(error.errno)] += 1
        elif error is not None and not isinstance(error, PeerError):
            counters.errors[type(error).__name__] += 1

    def _answer(self, job: _Job, result: object, error: BaseException | None, now: float) -> None:
        told = False
        for waiter, until in job.waiters.items():
            if waiter.done():
                continue
            told = True
            if error is None:
                waiter.set_result(result)
            else:
                waiter.set_exception(error)
            if until < math.inf:
                self._judge(now - until)
        if not told and error is not None and not isinstance(error, HelioError):
            log.error("a call nobody waited for failed", disk=self.disk.id, exc_info=error)

    def _judge(self, late: float) -> None:
        if late <= 0:
            self.counters.in_time += 1
            return
        self.counters.late += 1
        self.counters.lateness[sum(late > bound for bound in LATENESS)] += 1

    def _give_up(self, job: _Job) -> None:
        """The disk hangs: the call may end one day, and has its thread until then."""
        job.given_up = True
        self.counters.hung += 1
        self._running.discard(job)
        self._hung += 1
        self._forget(job)
        error = self._error(f"no answer in {self._patience:g} s", errno.ETIMEDOUT)
        self._answer(job, None, error, self._loop.time())
        if self.hanging:
            self._fail_waiting("the disk does not answer", errno.ETIMEDOUT)
        if not self._running:
            self._idle.set()

    def _fail_waiting(self, reason: str, number: int) -> None:
        for entry in self._order.everything():
            self._writing -= entry.work.size
            self._forget(entry.work)
            self._answer(entry.work, None, self._error(reason, number), self._loop.time())

    def _forget(self, job: _Job) -> None:
        if job.same is not None and self._same.get(job.same) is job:
            del self._same[job.same]

    def _error(self, reason: str, number: int) -> DiskError:
        return DiskError(reason, errno=number, path=self.disk.path, subject=self.disk.id)
