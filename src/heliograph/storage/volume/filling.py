"""Bringing to a node's disks what is to be on them: members of groups, and heads."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import numpy as np

from heliograph.model.errors import HelioError, NotFoundError
from heliograph.storage.errors import LostError
from heliograph.storage.values import BlockKey, DiskId, ObjectId
from heliograph.storage.volume import heads
from heliograph.storage.volume.heads import DELETED, Head, exists
from heliograph.storage.volume.planning import Codes, data_members, lacking
from heliograph.storage.volume.progress import Lost, Mended
from heliograph.storage.volume.state import DiskEntry
from heliograph.storage.volume.stores import HeadHeld
from heliograph.storage.volume.volume import Volume
from heliograph.storage.volume.work import Work

#: Members brought at once: enough to keep a network busy with blocks of 1 MiB.
FETCHES = 4
#: Objects whose number of blocks is remembered.
MAX_KNOWN = 1 << 17


@dataclass(frozen=True, slots=True)
class Known:
    """What a pass needs of a head."""

    serial: int
    blocks: int
    size: int
    growing: bool

    @property
    def mean(self) -> int:
        """Bytes of a block, about."""
        return -(-self.size // self.blocks) if self.blocks else 0


@dataclass(slots=True)
class Catalogue:
    """The objects of the volume as they were listed at the beginning of a pass."""

    serials: dict[ObjectId, int]
    """Of the newest heads, those of deleted objects and claims included."""
    copies: dict[ObjectId, dict[DiskId, int]]
    """By object: serials of the heads by disk."""
    complete: bool
    """Whether all disks were listed."""

    @classmethod
    def of(cls, found: Iterable[HeadHeld], complete: bool) -> Catalogue:
        """Sort what was listed by object."""
        made = cls({}, {}, complete)
        for one in found:
            made.copies.setdefault(one.object, {})[one.disk] = one.serial
            made.serials[one.object] = max(one.serial, made.serials.get(one.object, 0))
        return made


@dataclass(slots=True)
class Filler:
    """Fills the disks of one node."""

    volume: Volume
    work: Work
    _known: OrderedDict[ObjectId, Known] = field(default_factory=OrderedDict)
    _whole: dict[ObjectId, tuple[int, int]] = field(default_factory=dict)
    """Objects of which nothing was lacking: version and serial by which that was found."""

    async def catalogue(self) -> Catalogue:
        """The heads of all nodes that answer."""
        reach = self.volume.reach
        answers, complete = await reach.everywhere(lambda store: store.heads())
        complete = complete and all(one.complete for one in answers)
        return Catalogue.of((one for each in answers for one in each.found), complete)

    async def known(self, object: ObjectId, serial: int) -> Known | None:
        """Size of an object; None where it is deleted, or cannot be read now."""
        found = self._known.get(object)
        if found is not None and found.serial >= serial:
            return found
        try:
            head = await self.volume.head(object)
        except NotFoundError:
            return None
        except HelioError as error:
            self.work.fault(error)
            return None
        found = Known(head.serial, head.blocks, head.size, head.open)
        self._known[object] = found
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return found

    def forget(self) -> None:
        """Look at every object again in the next pass."""
        self._whole.clear()

    async def look(self, catalogue: Catalogue) -> list[ObjectId]:
        """Objects of which this node lacks something; how much is added to the work."""
        state = self.volume.state
        for gone in self._known.keys() - catalogue.serials.keys():
            del self._known[gone]
        for gone in self._whole.keys() - catalogue.serials.keys():
            del self._whole[gone]
        found = []
        for object, serial in catalogue.serials.items():
            if not exists(serial) or self._whole.get(object) == (state.version, serial):
                continue
            known = await self.known(object, serial)
            if known is None:
                continue
            faults = self.work.faults
            count = sum([len(codes) async for _, codes in self._lacks(object, known)])
            if count:
                self.work.expect(count, count * known.mean)
                found.append(object)
            elif known.serial == serial and self.work.faults == faults:
                self._whole[object] = (state.version, serial)
                self.work.lost_before.pop(object, None)
        return found

    async def fill(self, objects: list[ObjectId]) -> None:
        """Bring what is lacking of these objects."""
        for object in objects:
            known = self._known.get(object)
            if known is None:
                continue
            faults = self.work.faults
            async for entry, codes in self._lacks(object, known):
                await self._bring(entry, object, known, codes)
            if self.work.faults == faults:
                self.work.lost_before.pop(object, None)

    async def mend(self, disk: DiskId, key: BlockKey) -> bool:
        """Make one member good that was found missing or damaged; whether that is done with."""
        volume = self.volume
        local = volume.reach.local
        home = volume.reach.plan.home(key)
        if local is None or home is None or home.id != disk or self.work.is_lost(key):
            return True
        try:
            await local.check(disk, key)
            return True
        except HelioError:
            pass  # that is why we are here
        known = self._known.get(key.object)
        if known is None or known.growing:
            self._known.pop(key.object, None)
            known = await self.known(key.object, 0)
        if known is None or not self.stored(known, key):
            return True
        if not await self._bring_one(home, key, known):
            return self.work.is_lost(key)
        self.work.mended += 1
        self.work.tell(Mended(disk, key))
        return True

    async def fill_heads(self, catalogue: Catalogue) -> None:
        """Bring the heads that are to be on this node's disks."""
        local = self.volume.reach.local
        if local is None:
            return
        for object, serial in catalogue.serials.items():
            copies = catalogue.copies[object]
            for entry in self.volume.reach.plan.head_homes(object):
                if entry.id not in local.readers or copies.get(entry.id, -1) >= serial:
                    continue
                try:
                    newest, data = await self._head(object, serial)
                    await local.put_head(entry.id, object, newest, data)
                    copies[entry.id] = newest
                except HelioError as error:
                    self.work.fault(error)

    async def _head(self, object: ObjectId, serial: int) -> tuple[int, bytes]:
        if serial & DELETED:
            return serial, heads.encode(Head(serial, 0, 0, False, b""))
        head = await self.volume.newest(object)
        return head.serial, heads.encode(head)

    def _mine(self) -> list[DiskEntry]:
        """This node's disks that are to be filled."""
        local = self.volume.reach.local
        if local is None:
            return []
        mine = [one for one in self.volume.state.active if one.node == local.node]
        for one in mine:
            if one.id not in local.readers:
                self.work.wait_for(f"disk {one.id} is not there")
        return [one for one in mine if one.id in local.readers]

    async def _lacks(
        self, object: ObjectId, known: Known
    ) -> AsyncIterator[tuple[DiskEntry, Codes]]:
        """What this node's disks lack of an object."""
        local = self.volume.reach.local
        mine = self._mine()
        if local is None or not mine:
            return
        plan = self.volume.reach.plan
        disks = [one.id for one in mine]
        expected = await asyncio.to_thread(
            plan.expected, object, known.blocks, known.growing, disks
        )
        width = self.volume.state.scheme.width
        for entry in mine:
            try:
                members = await local.members(entry.id, object)
            except HelioError as error:
                self.work.fault(error)
                continue
            present = np.array([one.group * width + one.member for one in members], np.int64)
            codes = lacking(expected[entry.id], present)
            if object in self.work.lost:
                lost = [one.group * width + one.member for one in self.work.lost[object]]
                codes = lacking(codes, np.array(lost, np.int64))
            if codes.size:
                yield entry, codes

    async def _bring(self, entry: DiskEntry, object: ObjectId, known: Known, codes: Codes) -> None:
        """Bring members, some at once."""
        plan = self.volume.reach.plan
        waiting = iter(codes.tolist())

        async def bring() -> None:
            for code in waiting:
                if plan is not self.volume.reach.plan:  # what is lacking is another thing now
                    return
                key = plan.key(object, code)
                if await self._bring_one(entry, key, known):
                    self.work.moved += 1
                self.work.bring(known.mean)

        async with asyncio.TaskGroup() as group:
            for _ in range(FETCHES):
                group.create_task(bring())

    async def _bring_one(self, entry: DiskEntry, key: BlockKey, known: Known) -> bool:
        """Bring one member; whether that could be done."""
        volume = self.volume
        local = volume.reach.local
        data = data_members(volume.state.scheme, known.blocks, key.group)
        try:
            block, cost = await volume.fetcher.obtain(key, entry.id, data)
            await self.work.spend(cost)
            if local is not None:
                await local.put(entry.id, key, block.payload, block.lengths, background=True)
        except NotFoundError as error:
            if not isinstance(error, LostError):
                self.work.fault(error)
                return False
            self.work.lose(Lost(entry.id, key))
            return False
        except HelioError as error:
            self.work.fault(error)
            return False
        return True

    def stored(self, known: Known, key: BlockKey) -> bool:
        """Whether an object of that size has this member."""
        scheme = self.volume.state.scheme
        data = data_members(scheme, known.blocks, key.group)
        if key.member >= scheme.data:
            return data == scheme.data or (data > 0 and not known.growing)
        return key.member < data
