"""Directories made disks for an order: free again where it was refused or came to nothing, and kept
where it was done, whatever was answered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import VolumeRecord, Volumes
from heliograph.model.errors import ConflictError, HelioError, PreconditionError, UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage import directories, disks
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.storage import Storage
from heliograph.storage.disks.measure import Speed
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


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(disks, "measure", lambda path: Speed(1 << 20, 1 << 20))
    catalogue = await Catalogue.open(f"sqlite:///{tmp_path}/catalogue.db")
    (tmp_path / "state").mkdir()
    yield Site(tmp_path, Database(catalogue.volumes))
    await catalogue.close()


async def test_a_node_killed_over_an_order_takes_the_same_directory_again(site: Site) -> None:
    async with site.run() as storage:
        await site.prepare(storage, "films", "disk")
    async with site.run() as storage:
        assert len(storage.disks.open) == 1  # it was remembered, and nobody's
        await site.create(storage, "films", "disk")
        assert [one.path for one in storage.volume("films").state.disks] == [site.disk("disk")]
        await storage.volume("films").writer().claim()  # it is written to


@pytest.mark.parametrize("erase", [False, True])
async def test_another_volume_takes_it_too_once_no_order_can_come(
    site: Site, monkeypatch: pytest.MonkeyPatch, erase: bool
) -> None:
    async with site.run() as storage:
        await site.prepare(storage, "films", "disk")
        with pytest.raises(ConflictError, match=r"becoming a disk of volume films: .* in \d+ s"):
            await site.create(storage, "others", "disk", erase=True)
        monkeypatch.setattr(directories, "ORDERING", 0.0)
        await site.prepare(storage, "films", "disk")
        if not erase:  # nobody takes a disk of something else unasked
            with pytest.raises(ConflictError, match="volume films, with 0 blocks"):
                await site.create(storage, "others", "disk")
        await site.create(storage, "others", "disk", erase=True)
        (reader,) = storage.disks.open.values()
        assert reader.disk.volume == "others"


async def test_a_disk_that_is_in_a_volume_is_nobody_elses(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage, "films", "disk")
        for erase in (False, True):
            with pytest.raises(ConflictError):
                await site.create(storage, "others", "disk", erase=erase)
        with pytest.raises(ConflictError):
            await site.add(storage, "films", "disk")
        assert len(storage.disks.of("films")) == 1


async def test_it_is_not_taken_over_while_nobody_knows_the_state(site: Site) -> None:
    async with site.run() as storage:
        await site.prepare(storage, "films", "disk")
        site.database.away = True
        with pytest.raises(UnreachableError):
            await site.create(storage, "films", "disk")
        assert len(storage.disks.open) == 1


async def test_a_refused_order_leaves_its_directories_free(site: Site) -> None:
    async with site.run() as storage:
        site.database.refuses = PreconditionError("others were first")
        with pytest.raises(PreconditionError):
            await site.create(storage, "films", "a", "b")
        assert storage.disks.open == {}
        assert storage.disks.volumes() == set()
        site.database.refuses = None
        await site.create(storage, "others", "a", erase=True)


async def test_a_disk_of_an_order_whose_answer_was_lost_stays_in_its_volume(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage, "films", "a")
        site.database.breaks = True
        with pytest.raises(UnreachableError):
            await site.add(storage, "films", "b")
        site.database.breaks = False
        await storage.states.newest("films")
        await storage._settle("films")
        assert len(storage.volume("films").state.disks) == 2
        assert len(storage.holdings["films"].local.readers) == 2
    async with site.run() as storage:
        assert len(storage.holdings["films"].local.readers) == 2


async def test_what_failed_in_the_middle_is_let_go_of(site: Site) -> None:
    async with site.run() as storage:
        (site.path / "file").write_text("")
        with pytest.raises(HelioError):
            await site.create(storage, "films", "a", "file")
        assert storage.disks.open == {}
