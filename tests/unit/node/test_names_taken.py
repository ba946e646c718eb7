"""A name is one title's: of what is there, what is imported and what is recorded."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.unit.node.storage_site import BY, Database, Site

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.catalogue import Catalogue
from heliograph.model.errors import ConflictError, MalformedError, NotFoundError, WrongStateError
from heliograph.model.media import Codec, Kind, Track
from heliograph.model.nodes import NodeId
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.names import COMING
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.storage import Storage
from heliograph.storage.values import new_object
from heliograph.vod.encoding import encode_manifest
from heliograph.vod.manifest import Manifest, TitleTrack


@pytest.fixture
async def storage(tmp_path: Path) -> Storage:
    """Of a node with a volume that is never written to, and a channel that is not on air."""
    bus = await MemoryNetwork().bus(NodeId("a" * 16))
    made = Storage(StorageSettings(), tmp_path, bus, None, Connected(bus, None, "", 0, []))
    volume: Any = SimpleNamespace(state=SimpleNamespace(name="main"))
    channels: Any = SimpleNamespace(get=lambda name: SimpleNamespace(tracks=()), find=None)
    made.record(channels)
    assert made.recordings is not None
    for one in (made.imports, made.recordings):
        one._volume = lambda name: volume
    return made


def receive(storage: Storage, name: str, **more: Any) -> None:
    storage.imports.begin(name, title="", volume="", file="film.mp4", size=1, **more)


async def record(storage: Storage, name: str, title: str = "") -> None:
    assert storage.recordings is not None
    await storage.recordings.begin("yard", name, title=title)


async def test_what_is_imported_is_not_recorded_nor_imported_again(storage: Storage) -> None:
    receive(storage, "film")
    with pytest.raises(ConflictError, match="film already"):
        receive(storage, "film")
    with pytest.raises(ConflictError, match="film already"):
        await record(storage, "film")
    with pytest.raises(WrongStateError, match="not on air"):  # as far as names go it may
        await record(storage, "other")


async def test_what_is_recorded_is_not_imported_nor_recorded_again(storage: Storage) -> None:
    assert storage.recordings is not None
    storage.recordings._beginning.add("monday")
    with pytest.raises(ConflictError, match="monday already"):
        receive(storage, "monday")
    with pytest.raises(ConflictError, match="monday already"):
        await record(storage, "monday")
    receive(storage, "tuesday")


async def test_what_cannot_be_a_title_is_refused_alike(storage: Storage) -> None:
    for name, title in (("a b", ""), ("", ""), ("good", "x" * 201)):
        with pytest.raises(MalformedError):
            storage.imports.begin(name, title=title, volume="", file="film.mp4", size=1)
        with pytest.raises(MalformedError):
            await record(storage, name, title)
    with pytest.raises(MalformedError, match="renditions"):
        receive(storage, "film", renditions=16)


async def test_of_two_titles_of_one_name_the_later_has_another_and_is_told_of(
    tmp_path: Path,
) -> None:
    """Nodes that did not see each other finished both."""
    catalogue = await Catalogue.open(f"sqlite:///{tmp_path}/catalogue.db")
    site = Site(tmp_path, Database(catalogue.volumes))
    async with site.run() as storage:
        await site.create(storage, "films", "disk")
        made = []
        for created in (2.0, 1.0):
            writer = storage.volume("films").writer()
            await writer.claim()
            track = TitleTrack(Track(0, Kind.AUDIO, Codec.PCMU, 8000, 0, 1, "PCMU"), 0, 0, 0)
            title = Manifest("film", writer.object, "", 0, (track,), (), (), 0, created=created)
            await writer.finish(encode_manifest(title))
            made.append(title)
        later, older = made
        with capture_logs() as logs:
            await storage.shelf.look()
            await storage.shelf.look()
        name = f"film-{later.object[:8]}"
        told = {one["name"]: (one["object"], one["given_name"]) for one in await storage.titles()}
        assert told == {"film": (older.object, "film"), name: (later.object, "film")}
        (said,) = (one for one in logs if one["event"].startswith("two titles of one name"))
        assert (said["log_level"], said["title"], said["later"]) == ("warning", "film", name)
        for one in made:  # whoever plays it goes on
            assert (found := storage.shelf.current(one)) is not None
            assert found.object == one.object
        assert storage.shelf.current(replace(older, object=new_object())) is None
        assert storage.shelf.other_name(later.object) == "film"
        assert storage.shelf.other_name(older.object) == f"film-{older.object[:8]}"
        with pytest.raises(ConflictError):
            storage.imports.begin(name, title="", volume="", file="film.mp4", size=1)
        # Each can be removed without the other, also by one who says it twice.
        await storage.remove_title("film", BY)
        with pytest.raises(NotFoundError):
            await storage.remove_title("film", BY)
        assert [one["object"] for one in await storage.titles()] == [later.object]
        assert storage.shelf.find(name) is not None
        # In the end it has the name alone.
        storage.shelf._renamed = dict.fromkeys(storage.shelf._renamed, 0.0)
        await storage.shelf.look()
        assert storage.shelf.find("film") is not None
        assert storage.shelf.find(name) is None
    await catalogue.close()


class Pair:
    """Two nodes that see each other; what volumes have they see as one."""

    def __init__(self, network: MemoryNetwork, root: Path) -> None:
        self.network, self.root = network, root
        self.nodes: list[Storage] = []

    async def node(self, letter: str) -> Storage:
        bus = await self.network.bus(NodeId(letter * 16))
        path = self.root / letter
        made = Storage(StorageSettings(), path, bus, None, Connected(bus, None, "", 0, []))
        volume: Any = SimpleNamespace(state=SimpleNamespace(name="main"))
        made.imports._volume = lambda name: volume
        self.nodes.append(made)
        return made

    async def seen(self, name: str, count: int) -> None:
        """Wait until both see so many who have a name."""
        async with asyncio.timeout(10):
            while any(  # noqa: ASYNC110 - of another node
                sum(one == name for _, one in node._bus.present(COMING)) != count
                for node in self.nodes
            ):
                await asyncio.sleep(0.01)


@pytest.fixture
async def pair(tmp_path: Path) -> Pair:
    made = Pair(MemoryNetwork(), tmp_path)
    await made.node("a")
    await made.node("b")
    return made


async def test_what_comes_at_one_node_is_refused_at_all(pair: Pair) -> None:
    first, second = pair.nodes
    upload = first.imports.begin("film", title="", volume="", file="film.mp4", size=1)
    await pair.seen("film", 1)
    with pytest.raises(ConflictError, match="film already"):
        receive(second, "film")
    receive(second, "other")
    await first.imports.give_up(upload.found, "failed", "")
    await pair.seen("film", 0)
    receive(second, "film")


async def test_of_two_who_began_at_once_the_first_has_the_name(pair: Pair) -> None:
    first, second = (node._names for node in pair.nodes)
    object, other = new_object(), new_object()
    held = second.hold("film", 2.0), second.hold("film", 7.0)
    first.hold("film", 1.0)
    await pair.seen("film", 2)
    await first.confirm("film", object)
    with pytest.raises(ConflictError, match="film already"):
        await second.confirm("film", other)
    held[0].close()
    await pair.seen("film", 2)
    held[1].close()
    await pair.seen("film", 1)


async def test_a_title_that_was_finished_meanwhile_has_the_name(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, shelf = pair.nodes[0]._names, pair.nodes[0].shelf
    finished = SimpleNamespace(object=new_object())
    looked: list[bool] = []

    async def look() -> None:
        looked.append(True)

    monkeypatch.setattr(shelf, "look", look)
    monkeypatch.setattr(shelf, "find", lambda name: finished if looked else None)
    names.hold("film")
    with pytest.raises(ConflictError, match="film already"):
        await names.confirm("film", new_object())
    await names.confirm("film", finished.object)  # its own, which grew before
