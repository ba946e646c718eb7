"""A volume can be removed once it has no titles, whatever a killed server had begun in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import Actor
from heliograph.model.errors import ConflictError
from heliograph.model.nodes import NodeId
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.storage import Storage
from heliograph.storage.values import Code

BY = Actor("tests", "")


class Site:
    """A node that is alone, from one start to the next."""

    def __init__(self, path: Path, catalogue: Catalogue) -> None:
        self._path = path
        self.catalogue = catalogue

    @asynccontextmanager
    async def run(self) -> AsyncIterator[Storage]:
        bus = await MemoryNetwork().bus(NodeId("a" * 16))
        connected = Connected(bus, None, "", 0, [])
        storage = Storage(StorageSettings(), self._path, bus, self.catalogue.volumes, connected)
        await storage.start()
        try:
            yield storage
        finally:
            await storage.close()
            await bus.close()

    async def create(self, storage: Storage) -> None:
        path = str(self._path / "disk")
        await storage.create_volume(
            "films",
            data=1,
            parity=0,
            code=Code.COPIES.value,
            block=1 << 20,
            policy="",
            disks=[{"node": "", "path": path, "capacity": None}],
            by=BY,
        )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    catalogue = await Catalogue.open(f"sqlite:///{tmp_path}/catalogue.db")
    yield Site(tmp_path, catalogue)
    await catalogue.close()


async def test_what_a_killed_server_had_only_claimed_does_not_keep_its_volume(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage)
        writer = storage.volume("films").writer()
        await writer.claim()
        with pytest.raises(ConflictError, match="imported"):
            await storage.remove_volume("films", BY)
    async with site.run() as storage:
        async with asyncio.timeout(10):
            while any(  # noqa: ASYNC110 - of a pass of the reconciler
                serial == 0 for serial in (await storage.volume("films").catalogue())[0].values()
            ):
                await asyncio.sleep(0.02)
        await storage.remove_volume("films", BY)
    assert await site.catalogue.volumes.load() == []


async def test_a_volume_with_titles_stays(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage)
        writer = storage.volume("films").writer()
        await writer.claim()
        await writer.finish(b"")
        with pytest.raises(ConflictError, match="has titles"):
            await storage.remove_volume("films", BY)
