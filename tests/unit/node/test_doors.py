"""Nodes tell where they serve titles, and are servers of the catalogue then."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.contents.values import Probe, ProbeKind
from heliograph.dispatcher.doors import Door
from heliograph.model.errors import ConflictError, TooLargeError
from heliograph.model.nodes import NodeId
from heliograph.node.storage.doors import ANEW, DOOR, Doors
from heliograph.storage.values import new_object
from heliograph.vod.manifest import BlockEntry, Manifest

HERE = Door("here", "http://192.0.2.1:8080", "rtsp://192.0.2.1:8554")
THERE = Door("there", "http://[2001:db8::1]:8080", "rtsp://[2001:db8::1]:8554")
BLOCKS = (BlockEntry(0, 1_000_000, 1000, ()), BlockEntry(1_000_000, 2_000_000, 3000, ()))
FILM = Manifest("film", new_object(), "Film", 2_000_000, (), BLOCKS, (), 0)


class Servers:
    def __init__(self) -> None:
        self.given: list[Mapping[str, Any]] = []

    async def add_server(self, given: Mapping[str, Any]) -> object:
        if any(one["name"] == given["name"] for one in self.given):
            raise ConflictError("there is one", subject=given["name"])
        self.given.append(given)
        return None


class Stage:
    """Two nodes that see each other."""

    def __init__(self, here: Bus, there: Bus) -> None:
        self.now = 0.0
        self.shelf: Any = SimpleNamespace(looked=True, titles=lambda: [FILM])
        self.servers = Servers()
        self.changes = 0
        self.bus = here
        self.here = self._doors(here, self.servers, HERE)
        self.there = self._doors(there, None, THERE)

    def _doors(self, bus: Bus, servers: Servers | None, own: Door | None, **more: Any) -> Doors:
        return Doors(bus, self.shelf, servers, own=own, clock=lambda: self.now, **more)

    async def seen(self, count: int) -> None:
        """Wait until the first node sees so many doors."""
        news = asyncio.Event()
        with self.bus.watch(DOOR, lambda event: news.set()):
            async with asyncio.timeout(5):
                while len(self.bus.present(DOOR)) != count:
                    news.clear()
                    await news.wait()


@pytest.fixture
async def stage() -> Stage:
    network = MemoryNetwork()
    return Stage(await network.bus(NodeId("a" * 16)), await network.bus(NodeId("b" * 16)))


async def test_nodes_that_are_seen_become_servers(stage: Stage) -> None:
    await stage.here.look()
    assert stage.here.all() == ()  # alone it sends nobody to itself
    assert stage.servers.given == []
    await stage.there.look()
    await stage.seen(2)
    assert stage.here.all() == (HERE, THERE)
    await stage.here.look()
    assert stage.servers.given == [
        {
            "name": "here",
            "host": "192.0.2.1",
            "make": "heliograph",
            "probes": [Probe(ProbeKind.RTSP, 2.0, 8554)],
        },
        {
            "name": "there",
            "host": "2001:db8::1",
            "make": "heliograph",
            "probes": [Probe(ProbeKind.RTSP, 2.0, 8554)],
        },
    ]
    stage.servers.given.pop()
    await stage.here.look()
    assert len(stage.servers.given) == 1  # it is not asked for each second
    stage.now += ANEW
    await stage.here.look()
    assert len(stage.servers.given) == 2
    await stage.there.close()
    await stage.seen(1)
    assert stage.here.all() == ()


async def test_a_catalogue_that_takes_no_more_is_asked_again_later(stage: Stage) -> None:
    async def full(given: Mapping[str, Any]) -> object:
        stage.servers.given.append(given)
        raise TooLargeError("1000 servers")

    stage.servers.add_server = full  # type: ignore[method-assign]
    await stage.here.look()
    await stage.there.look()
    await stage.seen(2)
    for _ in range(3):
        await stage.here.look()
    assert len(stage.servers.given) == 2
    stage.now += ANEW
    await stage.here.look()
    assert len(stage.servers.given) == 4


async def test_a_node_is_shown_when_it_knows_its_titles(stage: Stage) -> None:
    stage.shelf.looked = False
    await stage.here.look()
    assert stage.bus.present(DOOR) == {}
    stage.shelf.looked = True
    await stage.here.look()
    await stage.seen(1)


async def test_who_sends_nobody_elsewhere_has_no_doors(stage: Stage) -> None:
    await stage.here.look()
    await stage.there.look()
    await stage.seen(2)
    quiet = stage._doors(stage.bus, stage.servers, None, sends=False)
    await quiet.look()
    assert quiet.all() == ()
    assert stage.servers.given == []


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        {"http": "", "rtsp": ""},
        {"http": 7, "rtsp": "rtsp://a:1"},
        {"http": "ftp://a:1", "rtsp": "rtsp://a:1"},
        {"http": "http://a", "rtsp": ""},
        {"http": "http://a:1/x", "rtsp": ""},
        {"http": "http://a:99999", "rtsp": ""},
    ],
)
async def test_what_says_no_address_is_no_door(stage: Stage, value: Any) -> None:
    await stage.here.look()
    await stage.there.look()
    stage.bus.announce(DOOR, "odd", value)
    await stage.seen(3)
    assert stage.here.all() == (HERE, THERE)


async def test_titles_are_told_with_the_rate_of_a_player(stage: Stage) -> None:
    assert stage.here.titles() == {FILM.object: ("film", 16_000)}
    grown = replace(FILM, blocks=(*BLOCKS, BLOCKS[1]), duration_us=2_000_000)
    stage.shelf.titles = lambda: [grown]
    assert stage.here.titles() == {FILM.object: ("film", 28_000)}
    stage.shelf.titles = list
    assert stage.here.titles() == {}
