"""Monitors with servers that are made up, over a bus in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.contents.values import Condition, Probe, ProbeKind, Server, ServerState
from heliograph.dispatcher.monitor import monitor as module
from heliograph.dispatcher.monitor import rounds, tasks
from heliograph.dispatcher.monitor.health import HealthOptions, Outcome
from heliograph.dispatcher.monitor.monitor import Monitor, MonitorOptions
from heliograph.model.errors import ResourceError
from heliograph.model.nodes import NodeId

PATIENCE = 30.0
QUICK = MonitorOptions(HealthOptions(recheck=0.02, slow_start=0.2), save_period=0.05)
UNKNOWN, UP, STARTING, DOWN = (
    Condition.UNKNOWN,
    Condition.UP,
    Condition.STARTING,
    Condition.DOWN,
)
DB = "d" * 16


def server(id: int = 1, interval: float = 0.1, **more: Any) -> Server:
    return Server(id, f"s{id}", f"h{id}", probes=(Probe(ProbeKind.TCP, interval),), **more)


class World:
    """Servers that answer, refuse, or hang."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.hanging: set[str] = set()
        self.raising: set[str] = set()
        self.asked: list[tuple[float, str]] = []
        self.running = self.most = self.hung = 0
        self.closed = False
        self.pause = 0.0

    def close(self) -> None:
        assert not self.running
        self.closed = True

    def keep(self, hosts: set[str]) -> None: ...

    def counters(self) -> Mapping[str, int]:
        return {}

    async def probe(self, host: str, probe: Probe, timeout: float) -> Outcome:
        self.asked.append((time.monotonic(), host))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.pause)
            if host in self.raising:
                raise ValueError(host)
            if host in self.hanging:
                self.hung += 1
                await asyncio.sleep(timeout)
                return Outcome(None, reason="no answer", silent=True)
            if host in self.dead:
                return Outcome(None, reason="refused")
            return Outcome(5.0)
        finally:
            self.running -= 1


class Database:
    """Takes what is saved."""

    def __init__(self) -> None:
        self.away = False
        self.calls = 0
        self.states: dict[int, ServerState] = {}
        self.rows: list[tuple[Any, ...]] = []

    async def save(self, states: Any, rows: Any) -> None:
        self.calls += 1
        if self.away:
            raise ResourceError("the database is away")
        self.states |= {one.server: one for one in states}
        self.rows += rows


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def found(monitor: Monitor) -> dict[int, Condition]:
    return {id: state.condition for id, state in monitor.states.items()}


@asynccontextmanager
async def running(
    bus: Bus, world: World, *servers: Server, options: MonitorOptions = QUICK, **more: Any
) -> AsyncIterator[Monitor]:
    monitor = Monitor(bus, world, options, of=DB, **more)
    monitor.start()
    monitor.replace_servers(servers)
    try:
        yield monitor
    finally:
        await monitor.close()


@pytest.fixture
async def network() -> MemoryNetwork:
    return MemoryNetwork()


@pytest.fixture
async def bus(network: MemoryNetwork) -> AsyncIterator[Bus]:
    made = await network.bus(NodeId("a" * 16))
    yield made
    await made.close()


@pytest.fixture
async def other_bus(network: MemoryNetwork) -> AsyncIterator[Bus]:
    made = await network.bus(NodeId("b" * 16))
    yield made
    await made.close()


async def test_new_server_is_measured_at_once(bus: Bus) -> None:
    world = World()
    async with running(bus, world, server(1, 3600.0)) as monitor:
        await until(lambda: found(monitor) == {1: UP})
        began = time.monotonic()
        monitor.replace_servers([server(1, 3600.0), server(2, 3600.0)])
        await until(lambda: found(monitor) == {1: UP, 2: UP})
        assert time.monotonic() - began < 10
        assert [host for _, host in world.asked] == ["h1", "h2"]


