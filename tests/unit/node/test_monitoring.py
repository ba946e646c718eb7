"""The node's monitor with a database that is made up."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.contents.values import Condition, Probe, ProbeKind, Server, ServerState
from heliograph.model.errors import ResourceError
from heliograph.model.nodes import NodeId
from heliograph.node import monitoring as module
from heliograph.node.monitoring import Monitoring
from heliograph.node.settings.monitor import MonitorSettings

PATIENCE = 30.0
SETTINGS = MonitorSettings(save_s=1.0, slow_start_s=0.0, recheck_s=0.1)


class Store:
    """The database."""

    def __init__(self, *servers: Server) -> None:
        self.number = 1
        self.servers = list(servers)
        self.states: list[ServerState] = []
        self.saved: list[ServerState] = []
        self.away = False
        self.asked = 0

    async def version(self) -> int:
        self.asked += 1
        if self.away:
            raise ResourceError("the database is away")
        return self.number

    async def list_servers(
        self, *, search: str = "", after: str = "", limit: int = 200
    ) -> list[Server]:
        found = sorted((one for one in self.servers if one.name > after), key=lambda one: one.name)
        return found[:limit]

    async def load_states(self) -> list[ServerState]:
        return self.states

    async def save_states(
        self, states: Sequence[ServerState], responses: Sequence[Any] = ()
    ) -> None:
        if self.away:
            raise ResourceError("the database is away")
        self.saved += states

    def add(self, *servers: Server) -> None:
        self.servers += servers
        self.number += 1


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.fixture
async def bus() -> AsyncIterator[Bus]:
    found = await MemoryNetwork().bus(NodeId("b" * 16))
    yield found
    await found.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_PERIOD", 0.02)


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def server(id: int, sock: socket.socket) -> Server:
    probe = Probe(ProbeKind.TCP, 0.1, sock.getsockname()[1])
    return Server(id, f"s{id:04}", "127.0.0.1", probes=(probe,))


def found(monitoring: Monitoring) -> dict[int, Condition]:
    return {id: state.condition for id, state in monitoring.states.items()}


async def test_added_server_is_measured_and_told(bus: Bus, listener: socket.socket) -> None:
    store = Store(server(1, listener))
    monitoring = Monitoring(SETTINGS, bus, store)
    told: list[Mapping[int, ServerState]] = []
    await monitoring.start()
    with monitoring.follow(told.append):
        await until(lambda: found(monitoring) == {1: Condition.UP})
        store.add(server(2, listener))
        await until(lambda: found(monitoring) == {1: Condition.UP, 2: Condition.UP})
        assert told[-1] == monitoring.states
        assert [one.name for one in monitoring.servers.values()] == ["s0001", "s0002"]
        store.servers = [replace(store.servers[0], enabled=False), store.servers[1]]
        store.number += 1
        await until(lambda: found(monitoring) == {2: Condition.UP})
    await monitoring.close()
    assert {one.server for one in store.saved} >= {2}


async def test_all_pages_of_servers_are_read(
    bus: Bus, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGE", 3)
    store = Store(*(server(id, listener) for id in range(1, 9)))
    monitoring = Monitoring(SETTINGS, bus, store)
    await monitoring.start()
    await until(lambda: len(monitoring.states) == 8)
    await monitoring.close()


async def test_database_that_is_away_stops_nothing(bus: Bus, listener: socket.socket) -> None:
    store = Store(server(1, listener))
    store.away = True
    monitoring = Monitoring(SETTINGS, bus, store)
    await monitoring.start()
    await until(lambda: store.asked > 2)
    store.away = False
    await until(lambda: found(monitoring) == {1: Condition.UP})
    store.away = True
    listener.close()
    await until(lambda: found(monitoring) == {1: Condition.DOWN})
    await monitoring.close()


async def test_restart_goes_on_with_what_was_saved(bus: Bus, listener: socket.socket) -> None:
    now = datetime.now(UTC)
    store = Store(replace(server(1, listener), probes=(Probe(ProbeKind.TCP, 3600.0, 9),)))
    store.states = [ServerState(1, Condition.STARTING, 4.0, now, now, {ProbeKind.TCP: 4.0})]
    settings = SETTINGS.model_copy(update={"slow_start_s": 3600.0})
    monitoring = Monitoring(settings, bus, store)
    await monitoring.start()
    await until(lambda: found(monitoring) == {1: Condition.STARTING})
    assert monitoring.states[1].response_ms == 4.0
    await monitoring.close()


async def test_start_without_the_database_goes_on_with_what_others_kept(
    bus: Bus, listener: socket.socket
) -> None:
    now = datetime.now(UTC)
    store = Store(server(1, listener), server(2, listener))
    store.away = True
    monitoring = Monitoring(SETTINGS, bus, store)
    await monitoring.start()
    monitoring.begin_with(store.servers[:1], [ServerState(1, Condition.DOWN, None, now, now)])
    assert found(monitoring) == {1: Condition.DOWN}
    await until(lambda: found(monitoring) == {1: Condition.UP})
    store.away = False
    await until(lambda: found(monitoring) == {1: Condition.UP, 2: Condition.UP})
    monitoring.begin_with([], [])
    assert len(monitoring.states) == 2
    await monitoring.close()


async def test_settings_change_while_it_runs(bus: Bus, listener: socket.socket) -> None:
    monitoring = Monitoring(
        SETTINGS.model_copy(update={"enabled": False}), bus, Store(server(1, listener))
    )
    await monitoring.start()
    await until(lambda: found(monitoring) == {1: Condition.UNKNOWN})
    monitoring.configure(SETTINGS)
    await until(lambda: found(monitoring) == {1: Condition.UP})
    assert monitoring.counts()["probes"] > 0
    await monitoring.close()


async def test_listener_that_fails_takes_the_news_from_nobody(
    bus: Bus, listener: socket.socket
) -> None:
    monitoring = Monitoring(SETTINGS, bus, Store(server(1, listener)))
    told: list[int] = []

    def fails(states: Mapping[int, ServerState]) -> None:
        if states:
            raise ValueError

    monitoring.follow(fails)
    monitoring.follow(lambda states: told.append(len(states)))
    await monitoring.start()
    await until(lambda: 1 in told)
    await monitoring.close()
