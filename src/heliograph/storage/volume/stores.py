"""The disks of one node, as every node of the volume asks for them.

``Store`` is what can be asked; ``LocalStore`` answers from this node's disks, and
``storage.remote`` carries the same questions to other nodes. A deadline is a time of the asking
node's event loop; None is for what has none, ``math.inf`` for work in the background.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

from heliograph.model.errors import HelioError, NotFoundError, UnreachableError, WrongStateError
from heliograph.model.nodes import NodeId
from heliograph.storage.disks.disk import Block, Disk, Usage
from heliograph.storage.disks.format import Buffer
from heliograph.storage.errors import CorruptError
from heliograph.storage.reading import DiskReader
from heliograph.storage.values import BlockKey, DiskId, ObjectId
from heliograph.storage.volume.state import DiskState, VolumeState

#: Members told of by one listing of a disk, at most: an object of 1 TiB on one disk.
MAX_LISTED = 1 << 20

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held:
    """A member on a disk, by the disk's index of names: whether it is whole is not known."""

    disk: DiskId
    group: int
    member: int


@dataclass(frozen=True, slots=True)
class HeadHeld:
    """A head on a disk."""

    disk: DiskId
    object: ObjectId
    serial: int


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """What was found on the disks of a node."""

    found: tuple[T, ...]
    complete: bool
    """Whether all of the node's disks could be listed."""


class Store(Protocol):
    """The disks of one node.

    Everything raises ``UnreachableError`` or ``RemoteError`` when the node cannot be asked or falls
    silent, ``UnreachableError`` when the disk is not at the node, ``DiskError`` when it fails, and
    ``BusyError`` when too much waits for it.
    """

    async def get(self, disk: DiskId, key: BlockKey, deadline: float | None) -> Block:
        """A member, its digest checked; ``NotFoundError``, ``CorruptError``."""

    async def put(
        self,
        disk: DiskId,
        key: BlockKey,
        payload: Buffer,
        lengths: tuple[int, ...] = (),
        background: bool = False,
    ) -> None:
        """Keep a member, for good when this returns; the same again is fine.

        ``WrongStateError``: nothing is written to that disk any more; ``ConflictError``: there is
        other content.
        """

    async def delete(self, disk: DiskId, key: BlockKey) -> bool:
        """Remove a member; False when it was not there."""

    async def held(self, object: ObjectId, group: int | None = None) -> Listing[Held]:
        """Members of an object, or of one of its groups, on all disks."""

    async def forget(self, object: ObjectId) -> int:
        """Remove all members of an object from all disks; how many there were."""

    async def heads(self) -> Listing[HeadHeld]:
        """Newest heads of all objects on all disks."""

    async def head(self, object: ObjectId) -> tuple[int, bytes] | None:
        """Serial and content of the newest whole head of an object on any disk, if there is one."""

    async def put_head(self, disk: DiskId, object: ObjectId, serial: int, data: bytes) -> None:
        """Keep a head instead of an older one; ``ConflictError``: there is a newer one."""

    async def delete_head(self, disk: DiskId, object: ObjectId, serial: int) -> bool:
        """Remove a head unless it is newer than ``serial``."""

    async def mend(self, disk: DiskId, key: BlockKey) -> None:
        """Tell that a member of that disk was found missing or damaged."""

    async def usage(self) -> Mapping[DiskId, Usage]:
        """How full disks are; those that cannot tell are left out."""


class Peers(Protocol):
    """The other nodes of the volume."""

    def store(self, node: NodeId) -> Store:
        """The disks of a node; ``UnreachableError`` when it is not known how to reach it."""


