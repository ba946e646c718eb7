"""Writing an object: blocks one after another become parity groups on their disks.

A block goes to its disk as it comes; the redundant members follow when the group is full. A member
whose disk cannot be written is left out, as many in a group as parity makes up for: its home is
told and makes it later. That group has the protection that is left. More than that fail the writer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    ResourceError,
    TooLargeError,
    WrongStateError,
)
from heliograph.storage.parity import encode
from heliograph.storage.values import BlockKey, ObjectId
from heliograph.storage.volume import heads
from heliograph.storage.volume.claims import CLAIMED
from heliograph.storage.volume.heads import DELETED, Head
from heliograph.storage.volume.reach import Reach, limited
from heliograph.storage.volume.state import DiskEntry

#: Groups that are being written at once: one fills while the one before gets onto its disks.
MAX_GROUPS = 2
#: Seconds that writing one member may take: a disk that is slow, not one that hangs.
WRITE_PATIENCE = 30.0
#: Seconds that an aborted writer waits for what is under way. What comes to a disk later is removed
#: by its reconciler, as all that has no head.
ABORT_PATIENCE = 5.0
#: Times that a disk is asked for which too much waits, and seconds between two.
BUSY_TRIES = 20
BUSY_PAUSE = 0.25


class Writer:
    """Writes one object; its owner calls one method at a time.

    Memory: the blocks of ``MAX_GROUPS`` groups and their redundant members.
    """

    def __init__(self, reach: Reach, object: ObjectId, head: Head | None = None) -> None:
        """``head``: of the object that is continued; its last group has to be given again."""
        self.object = object
        self.serial = 0 if head is None else head.serial
        """Of the last head written."""
        self._tried = self.serial
        self.blocks = 0 if head is None else head.blocks
        """Blocks taken."""
        self.size = 0 if head is None else head.size
        """In those."""
        self.lost: tuple[int, ...] = ()
        """Blocks of the object that is continued which nobody has any more."""
        self.closed = False
        self._reach = reach
        self._group: _Group | None = None
        self._running: list[_Group] = []
        self._protected = self.blocks
        self._claimed = False

    @property
    def protected(self) -> int:
        """Blocks that are durable with their redundancy: those of all whole groups before."""
        return self._protected

    def resume(self, payloads: list[bytes | None]) -> None:
        """Take the blocks of the last group, which are on their disks, as they are; None: one that
        is lost. Such a group gets no redundancy: there is none that would go with what is left."""
        scheme = self._reach.state.scheme
        if payloads:
            first = self.blocks - len(payloads)
            self.lost = tuple(first + at for at, one in enumerate(payloads) if one is None)
            self._group = _Group(first // scheme.data, 0 if self.lost else scheme.parity)
            self._group.payloads = [one or b"" for one in payloads]
            self._protected = first

    async def claim(self) -> None:
        """Say, before the first block, who writes: what comes is removed as soon as this run of the
        node is known to have ended. ``ResourceError``: that could not be written."""
        self._check_open()
        self._claimed = True
        claims = self._reach.claims
        claims.writing.add(self.object)
        try:
            await put_head(self._reach, self.object, CLAIMED, heads.encode(claims.own.head()))
        except BaseException:  # some disk may have it: it is taken for a dead writer's from now on
            self._end()
            raise

    async def put(self, payload: bytes) -> None:
        """Take the next block; waits while two groups are under way.

        ``ResourceError``: too many disks of an earlier group could not be written; the object
        cannot be finished then.
        """
        self._check_open()
        scheme = self._reach.state.scheme
        if not payload:
            raise MalformedError("block", "an empty one")
        if len(payload) > scheme.block:
            raise TooLargeError(f"a block of {len(payload)} bytes (at most {scheme.block})")
        if self._group is None:
            await self._room()
            self._group = _Group(self.blocks // scheme.data, scheme.parity)
        group = self._group
        member = len(group.payloads)
        group.payloads.append(payload)
        group.start(self._put(group, member, payload, ()))
        self.blocks += 1
        self.size += len(payload)
        if len(group.payloads) == scheme.data:
            self._close_group(group)

    async def grow(self, document: bytes) -> None:
        """Have all blocks so far on their disks, and write a head by which they can be read.

        The object goes on growing. Blocks of a group that is not full are durable and not
        protected yet.
        """
        self._check_open()
        await self._settle()
        await self._put_head(document, growing=True)

    async def finish(self, document: bytes) -> None:
        """Protect and write everything, then the last head. Then it is done."""
        self._check_open()
        if self._group is not None:
            self._close_group(self._group)
        await self._settle()
        await self._put_head(document, growing=False)
        self._end()

    async def abort(self) -> None:
        """Stop, and remove what was written of an object that has no head yet."""
        if self.closed:
            return
        self._end()
        groups = [*self._running, *([self._group] if self._group else [])]
        await asyncio.gather(*(group.end() for group in groups))
        if not self.serial:
            if self._tried or self._claimed:
                with contextlib.suppress(HelioError):  # reconcilers make up for it
                    await delete_head(self._reach, self.object, self._tried)
            await self._reach.everywhere(lambda store: store.forget(self.object))

    def _end(self) -> None:
        self.closed = True
        self._reach.claims.writing.discard(self.object)

    def _close_group(self, group: _Group) -> None:
        group.start(self._protect(group))
        self._running.append(group)
        self._group = None

    async def _protect(self, group: _Group) -> None:
        """Make and write the redundant members."""
        scheme = self._reach.state.scheme
        if not group.parity:
            return
        made = await asyncio.to_thread(encode, scheme, group.payloads)
        lengths = tuple(len(one) for one in group.payloads)
        await asyncio.gather(
            *(
                self._put(group, scheme.data + index, payload, lengths)
                for index, payload in enumerate(made)
            )
        )

    async def _room(self) -> None:
        while len(self._running) >= MAX_GROUPS:
            await self._retire()

    async def _retire(self) -> None:
        """Wait for the oldest group that is full."""
        group = self._running[0]
        await self._finished(group)
        del self._running[0]
        self._protected += len(group.payloads)

    async def _settle(self) -> None:
        while self._running:
            await self._retire()
        if self._group is not None:
            await self._again(self._group)
            await self._shelter(self._group)

    async def _again(self, group: _Group) -> None:
        """Try once more what its disks refused: they may be back."""
        await group.wait()
        failed, group.failed = group.failed, {}
        for member, (_, payload, lengths) in failed.items():
            group.start(self._put(group, member, payload, lengths))
        await group.wait()

    async def _shelter(self, group: _Group) -> None:
        """Put what its disk refuses on any other: nothing protects a group that is not full."""
        for member, (error, payload, lengths) in [*group.failed.items()]:
            key = BlockKey(self.object, group.number, member)
            for entry in self._reach.state.active:
                with contextlib.suppress(HelioError):
                    store = self._reach.store(entry.node)
                    await limited(store.put(entry.id, key, payload, lengths), WRITE_PATIENCE)
                    del group.failed[member]
                    break
            else:
                raise ResourceError(
                    f"group {group.number} of {self.object}: a block is on no disk: "
                    f"{error.message}",
                    subject=self.object,
                ) from error

    async def _finished(self, group: _Group) -> None:
        """Wait until all of a group's members so far are written, or given up."""
        await group.wait()
        if len(group.failed) > group.parity:
            await self._again(group)
        if len(group.failed) > group.parity:
            error = group.failed[min(group.failed)][0]
            raise ResourceError(
                f"group {group.number} of {self.object}: {len(group.failed)} members could not be "
                f"written, first: {error.message}",
                subject=self.object,
            ) from error

    async def _put(
        self, group: _Group, member: int, payload: bytes, lengths: tuple[int, ...]
    ) -> None:
        """Write one member; what a disk refuses is noted in the group."""
        key = BlockKey(self.object, group.number, member)
        counters = self._reach.counters
        version = self._reach.state.version
        try:
            await self._put_home(key, payload, lengths)
        except WrongStateError as error:  # the volume was changed; where to is known elsewhere
            try:
                if not await self._reach.refresh(version):
                    raise error
                await self._put_home(key, payload, lengths)
            except HelioError as again:
                self._failed(group, key, again, payload, lengths)
                return
        except HelioError as error:
            self._failed(group, key, error, payload, lengths)
            return
        counters.written += 1
        counters.bytes_written += len(payload)

    async def _put_home(self, key: BlockKey, payload: bytes, lengths: tuple[int, ...]) -> None:
        entry = self._reach.plan.home(key)
        if entry is None:
            raise ResourceError("its disk is lost", subject=key.object)
        for left in reversed(range(BUSY_TRIES)):
            store = self._reach.store(entry.node)
            try:
                await limited(store.put(entry.id, key, payload, lengths), WRITE_PATIENCE)
            except BusyError:
                if not left:
                    raise
                await asyncio.sleep(BUSY_PAUSE)
            else:
                return

    def _failed(
        self,
        group: _Group,
        key: BlockKey,
        error: HelioError,
        payload: bytes,
        lengths: tuple[int, ...],
    ) -> None:
        group.failed[key.member] = error, payload, lengths
        self._reach.counters.unwritten += 1
        entry = self._reach.plan.home(key)
        if entry is not None:
            self._reach.tell(entry, key)

    async def _put_head(self, document: bytes, growing: bool) -> None:
        # A number is used once: some disks may have the head though too few have it.
        self._tried += 1
        head = Head(self._tried, self.blocks, self.size, growing, document)
        await put_head(self._reach, self.object, self._tried, heads.encode(head))
        self.serial = self._tried

    def _check_open(self) -> None:
        if self.closed:
            raise WrongStateError("the writer is closed", subject=self.object)


