"""One volume at this node: its disks that are here, the view of all of it, and what mends it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import structlog

from heliograph.model.nodes import NodeId
from heliograph.node.storage.disks import LocalDisks
from heliograph.storage.reading import DiskReader
from heliograph.storage.sharing import SharedBlocks
from heliograph.storage.values import BlockKey, DiskId
from heliograph.storage.volume import encoding
from heliograph.storage.volume.claims import Claims
from heliograph.storage.volume.progress import Event, Lost
from heliograph.storage.volume.reconciler import Reconciler
from heliograph.storage.volume.state import VolumeState
from heliograph.storage.volume.stores import LocalStore, Peers
from heliograph.storage.volume.volume import Volume

log = structlog.get_logger(__name__)

#: Seconds until a reconciler that failed is begun again.
AGAIN = 5.0


class Holding:
    """Made when a volume becomes known; closed when it is no more."""

    def __init__(
        self,
        node: NodeId,
        state: VolumeState,
        disks: LocalDisks,
        peers: Peers,
        blocks: SharedBlocks,
        claims: Claims,
        refresh: Callable[[], Awaitable[VolumeState]],
        told: Callable[[str, Event], None],
    ) -> None:
        """``told`` hears the name of the volume and what its reconciler tells."""
        self.name = state.name
        self._node = node
        self._disks = disks
        self._told = told
        self.local = LocalStore(node, self._readers(state).values())
        self.volume = Volume(
            node, state, self.local, peers, refresh=refresh, shared=blocks, claims=claims
        )
        self.reconciler: Reconciler | None = None
        """None: none of its disks is here."""
        self.followed = state.version
        """The version by which the disks here are looked after; reads may know of a newer one."""
        self._seen: set[DiskId] = set()
        """Disks that are, or were, of the volume."""
        self.counters: Counter[str] = Counter(damaged=0, mended=0, lost=0)
        self._task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._reconcile()

    @property
    def state(self) -> VolumeState:
        """As it is known here."""
        return self.volume.state

    async def update(self, state: VolumeState) -> None:
        """Go on by a newer state."""
        await self.volume.update(state)
        self.followed = self.state.version
        await self.refresh()

    async def begin(self) -> None:
        """Keep the state on the disks that are here, and take these."""
        await self.local.keep_state(encoding.encode(self.state), self.state.version)
        await self.refresh()

    async def refresh(self) -> None:
        """Take the disks that are here now, and let go of those that have left the volume."""
        entries = self.state.disks_of(self._node)
        mine = {one.id for one in entries}
        await self._disks.take(
            self.name, (one for one in entries if one.id not in self._disks.open)
        )
        self._seen |= {one.id for one in self.state.disks}
        for disk in [*self._disks.of(self.name)]:
            if disk in self._seen and disk not in mine:  # else it is about to come
                self.local.readers.pop(disk, None)
                await self._disks.release(disk)
                log.info("disk left its volume", volume=self.name, disk=disk)
        found = self._readers(self.state)
        if found.keys() != self.local.readers.keys():
            self.local.readers.clear()
            self.local.readers.update(found)
            self.local.update(self.state)
        self._reconcile()

    def _readers(self, state: VolumeState) -> dict[DiskId, DiskReader]:
        """Disks of the volume that are here; one that was only prepared is none of them yet."""
        mine = {one.id for one in state.disks_of(self._node)}
        found = self._disks.of(state.name)
        return {disk: reader for disk, reader in found.items() if disk in mine}

    def wake(self) -> None:
        """Something was written, or has changed."""
        if self.reconciler is not None:
            self.reconciler.wake()

    async def close(self) -> None:
        """End; disks stay open."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.volume.close()

    def _reconcile(self) -> None:
        if not self.local.readers:
            return
        if self.reconciler is None:
            self.reconciler = Reconciler(self.volume, listener=self._heard)
            self._task = asyncio.create_task(self._run(), name=f"volume {self.name}")
        self.reconciler.wake()

    async def _run(self) -> None:
        while self.reconciler is not None:
            try:
                await self.reconciler.run()
            except Exception:
                log.exception("volume not looked after", volume=self.name)
                await asyncio.sleep(AGAIN)

    def _heard(self, event: Event) -> None:
        self.counters[type(event).__name__.lower()] += 1
        if isinstance(event, Lost):
            _log_lost(self.name, event.disk, event.key)
        self._told(self.name, event)


def _log_lost(volume: str, disk: DiskId, key: BlockKey) -> None:
    log.error(
        "block lost",
        volume=volume,
        disk=disk,
        object=key.object,
        group=key.group,
        member=key.member,
    )
