"""Reading members of groups: where they are to be, where they were, made from others, found.

A block is looked for at its home, then where it was before a change, and then made from any ``k``
other members of its group. Before anything is called lost every node is asked which members it has,
on any disk: the table only says where to look first.
"""

from __future__ import annotations

import asyncio
import errno
import math
from typing import Any

from heliograph.model.errors import HelioError, NotFoundError, ResourceError, UnreachableError
from heliograph.storage.disks.disk import Block
from heliograph.storage.errors import CorruptError, DiskError, LostError
from heliograph.storage.parity import decode
from heliograph.storage.values import BlockKey, DiskId
from heliograph.storage.volume.reach import PATIENCE, Reach, limited
from heliograph.storage.volume.state import DiskEntry

#: Seconds that a block may be late before its read is given up.
GRACE = 10.0
#: Seconds until a block without deadline is wanted.
LEISURE = 5.0
#: Seconds that a read in the background may wait behind others.
LEISURELY = 120.0
#: Part of the time until the deadline after which a block is also made from others.
HEDGE = 0.4
#: Seconds to wait for a member at least before that: a disk that turns and is busy.
LEAST_HEDGE = 0.1


class Absent(HelioError):
    """A member could not be had; ``certain``: it is not there, rather than out of reach."""

    def __init__(self, key: BlockKey, certain: bool) -> None:
        super().__init__(f"member {key.member} of group {key.group}", subject=key.object)
        self.certain = certain


