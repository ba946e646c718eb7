"""What the parts of a reconciler share: how fast they may go, what they did, what stopped them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from heliograph.model.errors import HelioError
from heliograph.storage.values import BlockKey, ObjectId
from heliograph.storage.volume.pace import Bucket
from heliograph.storage.volume.progress import Event, Lost, Phase, Progress

log = structlog.get_logger(__name__)

#: Members remembered as lost; above that they are counted.
MAX_LOST = 1 << 16


@dataclass(slots=True)
class Work:
    """Of one node."""

    clock: Callable[[], float]
    """Seconds, monotonic."""
    sleep: Callable[[float], Awaitable[None]]
    bucket: Bucket
    """Bytes that moving and rebuilding may read."""
    listener: Callable[[Event], None]
    done: int = 0
    phase: Phase = Phase.IDLE
    lost: dict[ObjectId, set[BlockKey]] = field(default_factory=dict)
    """Members of this node's disks that cannot be made any more."""
    lost_before: dict[ObjectId, set[BlockKey]] = field(default_factory=dict)
    """Those that were, of objects that are to be looked through anew and were not yet."""
    lost_count: int = 0
    """In ``lost``."""
    lost_more: int = 0
    """Others, of which only this is remembered."""
    faults: int = 0
    """Things that could not be done in this pass."""
    waiting: str = ""
    bytes_all: int = 0
    bytes_done: int = 0
    members_all: int = 0
    members_done: int = 0
    began: float = 0.0
    damaged: int = 0
    mended: int = 0
    moved: int = 0
    removed: int = 0
    scrub_rounds: int = 0
    scrub_share: float = 0.0
    scrub_bytes: int = 0

    def begin(self) -> None:
        """A pass begins."""
        self.faults = 0
        self.waiting = ""
        self.bytes_all = self.bytes_done = self.members_all = self.members_done = 0
        self.began = self.clock()

    def expect(self, members: int, size: int) -> None:
        """So much more is to be brought."""
        self.members_all += members
        self.bytes_all += size

    def bring(self, size: int) -> None:
        """One member was brought, or given up."""
        self.members_done += 1
        self.bytes_done += size

    async def spend(self, size: int) -> None:
        """Wait until so many bytes may have been read."""
        pause = self.bucket.spend(size, self.clock())
        if pause:
            await self.sleep(pause)
        else:
            await asyncio.sleep(0)

    def fault(self, error: HelioError) -> None:
        """Something could not be done; it is tried again in the next pass."""
        self.wait_for(error.message)

    def wait_for(self, reason: str) -> None:
        """The pass cannot end well; the first reason is told."""
        self.faults += 1
        self.waiting = self.waiting or reason[:300]

    def is_lost(self, key: BlockKey) -> bool:
        """Whether a member is known to be lost."""
        return key in self.lost.get(key.object, ())

    def forget_lost(self) -> None:
        """Try again what was lost: there may be another disk. Until all of it was tried, it is
        told as lost."""
        for object, keys in self.lost.items():
            self.lost_before.setdefault(object, set()).update(keys)
        self.lost.clear()
        self.lost_count = self.lost_more = 0

    def missing(self, data: int) -> dict[ObjectId, int]:
        """How many blocks of each object are lost; ``data``: those of a group, without what is
        redundant."""
        found: dict[ObjectId, int] = {}
        for object in {**self.lost_before, **self.lost}:
            keys = self.lost.get(object, set()) | self.lost_before.get(object, set())
            count = sum(key.member < data for key in keys)
            if count:
                found[object] = count
        return found

    def lose(self, event: Lost) -> None:
        """A member cannot be made any more."""
        if self.is_lost(event.key):
            return
        if self.lost_count < MAX_LOST:
            self.lost.setdefault(event.key.object, set()).add(event.key)
            self.lost_count += 1
        else:
            self.lost_more += 1
        log.error(
            "block lost",
            object=event.key.object,
            group=event.key.group,
            member=event.key.member,
            disk=event.disk,
        )
        self.listener(event)

    def tell(self, event: Event) -> None:
        """Let the owner know."""
        self.listener(event)

    def progress(self, version: int) -> Progress:
        """How far it is."""
        passed = self.clock() - self.began
        left = max(0, self.bytes_all - self.bytes_done)
        seconds = None
        if not left:
            seconds = 0.0
        elif self.bytes_done and passed > 0:
            seconds = left * passed / self.bytes_done
        return Progress(
            version=version,
            done=self.done,
            phase=self.phase,
            bytes_done=self.bytes_done,
            bytes_all=self.bytes_all,
            seconds=seconds,
            members_lacking=max(0, self.members_all - self.members_done),
            lost=self.lost_count + self.lost_more,
            waiting=self.waiting,
            scrub_rounds=self.scrub_rounds,
            scrub_share=self.scrub_share,
            scrub_bytes=self.scrub_bytes,
            damaged=self.damaged,
            mended=self.mended,
            moved=self.moved,
            removed=self.removed,
        )
