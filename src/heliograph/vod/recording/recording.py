"""The recording of one channel: from a tap's items to a title that grows."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from heliograph.model.errors import (
    BusyError,
    MalformedError,
    ResourceError,
    UnreachableError,
    WrongStateError,
)
from heliograph.model.media import Track
from heliograph.plane.types import TapItem
from heliograph.vod.blocks import WrittenBlock
from heliograph.vod.encoding import encode_manifest
from heliograph.vod.manifest import Manifest
from heliograph.vod.recording.journal import Journal, encode_unit
from heliograph.vod.recording.recorder import Recorder, State
from heliograph.vod.recording.timeline import Timeline
from heliograph.vod.recording.values import (
    AGAIN,
    AGAIN_MOST,
    FLUSH,
    GROW,
    GROW_SHARE,
    MAX_PENDING,
    PATIENCE,
    SYNC,
    GrowingSink,
    RecordedUnit,
    RecordOptions,
    Status,
)

log = structlog.get_logger(__name__)


class Recording:
    """Takes what a tap with ``frames=True`` gives and makes a title of it.

    ``push`` never waits. ``run`` is the task that writes; it ends when ``stop`` was called, at the
    limits of the options, or when the volume does not keep up (``ResourceError``; the journal stays
    and can be replayed). Cancelled, it leaves the journal too.
    """

    def __init__(
        self,
        recorder: Recorder,
        timeline: Timeline | None,
        journal: Journal,
        sink: GrowingSink,
        *,
        max_seconds: float = 0.0,
        max_bytes: int = 0,
    ) -> None:
        self._recorder = recorder
        self._timeline = timeline
        self._journal = journal
        self._sink = sink
        self._max_us = int(max_seconds * 1e6)
        self._max_bytes = max_bytes
        self._writes: list[bytes | State] = []  # what the journal gets next
        self._blocks: deque[WrittenBlock] = deque()
        self._pending = 0
        self._cut = False  # the next unit begins a block: what a torn journal has ends before it
        self._news = asyncio.Event()
        self._stopped = ""
        self._retries = 0
        self._grown = 0
        self._grew_at = -GROW
        self._grow_every = GROW
        self._failure: ResourceError | None = None
        self._finished = False
        self._journal_failed = False
        self._turn = asyncio.Lock()  # of those who write the journal
        self.units = 0
        """Access units taken."""
        self.empty = False
        """Whether it ended before anything came: there is no title of it, and no journal."""

    @classmethod
    async def begin(
        cls,
        options: RecordOptions,
        tracks: Sequence[Track],
        root: Path,
        sink: GrowingSink,
        *,
        created: float | None = None,
    ) -> Recording:
        """Begin to record ``tracks`` (``recordable``'s); the journal is under ``root``."""
        made = time.time() if created is None else created
        recorder = Recorder.begin(options, tracks, made)
        journal = await asyncio.to_thread(
            Journal.create, root, recorder.base, options.block, options.volume
        )
        return cls(
            recorder,
            Timeline(tracks),
            journal,
            sink,
            max_seconds=options.max_seconds,
            max_bytes=options.max_bytes,
        )

    @classmethod
    async def recover(
        cls,
        journal: Journal,
        sink: GrowingSink,
        head: Manifest | None,
        *,
        tracks: Sequence[Track] | None = None,
        away: float = 0.0,
        max_seconds: float = 0.0,
        max_bytes: int = 0,
    ) -> Recording:
        """What a killed server had recorded, out of its journal and the volume's manifest.

        With ``tracks`` (the channel's, ``recordable``) it goes on, after ``away`` seconds without
        media; without, ``run`` puts what is missing and finishes the title. Raises
        ``MalformedError`` where the journal does not fit the manifest, or the tracks the title.
        """
        replay = await asyncio.to_thread(journal.replay)
        recorder, done = await asyncio.to_thread(Recorder.again, replay, head)
        timeline = None
        if tracks is not None:
            mine = [one.track for one in recorder.base.tracks]
            if len(tracks) != len(mine) or any(
                (a.kind, a.clock_rate, a.channels) != (b.kind, b.clock_rate, b.channels)
                for a, b in zip(tracks, mine, strict=True)
            ):
                raise MalformedError("recording", "the channel has other tracks now")
            timeline = Timeline(tracks, begin_us=recorder.end_us)
            timeline.restarted(away)
        recording = cls(
            recorder, timeline, journal, sink, max_seconds=max_seconds, max_bytes=max_bytes
        )
        recording._cut = True
        recording._grown = 0 if head is None else len(head.blocks)
        recording._queue(done, bounded=False)
        if timeline is None:
            recording.stop("recovered")
        return recording

    # --- what comes ---------------------------------------------------------------------------

    @property
    def manifest(self) -> Manifest:
        """Of the blocks that are full; some may still be on their way to the volume."""
        return self._recorder.manifest(live=not self._stopped)

    def push(self, items: Iterable[TapItem], lost: int = 0) -> None:
        """Take what the tap gave, and how many items it lost since it was last asked."""
        if self._stopped or self._timeline is None:
            return
        self._timeline.lose(lost, "slow")
        for item in items:
            for unit in self._timeline.push(item):
                self._take(unit)
                if self._stopped:
                    return

    def _take(self, unit: RecordedUnit) -> None:
        recorder = self._recorder
        if recorder.full:
            self.stop("limit of a title")
            return
        if self._max_us and unit.due_us >= self._max_us:
            self.stop("limit of time")
            return
        if self._max_bytes and recorder.bytes + recorder.waiting + len(unit.data) > self._max_bytes:
            self.stop("limit of size")
            return
        done: list[WrittenBlock] = []
        if self._cut:
            self._cut = False
            if recorder.waiting:
                done += recorder.cut(unit.due_us)
            else:  # it ended with a block, which says when the next one begins
                unit = unit._replace(due_us=max(recorder.due_us, recorder.last_end_us))
        done += recorder.add(unit)
        if recorder.fresh is not None:
            self._writes.append(recorder.fresh)
        self._writes.append(encode_unit(unit))
        self.units += 1
        self._queue(done)

    def _queue(self, done: Sequence[WrittenBlock], *, bounded: bool = True) -> None:
        for block in done:
            self._blocks.append(block)
            self._pending += len(block.data)
        if bounded and self._pending > MAX_PENDING and not self._stopped:
            name = self._recorder.base.name
            self._failure = ResourceError(f"the volume does not keep up with {name}", subject=name)
            self._stopped = "volume too slow"
        if done:
            self._news.set()

    def stop(self, reason: str) -> None:
        """Record no more; ``run`` writes the rest and ends. Harmless twice."""
        if self._stopped:
            return
        if self._timeline is not None and not reason.startswith("limit"):
            for unit in self._timeline.flush():
                self._take(unit)
                if self._stopped:
                    return
        self._stopped = reason
        self._queue(self._recorder.finish())
        self._writes.append(self._recorder.state)  # where the last block ends
        self._news.set()

    @property
    def status(self) -> Status:
        """How it is."""
        timeline, recorder = self._timeline, self._recorder
        return Status(
            recorder.end_us / 1e6,
            recorder.bytes,
            recorder.number,
            self.units,
            (timeline.lost if timeline else 0) + recorder.broken,
            tuple(timeline.losses) if timeline else (),
            self._pending,
            self._journal.bytes,
            self._retries,
            self._journal_failed,
            self._stopped,
        )

    # --- what is written ----------------------------------------------------------------------

    async def run(self) -> Manifest:
        """Write until it is stopped; the finished title. ``WrongStateError``: it is ``empty``."""
        name = f"journal {self._recorder.base.name}"
        journal = asyncio.create_task(self._keep_journal(), name=name)
        try:
            while not self._stopped:
                await self._store()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(FLUSH):
                        await self._news.wait()
                self._news.clear()
            await self._store()
            if not self._recorder.number:
                self.empty = self._finished = True
                name = self._recorder.base.name
                raise WrongStateError(f"nothing came: there is no title {name}", subject=name)
            return await self._finish()
        finally:
            journal.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await journal
            # Whatever ends it: what came is in the journal, unless the title is finished.
            await asyncio.shield(asyncio.to_thread(self._let_go))

    async def discard(self) -> None:
        """Leave no journal; of one that does not run."""
        await asyncio.to_thread(self._journal.delete)

    async def _store(self) -> None:
        """Give the volume what is full."""
        while self._blocks:
            block = self._blocks[0]
            # First the journal: what is made of it again has to be the same block.
            await self._flush()
            await self._try(partial(self._sink.put, block.number, block.data))
            self._blocks.popleft()
            self._pending -= len(block.data)
        if self._failure is not None:
            raise self._failure
        loop = asyncio.get_running_loop()
        blocks = self._recorder.number
        due = loop.time() - self._grew_at >= self._grow_every
        if self._stopped or self._blocks or blocks <= self._grown or not due:
            return
        began = loop.time()
        head = await asyncio.to_thread(encode_manifest, self.manifest)
        self._grow_every = max(GROW, (loop.time() - began) / GROW_SHARE)
        await self._try(partial(self._sink.grow, head))
        self._grew_at, self._grown = loop.time(), blocks

    async def _try(self, do: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Until it works, or too much waits behind it."""
        pause = AGAIN
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    await do()
                return
            except (ResourceError, UnreachableError, BusyError, TimeoutError) as error:
                self._retries += 1
                if self._failure is not None:
                    raise self._failure from error
                name = self._recorder.base.name
                log.warning("recording waits for the volume", title=name, error=repr(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, AGAIN_MOST)

    async def _finish(self) -> Manifest:
        manifest = self._recorder.manifest(live=False)
        head = await asyncio.to_thread(encode_manifest, manifest)
        await self._try(partial(self._sink.finish, head))
        self._finished = True
        log.info(
            "recorded",
            title=manifest.name,
            seconds=manifest.duration_us / 1e6,
            blocks=len(manifest.blocks),
            reason=self._stopped,
        )
        return manifest

    # --- the journal --------------------------------------------------------------------------

    async def _keep_journal(self) -> None:
        """Write what came, several times a second, whatever the volume does meanwhile."""
        synced = time.monotonic()
        while True:
            sync = time.monotonic() - synced >= SYNC
            if sync:
                synced = time.monotonic()
            await self._flush(sync)
            await asyncio.sleep(FLUSH)

    async def _flush(self, sync: bool = False) -> None:
        """What came is in the journal; in order, whoever asks for it."""
        async with self._turn:
            if not self._writes and not sync:
                return
            writes, self._writes = self._writes, []
            work = asyncio.ensure_future(asyncio.to_thread(self._journalize, writes, sync))
            try:
                await asyncio.shield(work)
            except asyncio.CancelledError:
                await asyncio.wait([work])  # its thread goes on: in one piece, or not at all
                raise
            except ResourceError as error:
                if not self._journal_failed:
                    log.error("recording has no journal", error=error.message)
                self._journal_failed = True

    def _journalize(self, writes: list[bytes | State], sync: bool) -> None:
        records: list[bytes] = []
        for one in writes:
            if isinstance(one, State):
                if records:
                    self._journal.append(b"".join(records))
                    records = []
                # After a failure units are missing: only what begins now is of use.
                self._journal.begin(one, anew=self._journal_failed)
                self._journal_failed = False
            elif not self._journal_failed:
                records.append(one)
        if records:
            self._journal.append(b"".join(records))
        self._journal.trim(self._grown)
        if sync and not self._journal_failed:
            self._journal.sync()

    def _let_go(self) -> None:
        if self._finished:
            self._journal.delete()
            return
        with contextlib.suppress(ResourceError):
            writes, self._writes = self._writes, []
            self._journalize(writes, True)
        self._journal.close()