class LocalStore:
    """The disks of this node; refuses to write what the volume's state says is no disk's."""

    def __init__(
        self,
        node: NodeId,
        readers: Iterable[DiskReader],
        told: Callable[[DiskId, BlockKey], None] | None = None,
    ) -> None:
        """``told`` is called with members that somebody found missing or damaged."""
        self.node = node
        self.readers: dict[DiskId, DiskReader] = {one.disk.id: one for one in readers}
        """May be changed: a disk comes, or is taken away."""
        self.told = told
        self._writable: frozenset[DiskId] | None = None
        self._mine: frozenset[DiskId] = frozenset()

    def update(self, state: VolumeState) -> None:
        """From now on writes are taken for the disks that are active in this state."""
        mine = state.disks_of(self.node)
        self._mine = frozenset(one.id for one in mine)
        self._writable = frozenset(one.id for one in mine if one.state is DiskState.ACTIVE)

    async def get(self, disk: DiskId, key: BlockKey, deadline: float | None) -> Block:
        """As ``Store``."""
        if deadline == math.inf:
            return await self._reader(disk).read(key, background=True)
        return await self._reader(disk).read(key, deadline)

    async def check(self, disk: DiskId, key: BlockKey) -> int:
        """Read a member from the medium itself; its bytes. Errors as of ``get``."""
        found = await self._reader(disk).read(key, background=True, fresh=True)
        return len(found.payload)

    async def put(
        self,
        disk: DiskId,
        key: BlockKey,
        payload: Buffer,
        lengths: tuple[int, ...] = (),
        background: bool = False,
    ) -> None:
        """As ``Store``."""
        self._check_writable(disk)
        await self._reader(disk).write(key, payload, lengths, background=background)

    async def delete(self, disk: DiskId, key: BlockKey) -> bool:
        """As ``Store``."""
        return await self._reader(disk).delete(key, background=False)

    async def held(self, object: ObjectId, group: int | None = None) -> Listing[Held]:
        """As ``Store``."""

        def of(disk: Disk) -> Iterator[Held]:
            keys = disk.keys(object) if group is None else disk.keys_of_group(object, group)
            return (Held(disk.id, key.group, key.member) for key in islice(keys, MAX_LISTED))

        return await self._listing(of)

    async def forget(self, object: ObjectId) -> int:
        """As ``Store``."""
        count = 0
        for one in (await self.held(object)).found:
            count += await self.delete(one.disk, BlockKey(object, one.group, one.member))
        return count

    async def heads(self) -> Listing[HeadHeld]:
        """As ``Store``."""
        return await self._listing(
            lambda disk: (HeadHeld(disk.id, object, serial) for object, serial in disk.heads())
        )

    async def head(self, object: ObjectId) -> tuple[int, bytes] | None:
        """As ``Store``."""
        found = await self._each(lambda disk: disk.head(object))
        heads = [one for one in found.values() if isinstance(one, tuple)]
        if heads:
            return max(heads)
        for one in found.values():
            if isinstance(one, HelioError) and not isinstance(one, NotFoundError):
                raise one
        if not self._mine <= found.keys():
            raise UnreachableError("not all disks are at this node", subject=self.node)
        return None

    async def put_head(self, disk: DiskId, object: ObjectId, serial: int, data: bytes) -> None:
        """As ``Store``."""
        self._check_writable(disk)
        reader = self._reader(disk)
        await reader.call(lambda: reader.disk.put_head(object, serial, data))

    async def delete_head(self, disk: DiskId, object: ObjectId, serial: int) -> bool:
        """As ``Store``."""
        reader = self._reader(disk)
        return await reader.call(lambda: _delete_head(reader.disk, object, serial))

    async def mend(self, disk: DiskId, key: BlockKey) -> None:
        """As ``Store``."""
        if self.told is not None:
            self.told(disk, key)

    async def usage(self) -> Mapping[DiskId, Usage]:
        """As ``Store``."""
        found = await self._each(lambda disk: disk.usage())
        return {disk: one for disk, one in found.items() if isinstance(one, Usage)}

    async def members(self, disk: DiskId, object: ObjectId) -> tuple[BlockKey, ...]:
        """Members of an object on a disk of this node, in order. ``DiskError``."""
        reader = self._reader(disk)
        return await reader.call(lambda: tuple(reader.disk.keys(object)))

    async def objects(self, disk: DiskId) -> tuple[ObjectId, ...]:
        """Objects of which a disk of this node has members. ``DiskError``."""
        reader = self._reader(disk)
        return await reader.call(lambda: tuple(reader.disk.objects()))

    async def heads_of(self, disk: DiskId) -> tuple[tuple[ObjectId, int], ...]:
        """Heads on a disk of this node, with their serials."""
        reader = self._reader(disk)
        return await reader.call(lambda: tuple(reader.disk.heads()))

    async def check_head(self, disk: DiskId, object: ObjectId, serial: int) -> int | None:
        """Bytes of a head, read from the medium itself; None when it is damaged."""
        reader = self._reader(disk)

        def check() -> int | None:
            try:
                found, data = reader.disk.head(object, fresh=True)
                if found >= serial:
                    return len(data)
            except NotFoundError:
                return 0
            except CorruptError:
                pass
            return None

        return await reader.call(check, background=True)

    async def keep_state(self, data: bytes, version: int) -> int:
        """Put the volume's state on every disk that takes it; on how many it is."""
        found = await self._each(lambda disk: disk.put_state(data, version))
        return sum(one is None for one in found.values())

    async def _listing(self, of: Callable[[Disk], Iterator[T]]) -> Listing[T]:
        found = await self._each(lambda disk: [*of(disk)])
        items = [item for one in found.values() if isinstance(one, list) for item in one]
        whole = all(isinstance(one, list) for one in found.values())
        return Listing(tuple(items), whole and self._mine <= found.keys())

    async def _each(self, work: Callable[[Disk], T]) -> dict[DiskId, T | HelioError]:
        """The same of every disk; what they answer, errors included."""

        async def one(reader: DiskReader) -> T | HelioError:
            try:
                return await reader.call(lambda: work(reader.disk))
            except HelioError as error:
                return error

        readers = dict(self.readers)
        answers = await asyncio.gather(*map(one, readers.values()))
        return dict(zip(readers, answers, strict=True))

    def _reader(self, disk: DiskId) -> DiskReader:
        found = self.readers.get(disk)
        if found is None:
            # Not "there is no such block": whoever holds the disk now may have it.
            raise UnreachableError(f"disk {disk} is not at this node", subject=disk)
        return found

    def _check_writable(self, disk: DiskId) -> None:
        if self._writable is not None and disk not in self._writable:
            raise WrongStateError(f"nothing is written to disk {disk} any more", subject=disk)


def _delete_head(disk: Disk, object: ObjectId, serial: int) -> bool:
    try:
        newest, _ = disk.head(object)
    except NotFoundError:
        return False
    except CorruptError:
        newest = 0
    return newest <= serial and disk.delete_head(object)
