"""Managers, portals and units together: real channels, links and places."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.live.mesh_site import NAME, VIDEO, Node, OnAir, until
from tests.unit.manager.leases import Database
from tests.unit.manager.site import EVA, QUICK
from tests.unit.manager.test_unit import Told, agent_of

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.rights import Action, Reason
from heliograph.live.grants import Grant
from heliograph.live.links import LinkOptions
from heliograph.live.publish import PublishKind
from heliograph.manager.client import Managers
from heliograph.manager.invariants import check
from heliograph.manager.shell import Manager
from heliograph.manager.unit import UnitAgent
from heliograph.manager.view import Channel
from heliograph.model.errors import BusyError
from heliograph.model.nodes import NodeId

#: Seconds without an order after which the cluster is what it is meant to be: ten of its ticks.
CALM = 0.5


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("heliograph.manager.unit.PERIOD", 0.05)
    monkeypatch.setattr("heliograph.manager.carrying.SWITCH", 1.0)


@dataclass
class Machine:
    node: Node
    agent: UnitAgent

    @property
    def viewers(self) -> int:
        return sum(one.viewers for one in self.agent.seats.groups())


class Cluster:
    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.database = Database(asyncio.get_running_loop().time)
        self.machines: dict[str, Machine] = {}
        self.managers: list[tuple[Manager, Bus]] = []
        self.portal: Managers

    async def add_manager(self, letter: str) -> None:
        bus = await self.network.bus(NodeId(letter * 16))
        clock = asyncio.get_running_loop().time
        manager = Manager(bus, self.database, self.database, letter, QUICK, clock=clock)
        await manager.start()
        self.managers.append((manager, bus))

    async def end_manager(self) -> None:
        manager, bus = self.managers.pop(0)
        await manager.close()
        await bus.close()

    @property
    def active(self) -> Manager | None:
        return next((one for one, _ in self.managers if one.serving), None)

    @property
    def channel(self) -> Channel | None:
        """As the active manager sees it."""
        return None if self.active is None else self.active.view.channels.get(NAME)

    async def come(self, origin: str = "") -> tuple[str, Told]:
        """Somebody asks for a place, and takes it; the unit, and what becomes of him."""
        place = await self.portal.join(NAME, origin=origin)
        machine = self.machines[place.unit]
        await until(lambda: machine.node.has())
        machine.agent.seats.expect(place.id, NAME, time.time() + 10, place.index)
        grant = Grant(Action.VIEW, Reason.PUBLIC, reservation=place.id)
        channel, told = machine.node.channel, Told()
        channel.audience.check("192.0.2.1", grant=grant)
        channel.audience.add_hls(peer="192.0.2.1", hooks=told, grant=grant)
        return place.unit, told

    async def calm(self) -> None:
        """Wait until nobody is ordered anything more."""

        def orders() -> int:
            return sum(one.agent.counters["orders"] for one in self.machines.values())

        async with asyncio.timeout(20):
            before = -1
            while before != orders():
                before = orders()
                await asyncio.sleep(CALM)
        assert self.active is not None
        check(self.active.view)
        for name, machine in self.machines.items():  # what is so is what was decided
            assert self.active.view.units[name].viewers == machine.viewers
            assert not machine.agent.counters["orders_unfit"]


@contextlib.asynccontextmanager
async def cluster(directory: Path, count: int, **options: int) -> AsyncIterator[Cluster]:
    made = Cluster()
    async with contextlib.AsyncExitStack() as stack:
        for number in range(count):
            node = Node(made.network, None, LinkOptions())
            await node.start()
            stack.push_async_callback(node.stop)
            place = directory / str(number)
            place.mkdir()
            made.machines[node.node] = Machine(node, agent_of(node, place, **options))
            await made.machines[node.node].agent.start()
            stack.push_async_callback(made.machines[node.node].agent.close)
        bus = await made.network.bus(NodeId("p" * 16))
        stack.push_async_callback(bus.close)
        made.portal = Managers(bus, clock=asyncio.get_running_loop().time)
        stack.callback(made.portal.close)
        await made.add_manager("m")
        await until(lambda: made.active)
        yield made
        while made.managers:
            await made.end_manager()


async def test_viewers_fill_units_are_moved_and_go_on_under_another_manager(tmp_path):
    async with cluster(tmp_path, 3, groups=2, places=5) as made:
        first = next(iter(made.machines.values())).node
        first.keep()
        air = OnAir(first.publish())
        await until(lambda: made.channel)
        there = [await made.come() for _ in range(22)]
        await made.calm()
        assert len(Counter(unit for unit, _ in there)) == 3
        assert made.channel.ingest == first.node
        assert not made.channel.orphans

        leaving = next(name for name in made.machines if name != first.node)
        before = made.machines[leaving].viewers
        await made.portal.command("drain", EVA, unit=leaving)
        free = 20 - (22 - before)  # places elsewhere
        await until(lambda: sum(bool(told.reasons) for _, told in there) == min(free, before))
        assert all(told.reasons == ["moved"] for _, told in there if told.reasons)
        await until(lambda: made.active.view.units[leaving].viewers == before - min(free, before))
        for _ in range(min(free, before)):
            unit, _ = await made.come(leaving)
            assert unit != leaving
        with pytest.raises(BusyError):
            await made.come()
        await made.calm()
        assert sum(machine.viewers for machine in made.machines.values()) == 22

        await made.add_manager("n")
        await made.end_manager()
        await until(lambda: made.active)
        await made.calm()
        assert made.channel.ingest == first.node
        assert made.channel.seats == 22
        await air.stop()


async def test_the_unit_where_a_channel_enters_is_drained_with_all_it_has(tmp_path):
    async with cluster(tmp_path, 3) as made:
        leaving = next(iter(made.machines.values())).node
        publisher = Told()
        air = OnAir(
            leaving.keep().publish((VIDEO,), PublishKind.PUSH, "", on_closed=publisher.closed)
        )
        await until(lambda: made.channel)
        await until(lambda: all(machine.node.has() for machine in made.machines.values()))
        there = [await made.come() for _ in range(12)]
        await made.calm()
        await made.portal.command("drain", EVA, unit=leaving.node)
        await until(lambda: publisher.reasons == ["moved"])
        await air.stop()
        assert made.channel is not None
        assert made.channel.next_ingest is not None
        air = OnAir(made.machines[made.channel.next_ingest].node.publish())
        await until(lambda: all(told.reasons for _, told in there))
        await until(lambda: not made.active.view.units[leaving.node].viewers)
        for _ in there:
            unit, _ = await made.come(leaving.node)
            assert unit != leaving.node
        await until(lambda: not made.active.view.units[leaving.node].carries)
        await made.calm()
        assert made.channel.seats == 12
        await air.stop()


async def test_who_waits_for_a_channel_is_served_wherever_it_enters(tmp_path):
    async with cluster(tmp_path, 2) as made:
        first, second = (machine.node for machine in made.machines.values())
        first.keep().tracks = (VIDEO,)
        await until(lambda: second.channels.find(NAME))
        second.channel.tracks = (VIDEO,)
        unit, _ = await made.come()
        await made.calm()
        assert made.channel.ingest == unit
        other = first if unit == second.node else second
        air = OnAir(other.publish())
        await until(lambda: made.channel.ingest == other.node)
        await made.calm()
        assert made.channel.branches[unit].parent == other.node
        way = (other.node, unit)
        await until(lambda: made.machines[unit].node.reflector.configurator.path(NAME) == way)
        await air.stop()