async def test_death_and_return_are_told(bus: Bus) -> None:
    world, told = World(), []

    def changed(states: Mapping[int, ServerState]) -> None:
        if not told or told[-1] is not states[1].condition:
            told.append(states[1].condition)

    async with running(bus, world, server(), changed=changed) as monitor:
        await until(lambda: told[-1:] == [UP])
        world.dead = {"h1"}
        await until(lambda: told[-1] is DOWN)
        assert monitor.states[1].reason == "TCP: refused"
        world.dead = set()
        await until(lambda: told[-1] is UP)
    assert told == [UNKNOWN, UP, DOWN, STARTING, UP]


async def test_interval_changes_while_it_runs(bus: Bus) -> None:
    world = World()
    async with running(bus, world, server(1, 3600.0)) as monitor:
        await until(lambda: len(world.asked) == 1)
        monitor.replace_servers([server(1, 0.1)])
        await until(lambda: len(world.asked) >= 4)
        monitor.replace_servers([server(1, 3600.0)])
        await until(lambda: not world.running)
        before = len(world.asked)
        await asyncio.sleep(0.3)
        assert len(world.asked) <= before + 1


async def test_removed_server_vanishes_and_is_asked_no_more(bus: Bus) -> None:
    world = World()
    world.hanging = {"h1"}
    async with running(bus, world, server(1), server(2)) as monitor:
        await until(lambda: found(monitor) == {1: DOWN, 2: UP})
        monitor.replace_servers([server(2), server(3, enabled=False)])
        assert set(monitor.states) == {2}
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        before = len([1 for _, host in world.asked if host == "h1"])
        await until(lambda: len(world.asked) > before + 6)
        assert len([1 for _, host in world.asked if host == "h1"]) == before


async def test_probe_that_fails_unexpectedly_is_a_miss_and_the_next_one_comes(bus: Bus) -> None:
    world = World()
    world.raising = {"h1"}
    async with running(bus, world, server()) as monitor:
        await until(lambda: found(monitor) == {1: DOWN})
        world.raising = set()
        await until(lambda: found(monitor) == {1: UP})


async def test_task_that_dies_is_started_again(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "REVIVE", 0.01)
    world = World()
    async with running(bus, world, server()) as monitor:
        await until(lambda: found(monitor) == {1: UP})
        before = len(asyncio.all_tasks())
        take, broken = monitor._rounds._take, [True]

        def fails_once(*given: Any) -> bool:
            if broken:
                broken.clear()
                raise RuntimeError("a fault of the program")
            return take(*given)

        monkeypatch.setattr(monitor._rounds, "_take", fails_once)
        await until(lambda: not broken)
        count = len(world.asked)
        await until(lambda: len(world.asked) > count + 1)
        assert monitor.counts()["tasks_failed"] == 1
        monitor.replace_servers([])
        await until(lambda: len(asyncio.all_tasks()) <= before - 1)


async def test_probes_at_a_time_are_bounded(bus: Bus) -> None:
    world = World()
    world.pause = 0.01
    options = replace(QUICK, concurrency=3)
    servers = [server(id) for id in range(20)]
    async with running(bus, world, *servers, options=options) as monitor:
        await until(lambda: set(found(monitor).values()) == {UP})
        assert world.most == 3
        assert monitor.counters["waited"] > 0


async def test_thousand_servers_are_spread(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "FIRST_A_SECOND", 2000)
    world = World()
    servers = [server(id, 3600.0) for id in range(1100)]
    async with running(bus, world, *servers) as monitor:
        await until(lambda: list(found(monitor).values()).count(UP) == 1000)
        assert monitor.counters["unwatched"] == 100
        first, last = world.asked[0][0], world.asked[-1][0]
        assert last - first > 0.3


