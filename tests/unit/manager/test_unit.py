"""A unit on the bus: it does what a manager orders, and says what it runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.live.mesh_site import NAME, VIDEO, Node, OnAir, nodes, until

from heliograph.bus import Bus
from heliograph.live.pressure import Look
from heliograph.live.publish import PublishKind
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.seats import Spend
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.decisions import absorb
from heliograph.manager.epochs import EPOCH_FILE
from heliograph.manager.invariants import check
from heliograph.manager.meter import Meter
from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.unit import UnitAgent, UnitOptions
from heliograph.manager.view import GroupId, State, View
from heliograph.model.errors import BusyError, ConflictError, MalformedError
from heliograph.model.nodes import NodeId

BOSS = NodeId("b" * 16)
OTHER = "c" * 16


class Machine(Meter):
    """What it is told to have spent."""

    def __init__(self) -> None:
        self.seen = Look(Spend())

    def look(self) -> Look:
        return self.seen


class Told(ReaderHooks):
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


class Boss:
    """A manager that hears reports, and orders what a test says."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.reports: dict[str, Report] = {}
        self.heard = 0
        self.serial = 0
        self.view = View()
        bus.subscribe(wire.REPORTS, self._hear)
        self._here = bus.announce(wire.MANAGER, "boss", {"active": True, "epoch": 1})

    def _hear(self, node: str, topic: str, value: wire.Json) -> None:
        self.heard += 1
        self.reports[node] = wire.parse_report(value, node, float(self.heard))
        self.view = absorb(self.view, self.reports[node]).view
        check(self.view)

    def stand_by(self) -> None:
        self._here.update({"active": False, "epoch": 1})

    async def order(self, unit: UnitAgent, *orders: t.Transition, epoch: int = 1) -> int:
        """Give orders; returns once the unit has reported that they are done."""
        self.serial += len(orders)
        found = wire.orders_json(wire.Orders(epoch, self.serial, orders), 0.0)
        answer = await self.bus.call(unit.node, wire.ORDERS, found)
        await until(lambda: self.of(unit).serial >= answer["serial"])
        return int(answer["serial"])

    def of(self, unit: UnitAgent) -> Report:
        return self.reports.get(unit.node) or Report(unit.node, "", 0.0, serial=-1)

    def branch(self, unit: UnitAgent, name: str = NAME) -> BranchReport | None:
        return next((one for one in self.of(unit).branches if one.channel == name), None)


@contextlib.asynccontextmanager
async def units(
    count: int, directory: Path, *, managed: bool = True, **options: int
) -> AsyncIterator[tuple[Boss | None, list[tuple[Node, UnitAgent]]]]:
    async with nodes(count) as found, contextlib.AsyncExitStack() as stack:
        boss = Boss(await found[0]._network.bus(BOSS)) if managed else None
        if boss is not None:
            stack.push_async_callback(boss.bus.close)
        agents = []
        for number, node in enumerate(found):
            place = directory / str(number)
            place.mkdir()
            agents.append((node, agent := agent_of(node, place, **options)))
            await agent.start()
            stack.push_async_callback(agent.close)
            if boss is not None:
                await until(lambda agent=agent: agent.managed)
        yield boss, agents


@pytest.fixture(autouse=True)
def often(monkeypatch):
    """Nobody waits a second for what is told once a second."""
    monkeypatch.setattr("heliograph.manager.unit.PERIOD", 0.05)


def agent_of(node: Node, directory: Path, **options: int) -> UnitAgent:
    return UnitAgent(
        node.bus,
        node.channels,
        node.reflector,
        node.shared,
        UnitOptions("unit", "eu/de", **options),
        directory,
        meter=Machine(),
    )


def come(node: Node, name: str = NAME) -> tuple[Reader, Told]:
    """A viewer, who has to be let in."""
    channel, told = node.channels.get(name), Told()
    channel.audience.check("192.0.2.1")
    return channel.audience.add_hls(peer="192.0.2.1", hooks=told), told


def keep(node: Node, name: str = NAME) -> None:
    """A channel of which is known what it will carry."""
    node.keep(name).tracks = (VIDEO,)


