"""A volume as one node uses it: objects are written, read, listed and deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from heliograph.model.errors import (
    ConflictError,
    HelioError,
    NotFoundError,
    UnreachableError,
)
from heliograph.model.nodes import NodeId
from heliograph.storage import sharing
from heliograph.storage.disks.disk import Usage
from heliograph.storage.errors import LostError
from heliograph.storage.sharing import SharedBlocks
from heliograph.storage.values import BlockKey, DiskId, ObjectId, check_object, new_object
from heliograph.storage.volume import encoding, heads
from heliograph.storage.volume.claims import CLAIMED, Claims
from heliograph.storage.volume.fetching import GRACE, LEISURE, Fetcher
from heliograph.storage.volume.heads import Head, exists
from heliograph.storage.volume.planning import data_members
from heliograph.storage.volume.reach import Counters, Reach
from heliograph.storage.volume.state import VolumeState
from heliograph.storage.volume.stores import HeadHeld, Listing, LocalStore, Peers
from heliograph.storage.volume.writing import Writer, delete_head

#: Blocks being read at once by ``survey``.
SURVEY_READS = 8


@dataclass(frozen=True, slots=True)
class Survey:
    """What is left of an object."""

    blocks: int
    lost: tuple[int, ...]
    """Blocks that are gone for good."""
    unreachable: tuple[int, ...]
    """Blocks that cannot be read now: their disks or nodes do not answer."""
    degraded: int
    """Groups with fewer members than they should have, that can be made whole."""


class Volume:
    """One node's view; every node of the volume has one."""

    def __init__(
        self,
        node: NodeId,
        state: VolumeState,
        local: LocalStore | None,
        peers: Peers,
        *,
        refresh: Callable[[], Awaitable[VolumeState]] | None = None,
        shared: SharedBlocks | None = None,
        claims: Claims | None = None,
    ) -> None:
        """``local``: this node's disks, None where it has none.

        ``shared``: blocks in memory, of all volumes of the node; None: none are kept.

        ``refresh`` gives the newest state from whoever keeps it; it is asked when what is known
        here turns out to be outdated.

        ``claims``: what this run of the node writes; None: nobody knows of other runs.
        """
        self.reach = Reach(node, state, local, peers, refresh, claims)
        self.fetcher = Fetcher(self.reach)
        self.shared = SharedBlocks(0) if shared is None else shared
        """What ``source`` reads goes through it."""

    @property
    def state(self) -> VolumeState:
        """The newest state known here."""
        return self.reach.state

    @property
    def counters(self) -> Counters:
        """What was done since the start."""
        return self.reach.counters

    async def update(self, state: VolumeState) -> bool:
        """Take a newer state, and keep it on this node's disks; whether it was newer."""
        taken = self.reach.update(state)
        newest = self.state  # ``refresh`` may have brought it, which keeps nothing
        if self.reach.local is not None:
            await self.reach.local.keep_state(encoding.encode(newest), newest.version)
        return taken

    async def close(self) -> None:
        """End what is under way; stores and peers are their owner's."""
        await self.reach.close()

    # Writing

    def writer(self, object: ObjectId | None = None) -> Writer:
        """Write a new object; it exists once its writer has grown or finished it."""
        return Writer(self.reach, object or new_object())

    async def reopen(self, object: ObjectId) -> Writer:
        """Go on writing an object that was left growing, after its last head.

        Blocks behind that head are removed. Of the last group, which nothing protects, some may be
        lost: they stay so (``Writer.lost``). ``NotFoundError``: there is no such object;
        ``ConflictError``: it is finished.
        """
        head = await self.newest(object, certain=True)
        if not head.exists:
            raise NotFoundError(f"no object {object}", subject=object)
        if not head.open:
            raise ConflictError(f"object {object} is finished", subject=object)
        scheme = self.state.scheme
        first = head.blocks // scheme.data * scheme.data
        await self._cut(object, head.blocks)
        writer = Writer(self.reach, object, head)
        writer.resume([await self._left(object, number) for number in range(first, head.blocks)])
        return writer

    async def _left(self, object: ObjectId, number: int) -> bytes | None:
        """A block; None: it is lost."""
        try:
            return await self.block(object, number)
        except LostError:
            return None

    async def _cut(self, object: ObjectId, blocks: int) -> None:
        """Remove all members behind a number of blocks, and redundant ones of a group not full."""
        scheme = self.state.scheme
        group, keep = divmod(blocks, scheme.data)

        def behind(at: int, member: int) -> bool:
            return at > group or (at == group and member >= keep)

        for node in self.state.nodes:
            store = self.reach.store(node)
            listing = await store.held(object)
            if not listing.complete:
                raise UnreachableError(f"disks of node {node} cannot be listed", subject=node)
            for one in listing.found:
                if behind(one.group, one.member):
                    await store.delete(one.disk, BlockKey(object, one.group, one.member))

    @asynccontextmanager
    async def writing(self, object: ObjectId | None = None) -> AsyncIterator[Writer]:
        """A writer that is aborted, and leaves nothing behind, unless it was finished."""
        writer = self.writer(object)
        try:
            yield writer
        finally:
            if not writer.closed:
                await writer.abort()

    async def delete(self, object: ObjectId) -> None:
        """Remove an object; also from nodes that are away, once they are back.

        ``NotFoundError``: there is none.
        """
        head = await self.newest(object)
        if not head.exists:
            raise NotFoundError(f"no object {object}", subject=object)
        await delete_head(self.reach, object, head.serial)
        await self.reach.everywhere(lambda store: store.forget(object))

    async def disown(self, object: ObjectId) -> bool:
        """Remove what a dead writer left of an object that it had claimed; False: it finished it.

        ``UnreachableError``: not all nodes answered; ``NotFoundError``: there is no claim.
        """
        head = await self.newest(object, certain=True)
        if head.exists:
            return False
        if head.serial == CLAIMED:
            await delete_head(self.reach, object, CLAIMED)
        await self.reach.everywhere(lambda store: store.forget(object))
        return True

    # Reading

    def source(self, object: ObjectId, blocks: int | None = None) -> sharing.Source:
        """Read an object's blocks, what others read too but once.

        ``blocks``: how many it has, where that is known and does not grow.
        """
        return self.shared.source(object, Source(self, check_object(object), blocks))

    async def block(self, object: ObjectId, number: int, deadline: float | None = None) -> bytes:
        """Block ``number``, whole: from where it is, or made from others of its group.

        ``deadline``: time of the event loop by which it is wanted; as it nears, the block is made
        from others at the same time. Given up ``GRACE`` seconds after it.
        ``LostError``: gone for good; ``UnreachableError``, ``ResourceError``: not to be had now;
        ``NotFoundError``: no such object, or no such block.
        """
        if number < 0:
            raise NotFoundError(f"{object} has no block {number}", subject=object)
        wanted = asyncio.get_running_loop().time() + LEISURE if deadline is None else deadline
        self.counters.reads += 1
        return await self._block(object, number, wanted)

    async def _block(self, object: ObjectId, number: int, deadline: float) -> bytes:
        group, member = divmod(number, self.state.scheme.data)
        key = BlockKey(object, group, member)
        version = self.state.version
        try:
            return await self.fetcher.block(key, deadline)
        except (LostError, UnreachableError) as error:
            lost = isinstance(error, LostError)
            try:
                newer = await self.reach.refresh(version)
            except HelioError:
                if lost:  # nobody can say whether it is where only a newer state would look
                    raise UnreachableError(error.message, subject=object) from error
                raise error from None
            if newer:
                return await self.fetcher.block(key, deadline)
            if lost:
                await self._check_there(object, number)
            raise

    async def _check_there(self, object: ObjectId, number: int) -> None:
        """``NotFoundError`` where there never was such a block."""
        head = await self.head(object)
        if number >= head.blocks:
            raise NotFoundError(f"{object} has {head.blocks} blocks, not {number}", subject=object)

    # What there is

    async def head(self, object: ObjectId) -> Head:
        """The newest head; ``NotFoundError``: no such object, or a deleted one.

        ``UnreachableError``: no node that answered has one, and not all answered.
        """
        head = await self.newest(object)
        if not head.exists:
            raise NotFoundError(f"no object {object}", subject=object)
        return head

    async def newest(self, object: ObjectId, certain: bool = False) -> Head:
        """The same, also of what is only claimed, or deleted.

        ``certain``: ``UnreachableError`` unless all nodes answered.
        """
        check_object(object)
        answers, complete = await self.reach.everywhere(lambda store: store.head(object))
        found = max((one for one in answers if one is not None), default=None)
        if found is not None and (complete or not certain):
            return heads.decode(*found)
        if not complete:
            raise UnreachableError(f"the head of {object} cannot be read now", subject=object)
        raise NotFoundError(f"no object {object}", subject=object)

    async def objects(self) -> dict[ObjectId, int]:
        """All objects that nodes which answer know of, with the serials of their heads."""
        found, _ = await self.catalogue()
        return {one: serial for one, serial in found.items() if exists(serial)}

    async def catalogue(self) -> tuple[dict[ObjectId, int], bool]:
        """The same with deleted ones and claims, and whether every disk was asked."""
        listings, complete = await self.reach.everywhere(lambda store: store.heads())
        return newest_serials(listings), complete and all(one.complete for one in listings)

    async def usage(self) -> dict[DiskId, Usage]:
        """How full the disks are, of nodes that answer."""
        answers, _ = await self.reach.everywhere(lambda store: store.usage())
        found: dict[DiskId, Usage] = {}
        for answer in answers:
            found.update(answer)
        return found

    async def survey(self, object: ObjectId, *, read: bool = False) -> Survey:
        """What is left of an object, by the disks' indexes or, with ``read``, by reading it all."""
        head = await self.head(object)
        listings, complete = await self.reach.everywhere(lambda store: store.held(object))
        complete = complete and all(one.complete for one in listings)
        held: dict[int, set[int]] = {}
        for one in (one for listing in listings for one in listing.found):
            held.setdefault(one.group, set()).add(one.member)
        missing, degraded = self._judged(head, held)
        if not read:
            lost, unreachable = (missing, ()) if complete else ((), missing)
            return Survey(head.blocks, lost, unreachable, degraded)
        return await self._read_all(object, head.blocks, degraded)

    def _judged(self, head: Head, held: Mapping[int, set[int]]) -> tuple[tuple[int, ...], int]:
        """Blocks that cannot be had from the members that are held, and groups not whole."""
        scheme = self.state.scheme
        missing: list[int] = []
        degraded = 0
        for group in range(-(-head.blocks // scheme.data)):
            data = data_members(scheme, head.blocks, group)
            there = held.get(group, set())
            stored = {*range(data), *range(scheme.data, scheme.width)}
            if head.open and data < scheme.data:
                stored = {*range(data)}
            if stored <= there:
                continue
            if len(there & stored) >= data:
                degraded += 1
                continue
            missing += [group * scheme.data + one for one in range(data) if one not in there]
        return tuple(missing), degraded

    async def _read_all(self, object: ObjectId, blocks: int, degraded: int) -> Survey:
        lost: list[int] = []
        unreachable: list[int] = []
        numbers = iter(range(blocks))

        async def work() -> None:
            for number in numbers:
                try:
                    await self.block(object, number)
                except LostError:
                    lost.append(number)
                except HelioError:
                    unreachable.append(number)

        await asyncio.gather(*(work() for _ in range(SURVEY_READS)))
        return Survey(blocks, tuple(sorted(lost)), tuple(sorted(unreachable)), degraded)


class Source:
    """Blocks of one object; what titles call a ``BlockSource``."""

    def __init__(self, volume: Volume, object: ObjectId, blocks: int | None) -> None:
        self._volume = volume
        self._object = object
        self._blocks = blocks

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        """As ``Volume.block``."""
        if self._blocks is not None and number >= self._blocks:
            raise NotFoundError(
                f"{self._object} has {self._blocks} blocks, not {number}", subject=self._object
            )
        return await self._volume.block(self._object, number, deadline)


def newest_serials(listings: list[Listing[HeadHeld]]) -> dict[ObjectId, int]:
    """By object: the highest serial of its heads."""
    found: dict[ObjectId, int] = {}
    for one in (one for listing in listings for one in listing.found):
        found[one.object] = max(one.serial, found.get(one.object, 0))
    return found


__all__ = ["GRACE", "Source", "Survey", "Volume", "newest_serials"]
