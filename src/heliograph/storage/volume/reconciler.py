"""Makes what should be on a node's disks be there, and nothing else, for ever.

A pass compares what the state of the volume says with what lies on the disks, brings what is
lacking from where it was or makes it from other members, and removes what is elsewhere. It keeps
nothing: whatever instant it is killed at, the next pass finds what is left to do.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from heliograph.model.errors import HelioError
from heliograph.storage.values import BlockKey, DiskId, ObjectId
from heliograph.storage.volume.cleaning import ORPHAN_AGE, TOMBSTONE_AGE, Cleaner
from heliograph.storage.volume.filling import Catalogue, Filler
from heliograph.storage.volume.pace import Bucket
from heliograph.storage.volume.progress import Event, Phase, Progress, Settled
from heliograph.storage.volume.scrubbing import Scrubber
from heliograph.storage.volume.volume import Volume
from heliograph.storage.volume.work import Work

log = structlog.get_logger(__name__)

#: Seconds between two passes when nothing happens: new objects are looked for.
INTERVAL = 60.0
#: Seconds until a pass is repeated that could not do everything.
AGAIN = 5.0
#: Seconds between two passes that look at every object, and not just at new ones.
THOROUGH = 3600.0
#: Members that wait to be mended. More are counted: scrubbing or the next thorough pass finds them.
MAX_MENDS = 4096
#: Seconds between two rounds of scrubbing at least, and between looks whether scrubbing is wanted.
SCRUB_PAUSE = 60.0


class Reconciler:
    """Of one node; its owner runs ``run`` and wakes it when the state has changed."""

    def __init__(
        self,
        volume: Volume,
        *,
        listener: Callable[[Event], None] | None = None,
        clock: Callable[[], float] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        orphan_age: float = ORPHAN_AGE,
        tombstone_age: float = TOMBSTONE_AGE,
    ) -> None:
        """``volume`` has disks of its own. ``listener`` is told of events, and must not block."""
        assert volume.reach.local is not None
        self._volume = volume
        self._clock = clock or asyncio.get_running_loop().time
        self._sleep = sleep
        bucket = Bucket(volume.state.limits.move, self._clock())
        self._work = Work(self._clock, sleep, bucket, listener or _ignored)
        self._filler = Filler(volume, self._work)
        self._cleaner = Cleaner(volume, self._work, self._filler, orphan_age, tombstone_age)
        self._scrubber = Scrubber(volume.reach.local, self._work, self.mend, self._spare)
        self._mends: dict[tuple[DiskId, BlockKey], None] = {}
        self.mends_dropped = 0
        """Members not taken for mending because ``MAX_MENDS`` waited."""
        self._wake = asyncio.Event()
        self._thorough = self._clock()
        self._version = 0
        volume.reach.local.told = self.mend

    @property
    def done(self) -> int:
        """Newest version of the state for which everything is where it is to be; 0: none yet."""
        return self._work.done

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._work.progress(self._volume.state.version)

    @property
    def lost(self) -> tuple[BlockKey, ...]:
        """Members that are to be on this node's disks and cannot be made any more."""
        return tuple(sorted(key for keys in self._work.lost.values() for key in keys))

    def missing(self) -> dict[ObjectId, int]:
        """How many blocks of each object are lost with this node's disks."""
        return self._work.missing(self._volume.state.scheme.data)

    async def _spare(self, object: ObjectId, serial: int) -> bool:
        found, _ = await self._volume.reach.everywhere(lambda store: store.head(object))
        return any(one is not None and one[0] >= serial for one in found)

    def wake(self) -> None:
        """Begin the next pass now: the state has changed, or an object was written."""
        self._wake.set()

    def mend(self, disk: DiskId, key: BlockKey) -> None:
        """Look after a member that was found missing or damaged."""
        if (disk, key) in self._mends or self._work.is_lost(key):
            return
        if len(self._mends) >= MAX_MENDS:
            self.mends_dropped += 1
            return
        self._mends[disk, key] = None
        self._wake.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._passes(), name="volume reconciler")
            group.create_task(self._scrubs(), name="volume scrubber")

    async def once(self) -> bool:
        """One pass; whether everything of this node's is where it is to be."""
        version = self._volume.state.version
        work = self._work
        work.begin()
        work.bucket.set_rate(self._volume.state.limits.move, self._clock())
        try:
            work.phase = Phase.LOOKING
            if self._clock() - self._thorough >= THOROUGH or version != self._version:
                self._thorough, self._version = self._clock(), version
                self._filler.forget()
                self._cleaner.forget()
                work.forget_lost()
            await self._mend_all()
            catalogue = await self._filler.catalogue()
            if not catalogue.complete:
                work.wait_for("not all disks of the volume answer")
            await self._filler.fill_heads(catalogue)
            objects = await self._filler.look(catalogue)
            work.phase = Phase.MOVING
            await self._filler.fill(objects)
            work.phase = Phase.CLEANING
            await self._finish(catalogue)
        except HelioError as error:
            work.fault(error)
        finally:
            work.phase = Phase.IDLE
        if work.faults or self._volume.state.version != version:
            return False
        work.lost_before.clear()
        if work.done != version:
            work.done = version
            work.tell(Settled(version))
        return True

    async def scrub(self, rate: int) -> None:
        """One round of checking, ``rate`` bytes a second, and mending what was found."""
        await self._scrubber.round(rate)

    async def _finish(self, catalogue: Catalogue) -> None:
        """What comes when nothing is lacking: cleaning, or seeing that disks may leave."""
        await self._cleaner.leave(catalogue)
        await self._cleaner.clean(catalogue)

    async def _mend_all(self) -> None:
        """Each that waits once: what cannot be mended now waits for the next pass."""
        for disk, key in [*self._mends]:
            if await self._filler.mend(disk, key):
                self._mends.pop((disk, key), None)

    async def _passes(self) -> None:
        while True:
            self._wake.clear()
            good = await self.once()
            if not good and self._work.waiting:
                log.info("volume not settled", waiting=self._work.waiting)
            again = self._volume.state.version != self._work.done and good
            pause = 0.0 if again else INTERVAL if good else AGAIN
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()

    async def _scrubs(self) -> None:
        while True:
            await self._sleep(SCRUB_PAUSE)
            rate = self._volume.state.limits.scrub
            if rate:
                await self._scrubber.round(rate)


def _ignored(event: Event) -> None:
    """Nobody listens."""