async def test_late_probes_of_a_stalled_process_are_made_again(bus: Bus) -> None:
    world = World()
    async with running(bus, world, server()) as monitor:
        await until(lambda: found(monitor) == {1: UP})
        world.hanging = {"h1"}
        await until(lambda: world.hung)
        time.sleep(0.4)  # noqa: ASYNC251 - the whole process, as when a machine is frozen
        world.hanging = set()
        await until(lambda: monitor.counters["stalled"] == 1)
        await until(lambda: monitor.counters["probes"] > 3)
        assert found(monitor) == {1: UP}
        assert monitor.counters["misses"] == 0


async def test_options_change_while_it_runs(bus: Bus) -> None:
    world = World()
    async with running(bus, world, server()) as monitor:
        await until(lambda: found(monitor) == {1: UP})
        monitor.configure(replace(QUICK, measures=False))
        await until(lambda: not world.running)
        world.dead = {"h1"}
        await asyncio.sleep(0.3)
        assert found(monitor) == {1: UP}
        monitor.configure(QUICK)
        await until(lambda: found(monitor) == {1: DOWN})


# --- saving


async def test_states_and_times_are_saved(bus: Bus) -> None:
    database = Database()
    async with running(bus, World(), server(1), server(2), save=database.save) as monitor:
        await until(lambda: len(database.rows) > 4)
        assert database.states[1] == replace(
            monitor.states[1],
            measured=database.states[1].measured,
        )
        server_id, kind, at, ms = database.rows[0]
        assert (server_id in (1, 2), kind, ms) == (True, ProbeKind.TCP, 5.0)
        assert abs(at - time.time()) < 60


async def test_database_that_is_away_loses_nothing_of_a_moment(bus: Bus) -> None:
    database = Database()
    database.away = True
    world = World()
    async with running(bus, world, server(), save=database.save) as monitor:
        await until(lambda: database.calls > 3)
        assert found(monitor) == {1: UP}
        database.away, back = False, time.time()
        await until(lambda: database.rows)
        assert database.rows[0][2] < back
        assert monitor.counts()["save_failures"] >= 3
        assert 1 in database.states


async def test_last_words_are_saved_at_the_end(bus: Bus) -> None:
    database = Database()
    options = replace(QUICK, save_period=3600.0)
    async with running(bus, World(), server(), save=database.save, options=options) as monitor:
        await until(lambda: found(monitor) == {1: UP})
        assert not database.calls
    assert database.states[1].condition is UP


async def test_restart_begins_with_what_was_saved(bus: Bus) -> None:
    now = datetime.now(UTC)
    world = World()
    world.pause = 0.1
    monitor = Monitor(bus, world, QUICK, of=DB)
    monitor.remember([ServerState(1, DOWN, None, now, now)])
    monitor.start()
    monitor.replace_servers([server(1), server(2)])
    assert found(monitor) == {1: DOWN, 2: UNKNOWN}
    await monitor.close()


# --- several


async def test_two_monitors_agree(bus: Bus, other_bus: Bus) -> None:
    near, far = World(), World()
    async with running(bus, near, server()) as one, running(other_bus, far, server()) as two:
        await until(lambda: found(one) == found(two) == {1: UP})
        far.dead = {"h1"}  # for one of the two only: a tie, which is for the worse
        await until(lambda: found(one) == found(two) == {1: DOWN})
        assert one.states[1].reason == "TCP: refused (1 of 2 monitors)"
        far.dead = set()
        await until(lambda: found(one) == found(two) == {1: UP})


