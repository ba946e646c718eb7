"""A node alone with its storage, from one start to the next, and a database whose faults are
chosen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import VolumeRecord, Volumes
from heliograph.model.errors import HelioError, UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.storage import Storage
from heliograph.storage.values import Code

BY = Actor("tests", "")


class Database:
    """The catalogue's volumes, with faults of the way there."""

    def __init__(self, volumes: Volumes) -> None:
        self._volumes = volumes
        self.refuses: HelioError | None = None
        """Raised instead of writing."""
        self.breaks = False
        """Whether no answer comes after writing."""
        self.away = False
        """Whether it does not answer."""

    async def put(self, new: VolumeRecord, before: int, action: str, by: Actor) -> None:
        if self.refuses is not None:
            raise self.refuses
        await self._volumes.put(new, before, action, by)
        if self.breaks:
            raise UnreachableError("the connection broke over it")

    async def get(self, name: str) -> VolumeRecord:
        if self.away:
            raise UnreachableError("the database is away")
        return await self._volumes.get(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._volumes, name)


class Site:
    """A node that is alone, from one start to the next; its database outlives it."""

    def __init__(self, path: Path, database: Database) -> None:
        self.path = path
        self.database = database
        (path / "state").mkdir()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Storage]:
        bus = await MemoryNetwork().bus(NodeId("a" * 16))
        volumes: Any = self.database
        connected = Connected(bus, None, "", 0, [])
        storage = Storage(StorageSettings(), self.path / "state", bus, volumes, connected)
        await storage.start()
        try:
            yield storage
        finally:
            await storage.close()
            await bus.close()

    def disk(self, name: str) -> str:
        return str(self.path / name)

    async def prepare(self, storage: Storage, volume: str, name: str) -> None:
        """As the first half of an order, after which nothing more is heard of it."""
        await storage._directories.prepare(volume, {"path": self.disk(name)})

    async def create(self, storage: Storage, volume: str, *names: str, erase: bool = False) -> None:
        await storage.create_volume(
            volume,
            data=1,
            parity=0,
            code=Code.COPIES.value,
            block=1 << 20,
            policy="",
            disks=[{"node": "", "path": self.disk(one), "erase": erase} for one in names],
            by=BY,
        )

    async def add(self, storage: Storage, volume: str, name: str) -> None:
        await storage.add_disk(volume, node="", path=self.disk(name), capacity=None, by=BY)
