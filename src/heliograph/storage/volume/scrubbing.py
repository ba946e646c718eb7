"""Checking everything on a node's disks, slowly and for ever.

A round goes over all objects of a disk from a random place on. Where it was is not kept: after a
restart the next round begins elsewhere, so that all is checked even by nodes that live shorter than
a round takes.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from heliograph.model.errors import HelioError, NotFoundError
from heliograph.storage.errors import CorruptError, DiskError
from heliograph.storage.values import BlockKey, DiskId, ObjectId
from heliograph.storage.volume.pace import Bucket
from heliograph.storage.volume.progress import Damaged
from heliograph.storage.volume.stores import LocalStore
from heliograph.storage.volume.work import Work


@dataclass(slots=True)
class Scrubber:
    """Checks the disks of one node."""

    local: LocalStore
    work: Work
    told: Callable[[DiskId, BlockKey], None]
    """Is given what was found damaged."""
    spare: Callable[[ObjectId, int], Awaitable[bool]]
    """Whether a whole head of that serial, or a newer one, is on some disk."""
    random: random.Random = field(default_factory=random.Random)

    async def round(self, rate: int) -> None:
        """Check every member and head once, ``rate`` bytes a second."""
        bucket = Bucket(rate, self.work.clock())
        disks = [*self.local.readers]
        self.random.shuffle(disks)
        for number, disk in enumerate(disks):
            try:
                await self._disk(disk, bucket, number, len(disks))
            except HelioError as error:
                self.work.fault(error)
        self.work.scrub_rounds += 1
        self.work.scrub_share = 0.0

    async def _disk(self, disk: DiskId, bucket: Bucket, number: int, disks: int) -> None:
        objects = [*await self.local.objects(disk)]
        start = self.random.randrange(len(objects)) if objects else 0
        for index, object in enumerate(objects[start:] + objects[:start]):
            self.work.scrub_share = (number + index / len(objects)) / disks
            await self._object(disk, object, bucket)
        await self._heads(disk, bucket)

    async def _object(self, disk: DiskId, object: ObjectId, bucket: Bucket) -> None:
        for key in await self.local.members(disk, object):
            try:
                size = await self.local.check(disk, key)
            except (CorruptError, DiskError) as error:
                if isinstance(error, DiskError) and error.errno != errno.EIO:
                    raise
                self.work.damaged += 1
                self.work.tell(Damaged(disk, key))
                self.told(disk, key)
            except NotFoundError:
                continue  # removed meanwhile
            else:
                self.work.scrub_bytes += size
                await self._pause(bucket, size)

    async def _heads(self, disk: DiskId, bucket: Bucket) -> None:
        """A damaged head is removed where there is another, from which it is brought again."""
        for object, serial in await self.local.heads_of(disk):
            size = await self.local.check_head(disk, object, serial)
            if size is None:
                self.work.damaged += 1
                if await self.spare(object, serial):
                    await self.local.delete_head(disk, object, serial)
            else:
                await self._pause(bucket, size)

    async def _pause(self, bucket: Bucket, size: int) -> None:
        pause = bucket.spend(size, self.work.clock())
        if pause:
            await self.work.sleep(pause)
        else:
            await asyncio.sleep(0)
