"""A name is one title's: of what is there, what is imported and what is recorded."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.model.errors import ConflictError, MalformedError, WrongStateError
from heliograph.model.nodes import NodeId
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.storage import Storage


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
