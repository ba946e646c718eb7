"""Hands what the journal holds to whoever writes it down, each record once.

A run's records are numbered. Whoever writes them down keeps, in the transaction of the counts, up
to which number of which run it has counted; what is sent again after a lost answer is known by
that. What is missing between two numbers was lost, and is counted as such there as well.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from heliograph.catalogue.contents.batches import Batch
from heliograph.dispatcher.statistics.journal import (
    FRAME_ENTRIES,
    Frame,
    Run,
    first_of,
    frames,
    parcels,
)
from heliograph.dispatcher.statistics.recorder import Recorder
from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

#: Seconds between two deliveries.
PERIOD = 2.0
#: Seconds between two attempts while nobody takes it, at most.
MAX_PERIOD = 60.0
#: Entries written down at a time: a transaction costs as much as some hundred of them, and each
#: page of a table that is written has several then. In a message one takes 400 bytes at most.
STORE_ENTRIES = 2000
#: Seconds that one delivery may take.
PATIENCE = 20.0
#: Part of the time that deliveries may take: with longer breaks more counts of the same come
#: together, and less is to be written.
DUTY = 0.05
#: Longest such break in seconds: reports are so old then.
MAX_BREAK = 120.0
#: Seconds between two looks whether so much came that the break has to end.
LOOK = 2.0
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
                await self._deliver(self._run)
                await self._finish(self._run)
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
        failed = False
        loop = asyncio.get_running_loop()
        while not self._stopping:
            began = loop.time()
            try:
                await self.deliver()
                wait = max(self._period, min((loop.time() - began) / DUTY, MAX_BREAK))
                failed = False
            except Exception as error:
                self.failures += 1
                if not failed:
                    log.warning("statistics not delivered", error=str(error) or repr(error))
                if not isinstance(error, HelioError | TimeoutError | OSError):
                    log.exception("statistics not delivered")
                wait = min(2 * wait, MAX_PERIOD) if failed else self._period
                failed = True
            try:
                self._bytes = await asyncio.to_thread(self._bound)
            except OSError as error:
                log.error("statistics cannot be bounded", error=str(error))
            over = loop.time() + wait
            while (left := over - loop.time()) > 0 and not self._stopping:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, max(LOOK, self._period))):
                        await self._wake.wait()
                if self._recorder.full and not failed:
                    break

    async def deliver(self) -> None:
        """Deliver what is there: that of earlier runs first."""
        fresh = await asyncio.to_thread(self._recorder.flush)
        while self._left:
            run = self._left[0]
            await self._deliver(run)
            await self._finish(run)
            self._left.remove(run)
        await self._deliver(self._run, fresh)

    async def _deliver(self, run: Run, fresh: Frame | None = None) -> None:
        """``fresh``: what the newest segments hold, where that is known without reading them."""
        known = self._known.pop(run.id, None)
        if known is None:
            known = await self._position(run)
        for path in await asyncio.to_thread(run.segments):
            if fresh is not None and known == fresh.first:
                known = await self._deliver_fresh(run, fresh)
                break
            some = parcels(path, known, STORE_ENTRIES)
            while (parcel := await asyncio.to_thread(next, some, None)) is not None:
                known = await self._store(run, known, *parcel)
            await asyncio.to_thread(path.unlink, missing_ok=True)
        self._known[run.id] = known

    async def _deliver_fresh(self, run: Run, fresh: Frame) -> int:
        paths = [
            path
            for path in await asyncio.to_thread(run.segments)
            if fresh.first <= first_of(path) < fresh.to
        ]
        some = await asyncio.to_thread(_parcelled, fresh)
        if len(some) > 1:  # cut on disk as they are delivered, else it is not known what is
            await asyncio.to_thread(_cut, run, paths, some)
        for frame in some:
            await self._store(run, frame.first, frame.to, frame.batch)
        for path in await asyncio.to_thread(run.segments):
            if first_of(path) < fresh.to:  # also those counted before, the answer to which was lost
                await asyncio.to_thread(path.unlink, missing_ok=True)
        return fresh.to

    async def _finish(self, run: Run) -> None:
        """Nothing comes after it: tell what was noted of plays under way, each of whose ends is
        missing, and what else is; and forget it."""
        known, made = self._known[run.id], run.made[0]
        if made > known:
            plays = await asyncio.to_thread(run.plays.left)
            # The last missing records stand for the ends of these, one for each. They are cut alike
            # each time, should an answer be lost.
            for at in range(0, max(1, len(plays)), FRAME_ENTRIES):
                some = plays[at : at + FRAME_ENTRIES]
                to = made - len(plays[at + FRAME_ENTRIES :])
                if to > known:
                    ends = min(sum(ended for _, ended in some), to - known)
                    part = Batch(plays={play.id: play for play, _ in some}, records=ends)
                    known = await self._store(run, known, to, part)
        await asyncio.to_thread(run.forget)

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


def _parcelled(fresh: Frame) -> list[Frame]:
    """As it is written down at a time."""
    whole = len(fresh.batch) <= STORE_ENTRIES
    batch = fresh.batch if whole else fresh.batch.ordered()
    return frames(fresh.first, fresh.to, batch, STORE_ENTRIES)


def _cut(run: Run, paths: Sequence[Path], some: Sequence[Frame]) -> None:
    """Have frames of the usual size on disk that end where what is written down at a time does."""
    small = [part for one in some for part in frames(one.first, one.to, one.batch)]
    run.replace(paths, small)
