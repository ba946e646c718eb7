"""What a node knows of its volume, and how it asks the nodes of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from heliograph.model.errors import HelioError, UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.storage.values import BlockKey, DiskId
from heliograph.storage.volume.claims import Claims
from heliograph.storage.volume.planning import Plan
from heliograph.storage.volume.state import DiskEntry, VolumeState
from heliograph.storage.volume.stores import LocalStore, Peers, Store

log = structlog.get_logger(__name__)

#: Seconds that one question to one node may take: a hundred reads of a slow disk.
PATIENCE = 10.0
#: Seconds that a disk which did not answer in time is not waited for again: what is read from it is
#: made from other members at the same time.
SUSPICION = 2.0
#: Seconds for which a state that was asked for is taken for the newest: many reads that fail are
#: one question.
REFRESH = 1.0
#: Words to other nodes that something is to be mended, under way at once. What is above is not
#: sent: scrubbing finds it.
MAX_WORDS = 64

T = TypeVar("T")


@dataclass(slots=True)
class Counters:
    """What a node did with its volume, since it started."""

    reads: int = 0
    """Blocks asked for."""
    local: int = 0
    """Members read from this node's disks."""
    remote: int = 0
    """Members read from other nodes."""
    earlier: int = 0
    """Members found where they were before a change."""
    strays: int = 0
    """Members found only by asking every disk."""
    rebuilt: int = 0
    """Members made from others of their group."""
    hedged: int = 0
    """Reads that took so long that the block was made from other members at the same time."""
    corrupt: int = 0
    """Members whose digest was wrong."""
    missing: int = 0
    """Members that were not where they are to be, when no change was under way."""
    unreachable: int = 0
    """Members whose disk or node could not be asked."""
    lost: int = 0
    """Reads of blocks that are lost."""
    written: int = 0
    """Members written by this node's writers."""
    bytes_written: int = 0
    """In those."""
    unwritten: int = 0
    """Members left to be made later, because their disk could not be written."""
    words: int = 0
    """Times that another node was told to mend something."""
    words_dropped: int = 0
    """Not told, because too many were being told."""


class Reach:
    """The volume as one node sees it: the state it knows, the plan, the nodes' stores."""

    def __init__(
        self,
        node: NodeId,
        state: VolumeState,
        local: LocalStore | None,
        peers: Peers,
        refresh: Callable[[], Awaitable[VolumeState]] | None = None,
        claims: Claims | None = None,
    ) -> None:
        """``local`` is None on a node without disks; ``refresh`` gives the newest state.

        ``claims``: what this run of the node writes.
        """
        self.node = node
        self.local = local
        self.peers = peers
        self.counters = Counters()
        self.state = state
        self.plan = Plan(state)
        self.claims = claims or Claims(node)
        self._refresh = refresh
        self._asking = asyncio.Lock()
        self._asked = -math.inf
        self._suspects: dict[DiskId, float] = {}
        self._words: set[asyncio.Task[None]] = set()
        if local is not None:
            local.update(state)

    def update(self, state: VolumeState) -> bool:
        """Take a state unless a newer one is known; whether it was taken."""
        if state.version <= self.state.version:
            return False
        self.plan = Plan(state)
        self.state = state
        if self.local is not None:
            self.local.update(state)
        return True

    async def refresh(self, version: int) -> bool:
        """Ask whoever keeps the state; whether what is known now is newer than ``version``."""
        if self._refresh is None:
            return False
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if self.state.version <= version and now >= self._asked + REFRESH:
                self.update(await limited(self._refresh(), PATIENCE))
                self._asked = asyncio.get_running_loop().time()
        return self.state.version > version

    def store(self, node: NodeId) -> Store:
        """The disks of a node."""
        if node == self.node:
            if self.local is None:
                raise UnreachableError("this node has no disks", subject=node)
            return self.local
        return self.peers.store(node)

    async def everywhere(
        self, ask: Callable[[Store], Coroutine[Any, Any, T]]
    ) -> tuple[list[T], bool]:
        """Ask every node with disks the same; answers, and whether all of them answered."""

        async def one(node: NodeId) -> T:
            return await limited(ask(self.store(node)), PATIENCE)

        answers = await asyncio.gather(
            *(one(node) for node in self.state.nodes), return_exceptions=True
        )
        found: list[T] = []
        complete = True
        for answer in answers:
            if isinstance(answer, HelioError):
                complete = False
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append(answer)
        return found, complete

    def suspect(self, disk: DiskId) -> None:
        """Do not wait for that disk for a while."""
        self._suspects[disk] = asyncio.get_running_loop().time() + SUSPICION

    def trusted(self, disk: DiskId) -> bool:
        """Whether that disk answered in time when it was last asked."""
        until = self._suspects.get(disk)
        if until is None:
            return True
        if until > asyncio.get_running_loop().time():
            return False
        del self._suspects[disk]
        return True

    def tell(self, entry: DiskEntry, key: BlockKey) -> None:
        """Let the node of a disk know that a member there is missing or damaged."""
        if len(self._words) >= MAX_WORDS:
            self.counters.words_dropped += 1
            return
        self.counters.words += 1
        task = asyncio.get_running_loop().create_task(self._tell(entry, key), name="volume word")
        self._words.add(task)
        task.add_done_callback(self._words.discard)

    async def _tell(self, entry: DiskEntry, key: BlockKey) -> None:
        try:
            await limited(self.store(entry.node).mend(entry.id, key), PATIENCE)
        except HelioError as error:
            log.debug("could not be told to mend", disk=entry.id, error=error.message)

    async def close(self) -> None:
        """End what is still being told."""
        words = [*self._words]
        for task in words:
            task.cancel()
        await asyncio.gather(*words, return_exceptions=True)


async def limited(work: Awaitable[T], seconds: float) -> T:
    """What ``work`` gives; ``UnreachableError`` when that takes too long."""
    try:
        async with asyncio.timeout(None if math.isinf(seconds) else seconds):
            return await work
    except TimeoutError:
        raise UnreachableError(f"no answer within {seconds:.1f} s") from None