async def test_views_of_many_servers_come_in_parts(
    bus: Bus, other_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PART", 3)
    monkeypatch.setattr(module, "PUBLISH_PERIOD", 0.0)
    servers = [server(id, 3600.0) for id in range(10, 20)]
    async with running(bus, World(), *servers) as one:
        await until(lambda: set(found(one).values()) == {UP})
        async with running(other_bus, World(), *servers) as two:  # heard nothing of what changed
            await until(lambda: len(two.views()) == 2 and len(two.views()[1].states) == 10)
            assert {s.condition for s in two.views()[1].states.values()} == {UP}
            one.replace_servers(servers[::2])
            await until(lambda: set(two.views()[1].states) == {10, 12, 14, 16, 18})


async def test_three_monitors_overrule_one(
    network: MemoryNetwork, bus: Bus, other_bus: Bus
) -> None:
    third_bus = await network.bus(NodeId("c" * 16))
    worlds = World(), World(), World()
    worlds[2].dead = {"h1"}
    async with (
        running(bus, worlds[0], server()) as one,
        running(other_bus, worlds[1], server()) as two,
        running(third_bus, worlds[2], server()) as three,
    ):
        await until(lambda: all(found(each) == {1: UP} for each in (one, two, three)))
        await until(lambda: len(three.views()) == 3)
        await until(lambda: three.views()[0].states[1].condition is DOWN)
        await until(lambda: three.states[1].reason == "TCP: refused (1 of 3 monitors)")
        assert [found(each) for each in (one, two, three)] == [{1: UP}] * 3
    await third_bus.close()


async def test_monitor_that_lost_its_network_has_no_voice(bus: Bus, other_bus: Bus) -> None:
    servers = [server(id) for id in (1, 2, 3)]
    well, cut = World(), World()
    async with running(bus, well, *servers) as one, running(other_bus, cut, *servers) as two:
        await until(lambda: set(found(one).values()) == set(found(two).values()) == {UP})
        cut.hanging = {"h1", "h2", "h3"}
        await until(lambda: two.doubt)
        well.dead = {"h1"}
        await until(lambda: found(two) == {1: DOWN, 2: UP, 3: UP})
        assert found(one) == found(two)


async def test_voice_of_a_dead_monitor_ends_with_its_presence(
    network: MemoryNetwork, bus: Bus, other_bus: Bus
) -> None:
    world, blind = World(), World()
    blind.dead = {"h1"}
    async with running(bus, world, server()) as one, running(other_bus, blind, server()):
        one._views._fresh = 3600.0
        await until(lambda: found(one) == {1: DOWN})
        network.links[1].fail()
        await until(lambda: found(one) == {1: UP})
        assert len(one.views()) == 1


async def test_node_that_does_not_measure_believes_the_others(bus: Bus, other_bus: Bus) -> None:
    world, none = World(), World()
    idle = replace(QUICK, measures=False)
    async with (
        running(bus, world, server()),
        running(other_bus, none, server(), options=idle) as two,
    ):
        await until(lambda: found(two) == {1: UP})
        assert two.states[1].response_ms == 5.0
        assert not none.asked


async def test_only_one_saves_and_the_next_one_when_it_is_gone(
    network: MemoryNetwork, bus: Bus, other_bus: Bus
) -> None:
    first, second = Database(), Database()
    async with running(other_bus, World(), server(), save=second.save):
        await until(lambda: second.calls > 1)
        async with running(bus, World(), server(), save=first.save) as one:
            await until(lambda: len(one.views()) == 2 and first.calls > 1)
            await until(lambda: len(network.links) == 2)
            await asyncio.sleep(0.2)  # the other hears of it
            calls = second.calls
            more = first.calls + 4
            await until(lambda: first.calls > more)
            assert second.calls <= calls + 1
        calls = second.calls
        await until(lambda: second.calls > calls + 1)


async def test_monitors_of_other_databases_are_not_listened_to(bus: Bus, other_bus: Bus) -> None:
    blind = World()
    blind.dead = {"h1"}
    stranger = Monitor(other_bus, blind, QUICK, of="e" * 16)
    stranger.start()
    stranger.replace_servers([server()])
    async with running(bus, World(), server()) as one:
        await until(lambda: found(stranger) == {1: DOWN} and found(one) == {1: UP})
        assert len(one.views()) == len(stranger.views()) == 1
    await stranger.close()


async def test_message_of_another_version_is_counted(bus: Bus, other_bus: Bus) -> None:
    async with running(bus, World(), server()) as one:
        other_bus.publish(f"monitor/{DB}", {"surprise": 1})
        await until(lambda: one.counters["unread"] == 1)
