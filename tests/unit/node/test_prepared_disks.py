"""Directories made disks for an order: free again where it was refused or came to nothing, and kept
where it was done, whatever was answered."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.node.storage_site import BY, Database, Site

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.volumes import VolumeRecord
from heliograph.model.errors import ConflictError, HelioError, PreconditionError, UnreachableError
from heliograph.node.storage import directories, disks, holdings
from heliograph.storage.disks.measure import Speed
from heliograph.storage.volume import changes, encoding


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(disks, "measure", lambda path: Speed(1 << 20, 1 << 20))
    catalogue = await Catalogue.open(f"sqlite:///{tmp_path}/catalogue.db")
    yield Site(tmp_path, Database(catalogue.volumes))
    await catalogue.close()


@pytest.fixture
def over(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is over in which an order may come."""
    monkeypatch.setattr(directories, "WAITING", 0.0)
    monkeypatch.setattr(directories, "ORDERING", 0.0)


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


@pytest.mark.usefixtures("over")
async def test_it_is_let_go_of_when_no_order_comes(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage, "films", "kept")
        await site.prepare(storage, "films", "disk")
        await site.prepare(storage, "others", "more")
        assert len(storage.disks.open) == 3
        with capture_logs() as logs:
            await storage._directories.look()
        assert [one.disk.path for one in storage.disks.open.values()] == [site.disk("kept")]
        told = {one["path"]: one["volume"] for one in logs if "no order" in one["event"]}
        assert told == {site.disk("disk"): "films", site.disk("more"): "others"}
        await site.add(storage, "films", "disk")  # free, as it was
        await site.create(storage, "new", "more", erase=True)
    async with site.run() as storage:
        await storage._directories.look()
        assert len(storage.disks.open) == 3


async def test_it_waits_for_its_order_a_while_also_after_a_start(site: Site) -> None:
    async with site.run() as storage:
        await site.prepare(storage, "films", "disk")
    async with site.run() as storage:
        await storage._directories.look()
        assert len(storage.disks.open) == 1


async def test_it_stays_while_its_order_is_on_its_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directories, "WAITING", 0.0)
    monkeypatch.setattr(directories, "ORDERING", 3000.0)
    async with site.run() as storage:
        await site.prepare(storage, "films", "disk")
        await storage._directories.look()
        assert len(storage.disks.open) == 1


@pytest.mark.usefixtures("over")
async def test_it_stays_while_nobody_says_that_no_volume_has_it(site: Site) -> None:
    async with site.run() as storage:
        await site.prepare(storage, "films", "disk")
        site.database.away = True
        await storage._directories.look()
        assert len(storage.disks.open) == 1
        site.database.away = False
        await storage._directories.look()
        assert storage.disks.open == {}


@pytest.mark.usefixtures("over")
async def test_a_disk_that_was_in_a_volume_stays_though_nobody_knows_that(site: Site) -> None:
    """The database was lost, and what other disks had is not read yet."""
    async with site.run() as storage:
        await site.create(storage, "films", "disk")
        await site.database.remove("films", "", BY)
        del storage.states.known["films"]
        await storage._directories.look()
        assert len(storage.disks.open) == 1


@pytest.mark.usefixtures("over")
async def test_an_order_that_comes_after_all_has_its_disk(site: Site) -> None:
    async with site.run() as storage:
        await site.create(storage, "films", "a")
        wish = {"path": site.disk("b")}
        async with storage._directories.prepared("films", [wish]) as (entry,):
            await storage._directories.look()
            assert len(storage.disks.open) == 1
            await storage.states.change("films", {"do": "add", "disks": [entry]}, BY)
        await storage._settle("films")
        assert len(storage.holdings["films"].local.readers) == 2
    async with site.run() as storage:
        assert len(storage.holdings["films"].local.readers) == 2


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


async def test_what_is_learnt_while_a_node_stops_is_no_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with site.run() as storage:
        await site.create(storage, "films", "disk")
        faults: list[str] = []
        monkeypatch.setattr(holdings.log, "exception", lambda event, **_: faults.append(event))
        await storage._held.stop_looking()
        await storage.set_limits("films", move=7, scrub=None, by=BY)
        await storage._settle("films")
        assert storage.holdings["films"].state.limits.move == 7
        assert faults == []


async def test_another_volume_in_the_place_of_one_takes_nothing_of_it(site: Site) -> None:
    """The database says what a name stands for, whatever disks that were away have."""
    async with site.run() as storage:
        await site.create(storage, "films", "old")
        old = storage.states.known["films"]
        await site.prepare(storage, "films", "new")
        (new,) = [one for one in storage.disks.open if old.disk(one) is None]
        entry = dataclasses.replace(old.disks[0], id=new, path=site.disk("new"))
        state = changes.create("films", old.scheme, [entry], policy=old.policy, seed=old.seed + 1)
        storage.states.take(dataclasses.replace(old, seed=old.seed + 2, version=9))
        assert storage.states.known["films"] == old
        await site.database.remove("films", "old", BY)
        document = encoding.encode(state).decode()
        await site.database.put(VolumeRecord("films", 1, document), 0, "volume.create", BY)
        await storage.states.newest("films")
        await storage._settle("films")
        assert storage.holdings["films"].state == state
        assert [*storage.holdings["films"].local.readers] == [new]
        assert [*storage.disks.open] == [new]
