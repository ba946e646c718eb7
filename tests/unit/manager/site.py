"""A cluster in one process: managers, portals, and units that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from tests.unit.manager.leases import Database
from tests.unit.manager.waiting import until

from heliograph.bus import Bus, Request
from heliograph.bus.memory import MemoryLink, MemoryNetwork
from heliograph.catalogue.values import Actor
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.client import Managers
from heliograph.manager.leadership import LeaseTimes
from heliograph.manager.options import ManagerOptions
from heliograph.manager.orders import OrderTimes
from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.shell import Manager
from heliograph.manager.view import Amounts, Budgets, GroupId, State
from heliograph.model.errors import ConflictError
from heliograph.model.nodes import NodeId

#: Often, so that tests are quick; but nobody loses the lease because the machine is slow: it runs
#: out when a test lets time pass.
QUICK = ManagerOptions(
    lease=LeaseTimes(ttl=60.0, renew=0.05, safety=10.0, timeout=0.5, rest=0.3),
    orders=OrderTimes(timeout=0.25, pause=0.02),
    tick=0.05,
    grace=5.0,
    fresh=0.1,
    silence=1000.0,
    publish=0.05,
)
PERIOD = 0.05
#: Who orders something.
EVA = Actor("eva", "192.0.2.7")


class Unit:
    """A unit without media: it keeps what it is told, and says so."""

    def __init__(self, bus: Bus, name: str, budgets: Budgets) -> None:
        self.bus, self.name, self.budgets = bus, name, budgets
        self.id = bus.node
        self.state = State.UP
        self.epoch = self.serial = 0
        self.branches: dict[str, BranchReport] = {}
        self.groups: dict[int, str] = {}
        self.viewers: dict[int, int] = {}
        self.taken: list[str] = []
        self.orders: list[t.Transition] = []
        self.refused = 0
        self.deaf = self.mute = self.stubborn = False
        """``deaf``: no order is answered; ``mute``: no report is sent; ``stubborn``: every order is
        answered and none carried out."""
        self.moved: list[t.MoveViewers] = []
        self.measured: Amounts | None = None
        self.domain = ""
        self._applied = 0

    def start(self) -> None:
        self.bus.announce(wire.UNIT, self.name, {"location": ""})
        self.bus.serve(wire.ORDERS, self._told)
        self._task = asyncio.get_running_loop().create_task(self._run())

    def stop(self) -> None:
        self._task.cancel()

    # what happens here

    def enter(self, channel: str, epoch: int = 1) -> None:
        """A source enters here."""
        self.branches[channel] = BranchReport(channel, None, True, epoch, 1_000_000)

    def sit(self, index: int, count: int = 1) -> None:
        self.viewers[index] = self.viewers.get(index, 0) + count
        self.say()

    def take(self, id: str, index: int) -> None:
        self.taken.append(id)
        self.sit(index)

    def watching(self, channel: str) -> int:
        return sum(self.viewers.get(i, 0) for i, name in self.groups.items() if name == channel)

    def report(self) -> Report:
        return Report(
            self.id,
            self.name,
            0.0,
            state=self.state,
            budgets=self.budgets,
            measured=self.measured,
            serial=self.serial,
            branches=tuple(self.branches.values()),
            groups=tuple(
                GroupReport(index, name, self.viewers.get(index, 0))
                for index, name in self.groups.items()
            ),
            taken=tuple(self.taken),
            domain=self.domain,
        )

    def say(self) -> None:
        if not self.mute:
            self.bus.publish(wire.REPORTS, wire.report_json(self.report()))

    async def _run(self) -> None:
        while True:
            self.say()
            await asyncio.sleep(PERIOD)

    async def _told(self, request: Request) -> dict[str, int]:
        if self.deaf:
            await asyncio.Event().wait()
        found = wire.parse_orders(request.value, asyncio.get_running_loop().time())
        if found.epoch < self.epoch:
            self.refused += 1
            raise ConflictError("a higher epoch is known", subject="epoch")
        if found.epoch > self.epoch:
            self.epoch, self._applied = found.epoch, 0
        if found.serial > self._applied:
            for order in found.orders:
                self.orders.append(order)
                if not self.stubborn:
                    self._do(order)
            self._applied = found.serial
            self.serial = max(self.serial, found.serial)
        self.say()
        return {"serial": self.serial}

    def _do(self, order: t.Transition) -> None:
        match order:
            case t.ChangeState(_, state):
                self.state = state
            case t.Link(channel, _, parent):
                known = self.branches.get(channel, BranchReport(channel))
                self.branches[channel] = replace(known, source=parent, ingest=False)
            case t.Ingest(channel):
                known = self.branches.get(channel, BranchReport(channel))
                self.branches[channel] = replace(known, source=None)
            case t.Unlink(channel) | t.CloseChannel(channel):
                self.branches.pop(channel, None)
                self.groups = {i: name for i, name in self.groups.items() if name != channel}
            case t.Grant(channel, _, index):
                self.branches.setdefault(channel, BranchReport(channel))
                assert self.groups.setdefault(index, channel) == channel
            case t.Revoke(_, _, index):
                assert not self.viewers.get(index)
                self.groups.pop(index, None)
            case t.MoveViewers(source=GroupId(_, index), count=count):
                self.moved.append(order)
                self.viewers[index] = max(0, self.viewers.get(index, 0) - count)
            case t.MoveIngest(channel):
                self.branches[channel] = replace(self.branches[channel], ingest=False)


@dataclass
class Host:
    """A manager and the network it is on."""

    manager: Manager
    bus: Bus
    link: MemoryLink


class Site:
    """The whole cluster."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.passed = 0.0
        self.database = Database(self.now)
        self.managers: list[Host] = []
        self.units: list[Unit] = []
        self.portals: list[Managers] = []
        self.buses: dict[str, tuple[Bus, MemoryLink]] = {}

    def now(self) -> float:
        """The clock of all managers, and the database's."""
        return asyncio.get_running_loop().time() + self.passed

    def let_the_lease_end(self) -> None:
        """For whoever has it and does not renew it."""
        self.passed += QUICK.lease.ttl + 1

    async def bus(self, name: str) -> Bus:
        link = self.network.link()
        bus = Bus(NodeId(name.ljust(16, "a")[:16]), link)
        await bus.start()
        self.buses[name] = (bus, link)
        return bus

    async def add_manager(self, name: str, options: ManagerOptions = QUICK) -> Host:
        bus = await self.bus(name)
        manager = Manager(bus, self.database, self.database, name, options, clock=self.now)
        await manager.start()
        host = Host(manager, bus, self.buses[name][1])
        self.managers.append(host)
        return host

    async def add_unit(self, name: str, groups: int = 5, places: int = 10) -> Unit:
        unit = Unit(await self.bus(name), name, Budgets(groups, places))
        unit.start()
        self.units.append(unit)
        return unit

    async def add_portal(self, name: str = "portal") -> Managers:
        self.portals.append(Managers(await self.bus(name), clock=self.now))
        return self.portals[-1]

    def active(self) -> list[Manager]:
        return [host.manager for host in self.managers if host.manager.serving]

    async def until_active(self) -> Manager:
        await until(self.active)
        return self.active()[0]

    def freeze(self, manager: Manager) -> None:
        """Nothing of it runs any more; what it believes of itself stays."""
        leader = manager.leader
        for task in [leader._task, manager._reign, *leader._asked]:
            if task is not None:
                task.cancel()
        self.let_the_lease_end()

    def kill(self, name: str) -> None:
        """As when the process dies: nothing is said any more."""
        self.buses[name][1].fail()
        for host in self.managers:
            if host.manager.name == name:
                self.freeze(host.manager)

    def part(self, one: list[str], others: list[str], *, heal: bool = False) -> None:
        do = self.network.heal if heal else self.network.cut
        for left in one:
            for right in others:
                do(self.buses[left][1], self.buses[right][1])

    async def close(self) -> None:
        for unit in self.units:
            unit.stop()
        for portal in self.portals:
            portal.close()
        self.database.away = self.database.hangs = False
        for host in self.managers:
            await host.manager.close()
        for bus, _ in self.buses.values():
            await bus.close()


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made = Site()
    try:
        yield made
    finally:
        await made.close()