class Fetcher:
    """Reads members for a node's readers and for its reconciler."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    async def block(self, key: BlockKey, deadline: float) -> bytes:
        """A data member. ``Absent`` never comes out of here; errors as of ``group``.

        Made from others when it is not there, or as the deadline nears (``loop.time()``).
        """
        loop = asyncio.get_running_loop()
        home = self._reach.plan.home(key)
        direct = loop.create_task(self.member(key, deadline))
        tasks: set[asyncio.Task[Any]] = {direct}
        try:
            wait = max(LEAST_HEDGE, HEDGE * (deadline - loop.time()))
            if math.isinf(wait):
                wait = PATIENCE
            trusted = home is not None and self._reach.trusted(home.id)
            if not trusted:
                wait = 0.0
            done, _ = await asyncio.wait(tasks, timeout=wait)
            if done and (found := _result(direct)) is not None:
                return found.payload
            if not done and trusted and home is not None:
                self._reach.counters.hedged += 1
                self._reach.suspect(home.id)
            made = loop.create_task(self.group(key, deadline))
            tasks.add(made)
            left = max(0.0, deadline - loop.time()) + GRACE
            return await limited(_first(direct, made), left)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def member(
        self, key: BlockKey, deadline: float | None, but: DiskId | None = None
    ) -> Block:
        """A member from where it is to be or was; ``Absent``. ``but``: not from that disk."""
        certain = True
        home = self._reach.plan.home(key)
        for entry in self._reach.plan.places(key):
            if entry.id == but:
                continue
            found = await self._from(entry, key, deadline)
            if isinstance(found, Block):
                self._reach.counters.earlier += entry is not home
                return found
            certain = certain and found
        raise Absent(key, certain)

    async def obtain(self, key: BlockKey, but: DiskId, data: int) -> tuple[Block, int]:
        """A member for a disk that lacks it, and how many bytes were read for that.

        ``data``: data members of its group. Errors as of ``group``.
        """
        try:
            found = await self.member(key, math.inf, but)
        except Absent:
            found = await self.group(key, math.inf, data)
            return found, len(found.payload) * data
        return found, len(found.payload)

    async def group(self, key: BlockKey, deadline: float | None, data: int | None = None) -> Block:
        """A member made out of others of its group; ``data``: data members it has, if known.

        ``LostError``: too few are left, and all nodes were asked. ``UnreachableError``: too few can
        be reached now. ``NotFoundError``: the group has no such member.
        """
        scheme = self._reach.state.scheme
        gathering = _Gathering(scheme.data, data)
        certain = await self._gather(key, gathering, deadline)
        if not gathering.enough:
            certain = await self._gather_strays(key, gathering, deadline) and certain
        if (found := gathering.had.get(key.member)) is not None:
            return found
        lengths = gathering.lengths
        if not gathering.enough or lengths is None:
            if not certain:
                self._reach.counters.unreachable += 1
                raise UnreachableError(
                    f"group {key.group} of {key.object}: too few members can be reached now",
                    subject=key.object,
                )
            self._reach.counters.lost += 1
            raise LostError(
                f"group {key.group} of {key.object}: members {sorted(gathering.had)} are left",
                subject=key.object,
            )
        if key.member < scheme.data and key.member >= len(lengths):
            raise NotFoundError(
                f"{key.object} has no block {key.group * scheme.data + key.member}",
                subject=key.object,
            )
        members = {number: block.payload for number, block in gathering.had.items()}
        made = await asyncio.to_thread(decode, scheme, members, lengths, (key.member,))
        self._reach.counters.rebuilt += 1
        return Block(made[key.member], lengths if key.member >= scheme.data else ())

    async def _gather(self, key: BlockKey, gathering: _Gathering, deadline: float | None) -> bool:
        """Read members until there are enough; whether those that fail are gone for certain."""
        scheme = self._reach.state.scheme
        others = [one for one in range(scheme.width) if one != key.member]
        # Those on disks that answer come first, and data members before redundant ones.
        others.sort(key=lambda one: not self._ready(BlockKey(key.object, key.group, one)))
        waiting = others
        running: dict[asyncio.Task[Block], int] = {}
        certain = True
        loop = asyncio.get_running_loop()
        try:
            while not gathering.enough:
                waiting = [one for one in waiting if not gathering.empty(one)]
                while waiting and len(running) < gathering.needed:
                    wanted = BlockKey(key.object, key.group, waiting.pop(0))
                    running[loop.create_task(self.member(wanted, deadline))] = wanted.member
                if not running:
                    break
                wait = LEAST_HEDGE if waiting else None
                done, _ = await asyncio.wait(
                    running, timeout=wait, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:  # one more beside those that are slow
                    wanted = BlockKey(key.object, key.group, waiting.pop(0))
                    running[loop.create_task(self.member(wanted, deadline))] = wanted.member
                for task in done:
                    number = running.pop(task)
                    try:
                        gathering.add(number, task.result())
                    except Absent as absent:
                        certain = certain and absent.certain
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return certain

    async def _gather_strays(
        self, key: BlockKey, gathering: _Gathering, deadline: float | None
    ) -> bool:
        """Ask everybody for members anywhere; whether everybody answered."""
        answers, complete = await self._reach.everywhere(
            lambda store: store.held(key.object, key.group)
        )
        strays = [one for answer in answers for one in answer.found]
        complete = complete and all(answer.complete for answer in answers)
        strays.sort(key=lambda one: one.member != key.member)
        for held in strays:
            if key.member in gathering.had:
                break
            entry = self._reach.state.disk(held.disk)
            wanted = BlockKey(key.object, key.group, held.member)
            if gathering.enough or held.member in gathering.had:
                continue
            if entry is None:  # a disk of a state that is not known here yet
                complete = False
                continue
            found = await self._from(entry, wanted, deadline)
            if isinstance(found, Block):
                self._reach.counters.strays += 1
                gathering.add(held.member, found)
            else:
                complete = complete and found
        return complete

    async def _from(self, entry: DiskEntry, key: BlockKey, deadline: float | None) -> Block | bool:
        """A member from one disk; else whether it is certain that it is not there."""
        counters = self._reach.counters
        now = asyncio.get_running_loop().time()
        seconds = PATIENCE
        if deadline is not None:
            background = math.isinf(deadline)
            seconds = LEISURELY if background else max(0.0, deadline - now) + GRACE
        try:
            store = self._reach.store(entry.node)
            found = await limited(store.get(entry.id, key, deadline), seconds)
        except CorruptError:
            counters.corrupt += 1
            self._reach.tell(entry, key)
            return True
        except NotFoundError:
            home = self._reach.plan.home(key)
            if home is not None and home.id == entry.id and not self._reach.state.before:
                counters.missing += 1
                self._reach.tell(entry, key)
            return True
        except HelioError as error:
            counters.unreachable += 1
            if isinstance(error, DiskError) and error.errno == errno.EIO:
                self._reach.tell(entry, key)  # a bad place: its node writes it anew
            if deadline != math.inf:
                self._reach.suspect(entry.id)
            return False
        if entry.node == self._reach.node:
            counters.local += 1
        else:
            counters.remote += 1
        return found

    def _ready(self, key: BlockKey) -> bool:
        home = self._reach.plan.home(key)
        return home is not None and self._reach.trusted(home.id)


class _Gathering:
    """Members of a group as they come."""

    def __init__(self, data: int, known: int | None) -> None:
        self.had: dict[int, Block] = {}
        self._data = data
        self._known = known

    @property
    def lengths(self) -> tuple[int, ...] | None:
        """Bytes of the group's data members, once they are known."""
        told = (one.lengths for one in self.had.values() if one.lengths)
        found = next(told, None)
        if found is not None:
            return found
        if self._known is not None and all(one in self.had for one in range(self._known)):
            return tuple(len(self.had[one].payload) for one in range(self._known))
        if all(one in self.had for one in range(self._data)):
            return tuple(len(self.had[one].payload) for one in range(self._data))
        return None

    @property
    def _members(self) -> int | None:
        """Data members that the group has."""
        return self._known if (lengths := self.lengths) is None else len(lengths)

    @property
    def needed(self) -> int:
        """How many more are wanted."""
        members = self._members
        return (self._data if members is None else members) - len(self.had)

    @property
    def enough(self) -> bool:
        """Whether any other member can be made."""
        return self.needed <= 0 and self.lengths is not None

    def empty(self, member: int) -> bool:
        """Whether there is no such member, as far as is known."""
        members = self._members
        return members is not None and members <= member < self._data

    def add(self, member: int, block: Block) -> None:
        self.had[member] = block


def _result(task: asyncio.Task[Block]) -> Block | None:
    """What a task gave, None where the member was absent."""
    try:
        return task.result()
    except Absent:
        return None


async def _first(direct: asyncio.Task[Block], made: asyncio.Task[Block]) -> bytes:
    """The payload from whichever has it first; the error of ``made`` when neither has."""
    tasks: set[asyncio.Task[Any]] = {direct, made}
    while tasks:
        done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if direct in done and (found := _result(direct)) is not None:
            return found.payload
        if made in done and made.exception() is None:
            return made.result().payload
    raise made.exception() or ResourceError("neither read nor made")
