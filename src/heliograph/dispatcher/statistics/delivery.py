"""Hands what the journal holds to whoever writes it down, each record once.

A run's records are numbered. Whoever writes them down keeps, in the transaction of the counts, up
to which number of which run it has counted; what is sent again after a lost answer is known by
that. What is missing between two numbers was lost, and is counted as such there as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import structlog

from heliograph.catalogue.contents.batches import Batch
from heliograph.dispatcher.statistics.journal import Run, parcels
from heliograph.dispatcher.statistics.recorder import Recorder
from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: Seconds between two deliveries.
PERIOD = 2.0
#: Seconds between two attempts while nobody takes it, at most.
MAX_PERIOD = 60.0
#: Seconds that one delivery may take.
PATIENCE = 20.0
#: Entries of one delivery: a transaction of some ten milliseconds, a message of 400 KB.
ENTRIES = 2000
#: Bytes that the journal may have on disk.
MAX_BYTES = 64 << 20
#: Segments of this run until they are folded into one.
MAX_SEGMENTS = 20


class Sink(Protocol):
    """Whoever writes it down. Both may raise any ``HelioError``, and are asked again then."""

    async def position(self, recorder: str) -> int:
        """Up to which of its records a run is counted; 0 where it is not known."""
        ...

    async def store(self, recorder: str, first: int, to: int, batch: Batch) -> None:
        """Count the records ``first`` to ``to``, the latter not with it, once."""
        ...


class Delivery:
    """Owns the journal's files from ``start`` to ``close``."""

    def __init__(
        self,
        directory: Path,
        run: Run,
        recorder: Recorder,
        sink: Sink,
        *,
        period: float = PERIOD,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        """``max_bytes``: above, first counts of the same are made one, then the oldest go."""
        self._run = run
        self._left = [one for one in Run.left(directory) if one.id != run.id]
        self._recorder = recorder
        self._sink = sink
        self._period = period
        self._max_bytes = max_bytes
        self._known: dict[str, int] = {}
        """Up to where each run is counted."""
        self._tried = 0
        """Up to where this run may be counted: an answer may have been lost."""
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._bytes = 0
        self.delivered = 0
        """Records that were written down."""
        self.failures = 0
        """Deliveries that failed."""
        self.dropped_segments = 0
        """Segments that went because there were too many bytes."""

    def start(self) -> None:
        """Begin, with what earlier runs left."""
        self._task = asyncio.get_running_loop().create_task(self._work(), name="statistics")

    async def close(self) -> None:
        """Deliver what there is if somebody takes it at once; the rest is left to the next run."""
        self._stopping = True
        self._wake.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self._period)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await asyncio.to_thread(self._recorder.close)
        try:
            async with asyncio.timeout(self._period):
                await self._deliver(self._run, last=True)
        except (HelioError, TimeoutError, OSError) as error:
            log.warning("statistics are left to the next start", error=str(error))
        for run in [*self._left, self._run]:
            run.close()

    def counters(self) -> Mapping[str, int]:
        """Since the start, and the journal's ``bytes``."""
        return {
            **self._recorder.counters(),
            "delivered": self.delivered,
            "delivery_failures": self.failures,
            "dropped_segments": self.dropped_segments,
            "journal_bytes": self._bytes,
        }

    async def _work(self) -> None:
        wait = self._period
        while not self._stopping:
            try:
                await self.deliver()
                wait = self._period
            except Exception as error:
                self.failures += 1
                if wait == self._period:
                    log.warning("statistics not delivered", error=str(error) or repr(error))
                if not isinstance(error, HelioError | TimeoutError | OSError):
                    log.exception("statistics not delivered")
                wait = min(2 * wait, MAX_PERIOD)
            try:
                self._bytes = await asyncio.to_thread(self._bound)
            except OSError as error:
                log.error("statistics cannot be bounded", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def deliver(self) -> None:
        """Deliver what is there: that of earlier runs first."""
        while self._left:
            run = self._left[0]
            await self._deliver(run, last=True)
            self._left.remove(run)
        await asyncio.to_thread(self._recorder.flush)
        await self._deliver(self._run, last=False)

    async def _deliver(self, run: Run, *, last: bool) -> None:
        """``last``: nothing comes after it; what is missing is told, and the run is forgotten."""
        known = self._known.pop(run.id, None)
        if known is None:
            known = await self._position(run)
        for path in await asyncio.to_thread(run.segments):
            some = parcels(path, known, ENTRIES)
            while (parcel := await asyncio.to_thread(next, some, None)) is not None:
                known = await self._store(run, known, *parcel)
            await asyncio.to_thread(path.unlink, missing_ok=True)
        if last:
            if run.made[0] > known:
                await self._store(run, known, run.made[0], Batch())
            await asyncio.to_thread(run.forget)
        self._known[run.id] = known

    async def _position(self, run: Run) -> int:
        async with asyncio.timeout(PATIENCE):
            known = await self._sink.position(run.id)
        if run is self._run:
            self._tried = known
        return known

    async def _store(self, run: Run, first: int, to: int, batch: Batch) -> int:
        if run is self._run:
            self._tried = to
        async with asyncio.timeout(PATIENCE):
            await self._sink.store(run.id, first, to, batch)
        self.delivered += batch.records
        return to

    def _bound(self) -> int:
        """Keep the journal below its bound; its bytes."""
        segments = self._run.segments()
        if len(segments) > MAX_SEGMENTS:
            self._run.fold(segments, self._tried)
        runs = [*self._left, self._run]
        size = sum(run.size() for run in runs)
        for run in runs:
            for path in run.segments():
                if size <= self._max_bytes:
                    return size
                size -= path.stat().st_size
                path.unlink()
                self.dropped_segments += 1
                log.error("statistics dropped: the journal is full", segment=path.name)
        return size
