"""Removing from a node's disks what is to be elsewhere, once it is, and what is nobody's.

Nothing is removed while a change is under way, so readers find blocks at their old places until it
is settled. A member that its home lacks (written by a node that did not know of a change) is taken
there first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from heliograph.model.errors import HelioError, MalformedError, NotFoundError
from heliograph.model.nodes import NodeId
from heliograph.storage.errors import CorruptError
from heliograph.storage.values import BlockKey, DiskId, ObjectId
from heliograph.storage.volume.claims import CLAIMED, Claim
from heliograph.storage.volume.filling import Catalogue, Filler, Known
from heliograph.storage.volume.heads import DELETED
from heliograph.storage.volume.planning import surplus
from heliograph.storage.volume.state import DiskState
from heliograph.storage.volume.stores import Held
from heliograph.storage.volume.volume import Volume
from heliograph.storage.volume.work import Work

#: Seconds for which nothing of an object without head has come to a disk: its writer is dead, of
#: whom nothing else is known.
ORPHAN_AGE = 3600.0
#: Seconds for which it is remembered that an object was deleted, after its last block is gone.
TOMBSTONE_AGE = 3600.0


@dataclass(slots=True)
class _Seen:
    """When something was seen last to change."""

    what: object
    since: float


@dataclass(slots=True)
class Cleaner:
    """Cleans the disks of one node."""

    volume: Volume
    work: Work
    filler: Filler
    orphan_age: float = ORPHAN_AGE
    tombstone_age: float = TOMBSTONE_AGE
    _tidy: dict[tuple[DiskId, ObjectId], int] = field(default_factory=dict)
    """By disk and object: the head's serial by which nothing was there too much."""
    _seen: dict[tuple[DiskId | None, ObjectId], _Seen] = field(default_factory=dict)
    """Unfinished objects by disk, claims and tombstones; no more than there are objects."""

    def forget(self) -> None:
        """Look at every object again in the next pass."""
        self._tidy.clear()

    async def clean(self, catalogue: Catalogue) -> None:
        """Remove what can be; only of a settled state, and when every disk was listed."""
        local = self.volume.reach.local
        if local is None or not catalogue.complete or self.volume.state.before:
            return
        try:  # who was away may know an old state only, by which homes are elsewhere
            if await self.volume.reach.refresh(self.volume.state.version):
                return
        except HelioError:
            return
        met: set[tuple[DiskId | None, ObjectId]] = set()
        for disk in [*local.readers]:
            try:
                objects = await local.objects(disk)
                for object in objects:
                    await self._object(disk, object, catalogue, met)
                await self._heads(disk, catalogue)
            except HelioError as error:
                self.work.fault(error)
        await self._claims(catalogue, met)
        await self._tombstones(catalogue, met)
        for gone in self._seen.keys() - met:
            del self._seen[gone]
        for untold in [one for one in self._tidy if one[1] not in catalogue.serials]:
            del self._tidy[untold]

    async def leave(self, catalogue: Catalogue) -> None:
        """See that nothing is only on the disks of this node that leave."""
        local = self.volume.reach.local
        state = self.volume.state
        if local is None:
            return
        leaving = [
            one for one in state.disks if one.node == local.node and one.state is DiskState.LEAVING
        ]
        for entry in leaving:
            if entry.id not in local.readers:
                self.work.wait_for(f"disk {entry.id} is not there")
                continue
            try:
                for object in await local.objects(entry.id):
                    await self._leave(entry.id, object, catalogue)
            except HelioError as error:
                self.work.fault(error)

    async def _leave(self, disk: DiskId, object: ObjectId, catalogue: Catalogue) -> None:
        local = self.volume.reach.local
        assert local is not None
        serial = catalogue.serials.get(object)
        if serial is None:
            if await self._orphaned(disk, object):
                self.work.removed += await self._remove(disk, await local.members(disk, object))
            else:
                self.work.wait_for(f"object {object} is still being written")
            return
        if serial == CLAIMED:
            if not await self._given_up(object):
                await self._take_along(disk, object)
            return
        if serial & DELETED:
            return
        known = await self.filler.known(object, serial)
        if known is None:
            return
        plan = self.volume.reach.plan
        held = _Held(self.volume, object)
        for key in await local.members(disk, object):
            home = plan.home(key)
            if home is None or await held.has(home.node, home.id, key):
                continue
            # What lies behind the last head nobody brings.
            needed = self.filler.stored(known, key)
            if needed and any(one.id == disk for one in plan.places(key)):
                self.work.wait_for(f"disk {disk} has what is not yet elsewhere")
                return
            await self._push(disk, key)

    async def _take_along(self, disk: DiskId, object: ObjectId) -> None:
        """Bring what somebody is writing, and had put on a disk before that was to leave, to where
        it is to be by now."""
        local = self.volume.reach.local
        assert local is not None
        held = _Held(self.volume, object)
        for key in await local.members(disk, object):
            home = self.volume.reach.plan.home(key)
            if home is not None and not await held.has(home.node, home.id, key):
                await self._push(disk, key)

    async def _object(
        self,
        disk: DiskId,
        object: ObjectId,
        catalogue: Catalogue,
        met: set[tuple[DiskId | None, ObjectId]],
    ) -> None:
        """Remove what a disk has too much of an object."""
        local = self.volume.reach.local
        assert local is not None
        serial = catalogue.serials.get(object)
        if serial is None:
            met.add((disk, object))
            if await self._orphaned(disk, object):
                self.work.removed += await self._remove(disk, await local.members(disk, object))
            return
        if serial == CLAIMED:  # see ``_claims``
            return
        if self._tidy.get((disk, object)) == serial:
            return
        members = await local.members(disk, object)
        if serial & DELETED:
            self.work.removed += await self._remove(disk, members)
            return
        known = await self.filler.known(object, serial)
        if known is None or self.volume.state.before:
            return
        strays = await self._strays(disk, object, known, members)
        held = _Held(self.volume, object)
        for key in strays:
            await self._stray(disk, key, known, held)
        if not strays and known.serial == serial:
            self._tidy[disk, object] = serial

    async def _strays(
        self, disk: DiskId, object: ObjectId, known: Known, members: Sequence[BlockKey]
    ) -> list[BlockKey]:
        plan = self.volume.reach.plan
        width = self.volume.state.scheme.width
        expected = await asyncio.to_thread(
            plan.expected, object, known.blocks, known.growing, [disk]
        )
        present = np.array([one.group * width + one.member for one in members], np.int64)
        codes = surplus(expected[disk], present).tolist()
        keys = [plan.key(object, code) for code in codes]
        if known.growing:  # what its writer has written since the head
            full = known.blocks // self.volume.state.scheme.data
            keys = [one for one in keys if one.group < full]
        return keys

    async def _stray(self, disk: DiskId, key: BlockKey, known: Known, held: _Held) -> None:
        """Remove one member, after it was taken home where it is needed."""
        local = self.volume.reach.local
        assert local is not None
        home = self.volume.reach.plan.home(key)
        if self.filler.stored(known, key):
            if home is None:
                return
            if not await held.has(home.node, home.id, key) and not await self._push(disk, key):
                return
        if self.volume.state.before:  # a change began meanwhile: this may be a home again
            return
        self.work.removed += await local.delete(disk, key)

    async def _push(self, disk: DiskId, key: BlockKey) -> bool:
        """Take a member to its home; whether it need not be kept here any more."""
        reach = self.volume.reach
        local = reach.local
        home = reach.plan.home(key)
        if local is None or home is None:
            return False
        try:
            try:
                block = await local.get(disk, key, math.inf)
            except (CorruptError, NotFoundError):
                return True  # nothing that anybody could use
            await self.work.spend(len(block.payload))
            store = reach.store(home.node)
            await store.put(home.id, key, block.payload, block.lengths, background=True)
        except HelioError as error:
            self.work.fault(error)
            return False
        self.work.moved += 1
        return True

    async def _claims(self, catalogue: Catalogue, met: set[tuple[DiskId | None, ObjectId]]) -> None:
        """Remove what is only claimed, also where no block of it is on any disk."""
        for object, serial in catalogue.serials.items():
            if serial == CLAIMED:
                met.add((None, object))
                await self._given_up(object)

    async def _given_up(self, object: ObjectId) -> bool:
        """Remove an object that is only claimed, if nobody writes it any more; whether it was."""
        volume = self.volume
        if object in volume.reach.claims.writing:
            return False
        try:
            head = await volume.newest(object)
            try:
                dead = volume.reach.claims.dead(object, Claim.of(head))
            except MalformedError:
                dead = False
            if head.serial != CLAIMED or not (dead or await self._orphaned(None, object)):
                return False
            return await volume.disown(object)
        except HelioError as error:
            self.work.fault(error)
            return False

    async def _orphaned(self, disk: DiskId | None, object: ObjectId) -> bool:
        """Whether nothing of an object without head has come for so long that nothing will.

        ``disk``: where it was met; None: anywhere, by its claim.
        """
        listings, complete = await self.volume.reach.everywhere(lambda store: store.held(object))
        if not complete or not all(one.complete for one in listings):
            return False
        # Of all disks: to one that leaves nothing comes any more, though the writer lives. Fewer
        # are no sign of life: other nodes remove theirs.
        count = sum(len(one.found) for one in listings)
        seen = self._seen.get((disk, object))
        most = count if seen is None or not isinstance(seen.what, int) else max(count, seen.what)
        if not self._unchanged((disk, object), most, self.orphan_age):
            return False
        try:  # the catalogue is as old as this pass: there may be a head by now
            return (await self.volume.newest(object)).serial == CLAIMED
        except NotFoundError:
            return True
        except HelioError as error:
            self.work.fault(error)
        return False

    def _unchanged(self, key: tuple[DiskId | None, ObjectId], what: object, age: float) -> bool:
        now = self.work.clock()
        seen = self._seen.get(key)
        if seen is None or seen.what != what:
            self._seen[key] = _Seen(what, now)
            return age <= 0
        return now - seen.since >= age

    async def _remove(self, disk: DiskId, keys: Sequence[BlockKey]) -> int:
        local = self.volume.reach.local
        assert local is not None
        return sum([await local.delete(disk, key) for key in keys])

    async def _heads(self, disk: DiskId, catalogue: Catalogue) -> None:
        """Remove heads that are to be elsewhere, and are."""
        local = self.volume.reach.local
        assert local is not None
        for object, copies in catalogue.copies.items():
            serial = copies.get(disk)
            if serial is None:
                continue
            if self.volume.state.before:  # a change began meanwhile
                return
            homes = self.volume.reach.plan.head_homes(object)
            newest = catalogue.serials[object]
            if any(one.id == disk for one in homes):
                continue
            if homes and all(copies.get(one.id, -1) >= newest for one in homes):
                await local.delete_head(disk, object, serial)

    async def _tombstones(
        self, catalogue: Catalogue, met: set[tuple[DiskId | None, ObjectId]]
    ) -> None:
        """Forget deleted objects of which nothing is left anywhere."""
        local = self.volume.reach.local
        assert local is not None
        for object, serial in catalogue.serials.items():
            if not serial & DELETED:
                continue
            met.add((None, object))
            if not self._unchanged((None, object), serial, self.tombstone_age):
                continue
            copies = catalogue.copies[object]
            listings, complete = await self.volume.reach.everywhere(
                lambda store, object=object: store.held(object)  # type: ignore[misc]
            )
            left = any(one.found or not one.complete for one in listings)
            if left or not complete or any(one != serial for one in copies.values()):
                continue
            for disk in copies.keys() & local.readers.keys():
                try:
                    await local.delete_head(disk, object, serial)
                except HelioError as error:
                    self.work.fault(error)


class _Held:
    """Which members of an object other nodes have, asked once of each."""

    def __init__(self, volume: Volume, object: ObjectId) -> None:
        self._volume = volume
        self._object = object
        self._nodes: dict[NodeId, frozenset[Held]] = {}

    async def has(self, node: NodeId, disk: DiskId, key: BlockKey) -> bool:
        """Whether a member is on a disk; errors as of ``Store.held``."""
        found = self._nodes.get(node)
        if found is None:
            store = self._volume.reach.store(node)
            found = frozenset((await store.held(self._object)).found)
            self._nodes[node] = found
        return Held(disk, key.group, key.member) in found