class GrowingWriter:
    """A writer for somebody who numbers blocks, and may begin again with some that are there."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    async def put(self, number: int, block: bytes) -> None:
        """Block ``number``: the next one, or one that was put before, with the same bytes."""
        if number > self.writer.blocks:
            raise WrongStateError(
                f"block {number} after {self.writer.blocks} blocks", subject=self.writer.object
            )
        if number == self.writer.blocks:
            await self.writer.put(block)

    async def grow(self, head: bytes) -> None:
        """As ``Writer``."""
        await self.writer.grow(head)

    async def finish(self, head: bytes) -> None:
        """As ``Writer``."""
        await self.writer.finish(head)


async def delete_head(reach: Reach, object: ObjectId, serial: int) -> None:
    """Put in place of an object's heads, up to that serial, the word that it is deleted."""
    head = Head(serial | DELETED, 0, 0, False, b"")
    await put_head(reach, object, head.serial, heads.encode(head))


async def put_head(reach: Reach, object: ObjectId, serial: int, data: bytes) -> None:
    """Write a head to its disks; it is kept when as many as parity loses, and one more, have it."""

    async def put(entry: DiskEntry) -> None:
        store = reach.store(entry.node)  # which raises where the node is not there
        await limited(store.put_head(entry.id, object, serial, data), WRITE_PATIENCE)

    for again in (True, False):
        version = reach.state.version
        homes = reach.plan.head_homes(object)
        needed = min(len(homes), reach.state.scheme.parity + 1)
        done = await asyncio.gather(*map(put, homes), return_exceptions=True)
        errors = [one for one in done if isinstance(one, BaseException)]
        for error in errors:
            if isinstance(error, ConflictError) or not isinstance(error, HelioError):
                raise error
        if homes and len(homes) - len(errors) >= max(1, needed):
            return
        outdated = any(isinstance(error, WrongStateError) for error in errors)
        if not (again and outdated and await reach.refresh(version)):
            break
    why = f", first: {errors[0]}" if errors else ""
    raise ResourceError(
        f"the head of {object} is on {len(homes) - len(errors)} disks instead of {needed}{why}",
        subject=object,
    )


class _Group:
    """A parity group that is being written."""

    def __init__(self, number: int, parity: int) -> None:
        self.number = number
        self.parity = parity
        """Redundant members that it gets."""
        self.payloads: list[bytes] = []
        self.failed: dict[int, tuple[HelioError, bytes, tuple[int, ...]]] = {}
        """By member: why it is not on its disk."""
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name="volume write"))

    async def wait(self) -> None:
        """Until all that was started is done; raises what is no disk's refusal."""
        while self._tasks:
            await asyncio.shield(self._tasks[0])
            del self._tasks[0]

    async def end(self) -> None:
        """Until nothing of it is under way: what was sent to a disk cannot be called back."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=ABORT_PATIENCE)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