async def three(made: Site, managers: int = 1) -> tuple[Manager, list[Unit]]:
    """A channel that enters at the first of three units."""
    for name in ["left", "right"][:managers]:
        await made.add_manager(name)
    units = [await made.add_unit(name, groups=2, places=4) for name in ("one", "two", "three")]
    units[0].enter("yard")
    manager = await made.until_active()
    await until(lambda: units[0].groups)
    return manager, units


async def seat(made: Site, count: int = 1, channel: str = "yard") -> list[str]:
    """Viewers who ask and come."""
    found = []
    for _ in range(count):
        place = await made.portals[0].join(channel)
        unit = next(one for one in made.units if one.id == place.unit)
        await until(lambda unit=unit, place=place: place.index in unit.groups)
        unit.take(place.id, place.index)
        found.append(place.unit)
    return found


def carriers(made: Site, channel: str = "yard") -> set[str]:
    return {unit.id for unit in made.units if channel in unit.groups.values()}


async def full(made: Site) -> tuple[Managers, Unit]:
    """One unit with a channel, whose only places are taken."""
    await made.add_manager("left")
    unit = await made.add_unit("one", groups=1, places=2)
    unit.enter("yard")
    portal = await made.add_portal()
    await made.until_active()
    await until(lambda: unit.groups and portal.active())
    await seat(made, 2)
    return portal, unit
