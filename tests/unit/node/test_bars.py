"""What the cluster's catalogue bars reaches nodes that do not have it, and stays there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.dispatcher.contents import Made
from tests.unit.manager.waiting import until

from heliograph.bus import Bus, learning
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents.store import ContentStore
from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher.answers import Wish
from heliograph.dispatcher.barring import Barring, Refusal
from heliograph.dispatcher.policies import Candidate
from heliograph.model.nodes import NodeId
from heliograph.node import bars
from heliograph.node.bars import FILE, Hearing, Telling

HERE, THERE = NodeId("a" * 16), NodeId("b" * 16)
FAR = "198.51.100.1"


class Shelf:
    """What volumes have: names by object."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def titles(self) -> list[Any]:
        return [SimpleNamespace(object=id, name=name) for id, name in self.names.items()]


@dataclass
class Cluster:
    """A node with the catalogue, and one without it."""

    contents: ContentStore
    shelf: Shelf
    telling: Telling
    here: Bus
    barring: Barring
    hearing: Hearing

    async def store(self, object: str, name: str) -> None:
        self.shelf.names[object] = name
        await self.contents.keep_stored([StoredTitle(object, name, "", 60.0)])


@contextlib.asynccontextmanager
async def cluster(directory: Path, barring: Barring | None = None) -> AsyncIterator[Cluster]:
    catalogue = await Catalogue.open("sqlite://")
    network = MemoryNetwork()
    here, there = await network.bus(HERE), await network.bus(THERE)
    shelf, barring = Shelf(), barring or Barring()
    telling = Telling(there, catalogue.contents, shelf, None)
    hearing = Hearing(here, barring, directory)
    await hearing.start()
    await telling.start()
    try:
        yield Cluster(catalogue.contents, shelf, telling, here, barring, hearing)
    finally:
        await hearing.close()
        await telling.close()
        await here.close()
        await there.close()
        await catalogue.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bars, "EVERY", 0.02)
    monkeypatch.setattr(bars, "READING", 1.0)
    monkeypatch.setattr(learning, "RETRY", 0.02)


async def test_what_people_say_of_networks_and_titles_counts_everywhere(tmp_path: Path) -> None:
    async with cluster(tmp_path) as site:
        barring = site.barring
        await site.store("a1", "film")
        await site.store("b2", "other")
        await site.contents.put_network({"cidr": "198.51.100.0/24", "refused": True})
        await until(lambda: barring.why(FAR))
        assert barring.why(FAR) == "clients of your network are not served"
        assert not barring.why("192.0.2.1")
        assert not barring.withheld("a1", "film")
        await site.contents.change_title("film", {"published": False})
        await until(lambda: barring.withheld("a1", "film"))
        await site.contents.change_title("film", {"published": True, "regions": ["eu"]})
        await until(lambda: barring.barred("film", "192.0.2.1"))
        assert not barring.withheld("a1", "film")
        await site.contents.put_network({"cidr": "192.0.2.0/24", "region": "eu/at"})
        await until(lambda: not barring.barred("film", "192.0.2.1"))
        await site.contents.change_title("other", {"name": "renamed"})
        await until(lambda: barring.withheld("b2", "other"))
        await site.contents.change_title("renamed", {"name": "other"})
        await site.contents.remove_network("198.51.100.0/24")
        await until(lambda: not barring.why(FAR) and not barring.withheld("b2", "other"))


async def test_a_portal_with_titles_of_its_own_sends_nobody_on_whom_the_cluster_bars(
    tmp_path: Path,
) -> None:
    dispatcher = Made().title("film").dispatcher()
    wish = Wish((Format.MP4,), False)
    async with cluster(tmp_path, dispatcher.barring) as site:
        assert isinstance(dispatcher.decide("film", wish, FAR, 1.0), Candidate)
        await site.contents.put_network({"cidr": "198.51.100.0/24", "refused": True})
        await until(lambda: site.barring.why(FAR))
        found = dispatcher.decide("film", wish, FAR, 2.0)
        assert isinstance(found, Refusal)
        assert found.status == 403
        assert isinstance(dispatcher.decide("film", wish, "192.0.2.1", 3.0), Candidate)


async def test_it_counts_without_those_who_told_it_and_over_a_restart(tmp_path: Path) -> None:
    async with cluster(tmp_path) as site:
        await site.store("a1", "film")
        await site.contents.change_title("film", {"published": False})
        await site.contents.put_network({"cidr": "198.51.100.0/24", "refused": True})
        kept = tmp_path / FILE
        await until(lambda: kept.exists() and "198.51.100" in kept.read_text())
        await site.telling.close()
        await until(lambda: not site.here.present(bars.BARS))
        assert site.barring.why(FAR)
        assert site.barring.withheld("a1", "film")
        again = Barring()
        anew = Hearing(site.here, again, tmp_path)
        await anew.start()
        assert again.why(FAR)
        assert again.withheld("a1", "film")
        await anew.close()


async def test_a_file_that_says_nothing_bars_nobody(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("contents {}\nnonsense")
    async with cluster(tmp_path) as site:
        assert not site.barring.why(FAR)
        await site.contents.put_network({"cidr": "198.51.100.0/24", "refused": True})
        await until(lambda: site.barring.why(FAR))


async def test_a_long_list_comes_in_parts_and_is_taken_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bars, "PART", 50)
    async with cluster(tmp_path) as site:
        for number in range(20):
            await site.contents.put_network({"cidr": f"198.51.{number}.0/24", "refused": True})
        await until(lambda: all(site.barring.why(f"198.51.{n}.9") for n in range(20)))


async def test_only_what_deviates_is_told(tmp_path: Path) -> None:
    async with cluster(tmp_path) as site:
        await site.store("a1", "film")
        await site.contents.put_network({"cidr": "198.51.100.0/24", "refused": True})
        await until(lambda: site.barring.why(FAR))
        told = site.barring.told
        # Titles that come and go as they are change nothing for others.
        await site.store("b2", "other")
        version = await site.contents.version()
        await until(lambda: site.here.present(bars.BARS)[THERE, THERE]["version"] == version)
        assert site.barring.told.stored == {}
        assert site.barring.told is told