async def test_groups_are_granted_and_given_back_as_ordered(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        keep(node)
        await boss.order(
            unit, t.Grant(NAME, unit.node, 3, 10, 0.0), t.Grant(NAME, unit.node, 1, 10, 0.0)
        )
        report = boss.of(unit)
        assert (report.name, report.location, report.state) == ("unit", "eu/de", State.UP)
        assert report.groups == (GroupReport(3, NAME), GroupReport(1, NAME))
        viewer, _ = come(node)
        serial = await boss.order(unit, t.Revoke(NAME, unit.node, 3), t.Revoke(NAME, unit.node, 1))
        assert boss.of(unit).groups == (GroupReport(3, NAME, 1),)  # somebody sits there
        assert boss.of(unit).serial == serial
        assert unit.counters["orders_unfit"] == 1
        viewer.remove()
        await boss.order(unit, t.Revoke(NAME, unit.node, 3))
        assert boss.of(unit).groups == ()


async def test_the_eleventh_viewer_of_ten_places_is_refused_without_a_manager(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        keep(node)
        boss.stand_by()
        await boss.order(unit, t.Grant(NAME, unit.node, 0, 10, 0.0))
        await until(lambda: not unit.managed)
        viewers = [come(node) for _ in range(10)]
        with pytest.raises(BusyError) as error:
            come(node)
        assert (error.value.subject, error.value.retry_after) == ("places", 10)
        assert unit.counters["growth_refused"]
        viewers[0][0].remove()
        come(node)
        await until(lambda: boss.of(unit).groups == (GroupReport(0, NAME, 10),))


async def test_a_channel_without_a_group_has_no_viewers_where_no_manager_is(tmp_path):
    async with units(1, tmp_path, managed=False) as (_, [(node, unit)]):
        keep(node)
        with pytest.raises(BusyError, match="no free place"):
            come(node)
        assert not unit.managed


async def test_a_unit_grows_by_itself_while_a_manager_hears_of_it(tmp_path):
    async with units(1, tmp_path, groups=3) as (boss, [(node, unit)]):
        keep(node)
        for _ in range(30):
            come(node)
        with pytest.raises(BusyError):
            come(node)
        await until(lambda: [one.viewers for one in boss.of(unit).groups] == [10, 10, 10])
        assert unit.counters["grown"] == 3
        assert boss.view.channels[NAME].seats == 30


async def test_a_unit_lends_a_group_that_nobody_uses_before_it_refuses_somebody(tmp_path):
    async with units(1, tmp_path, groups=2) as (boss, [(node, unit)]):
        for name in ("first", "second", NAME):
            keep(node, name)
        watching, _ = come(node, "first")
        leaving, _ = come(node, "second")
        with pytest.raises(BusyError):
            come(node)
        leaving.remove()
        for _ in range(10):
            come(node)
        with pytest.raises(BusyError):  # the other group has a viewer
            come(node)
        await until(
            lambda: (
                {*boss.of(unit).groups} == {GroupReport(0, "first", 1), GroupReport(1, NAME, 10)}
            )
        )
        assert unit.counters["lent"] == 1
        assert "second" not in unit.seats.channels()
        watching.remove()
        come(node)  # now that it is empty
        await until(lambda: len(boss.of(unit).groups) == 2 and boss.view.channels[NAME].seats == 11)
        assert unit.seats.channels() == (NAME,)


async def test_a_unit_lends_no_group_that_was_added_by_hand(tmp_path):
    async with units(1, tmp_path, groups=2) as (boss, [(node, unit)]):
        for name in ("kept", "other", NAME):
            keep(node, name)
        await boss.order(unit, t.Grant("kept", unit.node, 0, 10, 0.0, by_hand=True))
        come(node, "other")
        with pytest.raises(BusyError):
            come(node)
        await boss.order(unit, t.Revoke("kept", unit.node, 0))
        come(node)


async def test_a_unit_lends_what_has_been_empty_longest(tmp_path):
    async with units(1, tmp_path, groups=3) as (_, [(node, unit)]):
        there = {}
        for name in ("first", "second", "third", NAME):
            keep(node, name)
            if name != NAME:
                there[name] = come(node, name)[0]
        for name in ("second", "third", "first"):
            there[name].remove()
        come(node)
        assert set(unit.seats.channels()) == {"first", "third", NAME}


async def test_who_manages_no_more_lets_nobody_grow(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        keep(node)
        for _ in range(7):
            come(node)
        assert len(unit.seats.groups()) == 1
        await boss.bus.close()
        await until(lambda: not unit.managed)
        for _ in range(3):
            come(node)
        with pytest.raises(BusyError):
            come(node)


async def test_who_stands_sits_down_when_a_manager_comes(tmp_path):
    async with units(1, tmp_path, managed=False, groups=1, places=2) as (_, [(node, unit)]):
        keep(node)
        for _ in range(2):  # not asked for before
            node.channel.audience.add_hls(peer="192.0.2.1", hooks=Told())
        assert unit.seats.waiting() == (NAME,)
        boss = Boss(await node._network.bus(BOSS))
        await until(lambda: boss.of(unit).groups == (GroupReport(0, NAME, 2),))
        assert not unit.seats.waiting()
        await boss.bus.close()


async def test_orders_of_an_old_manager_are_refused_even_after_a_restart(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        await boss.order(unit, t.Grant(NAME, unit.node, 0, 10, 0.0), epoch=7)
        with pytest.raises(ConflictError):
            await boss.order(unit, t.Revoke(NAME, unit.node, 0), epoch=6)
        assert len(unit.seats.groups()) == 1
        await unit.close()
        again = agent_of(node, tmp_path / "0")
        await again.start()
        with pytest.raises(ConflictError):
            await boss.order(again, t.Grant(NAME, unit.node, 0, 10, 0.0), epoch=6)
        assert again.seats.groups() == ()
        assert again.counters["orders_refused"] == 1
        await boss.order(again, t.Grant(NAME, unit.node, 0, 10, 0.0), epoch=8)
        assert len(again.seats.groups()) == 1
        await again.close()


@pytest.mark.parametrize("text", ["", "{}", '{"epoch": "7"}', "[1]", '{"epoch": -1}'])
async def test_a_broken_file_keeps_no_unit_from_starting(tmp_path, text):
    async with nodes(1) as (node,):
        (tmp_path / EPOCH_FILE).write_text(text)
        unit = agent_of(node, tmp_path)
        await unit.start()
        assert unit.epoch == 0
        await unit.close()


async def test_orders_that_come_twice_or_late_are_not_carried_out_again(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        keep(node)
        grant = t.Grant(NAME, unit.node, 0, 10, 0.0)
        await boss.order(unit, grant)
        await boss.order(unit, t.Revoke(NAME, unit.node, 0))
        late = wire.orders_json(wire.Orders(1, 1, (grant,)), 0.0)
        assert await boss.bus.call(unit.node, wire.ORDERS, late) == {"serial": 2}
        assert unit.seats.groups() == ()
        assert unit.counters["orders_repeated"] == 1


async def test_what_is_no_order_changes_nothing(tmp_path):
    async with units(1, tmp_path) as (boss, [(_, unit)]):
        grant = wire.order_json(t.Grant(NAME, unit.node, 0, 10, 0.0), 0.0)
        with pytest.raises(MalformedError):
            await boss.bus.call(
                unit.node, wire.ORDERS, {"epoch": 9, "serial": 9, "orders": [grant, 5]}
            )
        assert (unit.epoch, unit.serial, unit.seats.groups()) == (0, 0, ())
        await boss.order(unit, t.Grant(NAME, OTHER, 0, 10, 0.0))
        assert unit.seats.groups() == ()
        assert unit.counters["orders_unfit"] == 1


async def test_viewers_who_are_moved_are_told_so_and_only_so_many(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        keep(node)
        await boss.order(unit, t.Grant(NAME, unit.node, 0, 10, 0.0))
        told = [come(node)[1] for _ in range(5)]
        source, target = GroupId(unit.node, 0), GroupId(OTHER, 2)
        await boss.order(unit, t.MoveViewers("hold", NAME, source, target, 3, 20.0))
        assert sorted(one.reasons for one in told) == [[], [], ["moved"], ["moved"], ["moved"]]
        assert boss.of(unit).groups == (GroupReport(0, NAME, 2),)
        await boss.order(unit, t.MoveViewers("hold", NAME, source, target, 3, 20.0))
        assert boss.of(unit).groups == (GroupReport(0, NAME, 2),)
        await boss.order(unit, t.MoveViewers("another", NAME, source, target, 3, 20.0))
        assert boss.of(unit).groups == (GroupReport(0, NAME, 0),)


async def test_a_unit_that_is_drained_takes_nobody_more_and_sends_nobody_away(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        keep(node)
        _, told = come(node)
        await boss.order(unit, t.ChangeState(unit.node, State.DRAINING))
        assert boss.of(unit).state is State.DRAINING
        with pytest.raises(BusyError):
            come(node)
        assert not told.reasons
        await boss.order(unit, t.ChangeState(unit.node, State.UP))
        come(node)
        assert boss.of(unit).state is State.UP


async def test_a_pressed_unit_says_so_and_refuses_until_it_is_well(tmp_path, monkeypatch):
    monkeypatch.setattr("heliograph.live.pressure.PATIENCE", 0.1)
    monkeypatch.setattr("heliograph.live.pressure.RELIEF", 0.1)
    async with units(1, tmp_path, cpu=1_000_000) as (boss, [(node, unit)]):
        keep(node)
        come(node)
        unit._meter.seen = Look(Spend(0, 950_000, 0))
        await until(lambda: boss.of(unit).state is State.PRESSED)
        with pytest.raises(BusyError) as error:
            come(node)
        assert error.value.subject == "cpu"
        assert boss.of(unit).measured.cpu == 950_000
        unit._meter.seen = Look(Spend(0, 100_000, 0))
        await until(lambda: boss.of(unit).state is State.UP)
        come(node)


async def test_a_used_reservation_is_told_to_the_manager(tmp_path):
    async with units(1, tmp_path) as (boss, [(node, unit)]):
        keep(node)
        await boss.order(unit, t.Grant(NAME, unit.node, 0, 10, 0.0))
        unit.seats.expect("kept", NAME, 1e12)
        told = Told()
        unit.seats.take(NAME, told, reservation="kept")  # type: ignore[arg-type]
        await until(lambda: boss.of(unit).taken == ("kept",))


async def test_a_unit_reports_what_it_carries_and_from_whom(tmp_path):
    async with units(3, tmp_path) as (boss, [(one, first), (_, idle), (far, last)]):
        one.keep()
        air = OnAir(one.publish())
        await until(far.has)
        await until(lambda: boss.branch(first))
        assert boss.branch(first).ingest
        await boss.order(last, t.Grant(NAME, last.node, 0, 10, 0.0))
        viewer = far.watch()
        await until(lambda: len(viewer.packets) > 10)
        await until(lambda: boss.branch(last).bitrate > 0)
        branch = boss.branch(last)
        assert (branch.source, branch.ingest) == (one.node, False)
        assert branch.epoch == boss.branch(first).epoch == one.channel.stats().epoch
        assert boss.branch(idle) is None  # it is only offered there
        channel = boss.view.channels[NAME]
        assert (channel.ingest, channel.branches[last.node].parent) == (one.node, one.node)
        assert not channel.orphans
        await air.stop()


async def test_a_unit_takes_a_channel_from_whom_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("heliograph.manager.carrying.SWITCH", 0.5)
    async with units(3, tmp_path) as (boss, [(one, _), (between, relay), (far, last)]):
        one.keep()
        air = OnAir(one.publish())
        await until(lambda: between.has() and far.has())
        await boss.order(last, t.Link(NAME, last.node, relay.node))
        viewer = far.watch()
        way = (one.node, between.node, far.node)
        await until(lambda: far.reflector.configurator.path(NAME) == way)
        await until(lambda: boss.branch(relay))  # media cross it for the other's sake
        await boss.order(last, t.Link(NAME, last.node, OTHER))
        assert boss.branch(last).source == OTHER  # as soon as it is reached
        await until(lambda: boss.branch(last).source == one.node)  # it is not
        assert far.reflector.configurator.path(NAME) == (one.node, far.node)
        await boss.order(last, t.Link(NAME, last.node, relay.node))
        await until(lambda: far.reflector.configurator.sources(NAME) == (between.node,))
        await between.stop()  # another is found without a word from anybody
        await until(lambda: boss.branch(last).source == one.node)
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 20)
        assert viewer.numbers == list(range(viewer.numbers[0], viewer.numbers[-1] + 1))
        viewer.leave()
        await boss.order(last, t.Unlink(NAME, last.node))
        await air.stop()


async def test_a_linked_unit_is_no_orphan_while_nobody_publishes(tmp_path, monkeypatch):
    monkeypatch.setattr("heliograph.manager.carrying.SWITCH", 0.1)
    async with units(2, tmp_path) as (boss, [(one, first), (two, last)]):
        one.keep()
        await until(lambda: two.channels.find(NAME))
        await boss.order(first, t.Ingest(NAME, first.node), t.Grant(NAME, first.node, 0, 10, 0.0))
        await boss.order(
            last, t.Link(NAME, last.node, first.node), t.Grant(NAME, last.node, 0, 10, 0.0)
        )
        heard = boss.heard
        await until(lambda: boss.heard > heard + 20)
        assert boss.branch(last).source == first.node
        assert boss.branch(first).ingest
        assert not boss.view.channels[NAME].orphans
        await boss.order(last, t.Revoke(NAME, last.node, 0), t.Unlink(NAME, last.node))
        assert boss.branch(last) is None


async def test_a_publisher_is_sent_to_another_unit(tmp_path):
    async with units(2, tmp_path) as (boss, [(one, first), (two, last)]):
        channel, told = one.keep(), list[str]()
        publishing = channel.publish((VIDEO,), PublishKind.PUSH, "", on_closed=told.append)
        air = OnAir(publishing)
        await until(lambda: two.has() and boss.branch(first))
        await boss.order(first, t.MoveIngest(NAME, first.node, last.node, 30.0))
        assert told == ["moved"]
        await air.stop()
        assert boss.view.channels[NAME].ingest == first.node  # until it is there
        air = OnAir(two.publish())
        await until(lambda: boss.view.channels[NAME].ingest == last.node)
        await until(lambda: boss.branch(first) is None or not boss.branch(first).ingest)
        await air.stop()


async def test_a_publisher_that_lost_its_way_is_waited_for_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("heliograph.manager.carrying.RETURN", 0.5)
    async with units(1, tmp_path) as (boss, [(one, first)]):
        one.keep()
        publishing = one.publish()
        air = OnAir(publishing)
        await until(lambda: boss.branch(first))
        await air.stop()
        publishing.close()
        await until(lambda: one.channel.active is None)
        heard = boss.heard
        await until(lambda: boss.heard > heard + 2)
        assert boss.branch(first).ingest
        await until(lambda: boss.branch(first) is None)


async def test_a_closed_channel_ends_where_it_is(tmp_path):
    async with units(1, tmp_path) as (boss, [(one, unit)]):
        told: list[str] = []
        one.keep().publish((VIDEO,), PublishKind.PUSH, "", on_closed=told.append)
        _, viewer = come(one)
        await boss.order(unit, t.CloseChannel(NAME))
        assert told == viewer.reasons == ["channel closed"]
        assert boss.of(unit).branches == boss.of(unit).groups == ()


async def test_a_channel_that_is_no_more_leaves_no_groups(tmp_path):
    async with units(1, tmp_path) as (boss, [(one, unit)]):
        keep(one)
        come(one)
        await until(lambda: boss.of(unit).groups)
        one.channels.delete(NAME)
        await until(lambda: not boss.of(unit).groups)
        assert not boss.of(unit).branches


async def test_changes_are_told_at_once_and_not_too_often(tmp_path, monkeypatch):
    monkeypatch.setattr("heliograph.manager.unit.PERIOD", 60.0)
    async with units(1, tmp_path) as (boss, [(one, unit)]):
        names = [f"c{number}" for number in range(40)]
        for name in names:
            keep(one, name)
        await until(lambda: boss.heard)
        before, began = boss.heard, asyncio.get_running_loop().time()
        for name in names:
            come(one, name)
            await asyncio.sleep(0.005)
        await until(lambda: len(boss.of(unit).groups) == 40)
        seconds = asyncio.get_running_loop().time() - began
        assert boss.heard - before <= 10 * seconds + 2


async def test_who_watched_before_the_unit_was_one_has_a_seat(tmp_path):
    async with nodes(1) as (one,):
        keep(one)
        come(one)
        unit = agent_of(one, tmp_path)
        await unit.start()
        unit.seats.grant(0, NAME, 10)
        assert len(unit.seats.sitting(0, NAME)) == 1
        await unit.close()
        come(one)  # places are nobody's business again
