"""Publishers that are sent to another unit: they come back to the one they know, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.live.mesh_site import NAME, VIDEO, Node, OnAir, until
from tests.unit.manager.site import EVA
from tests.unit.manager.test_manager_units import spread_out
from tests.unit.manager.test_unit import Boss, Told, units
from tests.unit.manager.test_whole_cluster import Cluster, cluster
from tests.unit.manager.units import report_of

from heliograph.live.publish import PublishKind
from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager.carrying import TURNED_AWAY
from heliograph.manager.decisions.moving import ENTER_S
from heliograph.manager.draft import apply
from heliograph.manager.invariants import check
from heliograph.manager.unit import UnitAgent
from heliograph.manager.upkeep import move_source, receivers
from heliograph.manager.view import State, View
from heliograph.model.errors import BusyError, ConflictError


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr("heliograph.manager.unit.PERIOD", 0.05)


def on_air(node: Node, kind: PublishKind = PublishKind.PUSH) -> tuple[OnAir, Told]:
    told = Told()
    channel = node.channels.find(NAME) or node.keep()
    return OnAir(channel.publish((VIDEO,), kind, "", on_closed=told.closed)), told


# --- what is decided --------------------------------------------------------------------------


def moves(transitions) -> list[t.MoveIngest]:
    return [one for one in transitions if isinstance(one, t.MoveIngest)]


def test_a_source_that_did_not_go_is_sent_again_and_not_before() -> None:
    first = d.drain(spread_out(), "1", 10.0)
    (order,) = moves(first.transitions)
    assert order.expires == 10.0 + ENTER_S
    early = d.drain(first.view, "1", order.expires - 0.1)
    assert not moves(early.transitions)
    (again,) = moves(d.drain(early.view, "1", order.expires).transitions)
    assert (again.target, again.expires) == (order.target, order.expires + ENTER_S)


def test_a_move_that_came_to_nothing_is_forgotten() -> None:
    view = move_source(spread_out(), "yard", "3", 10.0).view
    assert d.lapse(view, 10.0 + ENTER_S - 0.1).view.channels["yard"].next_ingest == "3"
    given_up = d.lapse(view, 10.0 + ENTER_S)
    assert t.GiveUpMove("yard") in given_up.transitions
    assert given_up.view.channels["yard"].next_ingest is None
    assert check(given_up.view) == []


def bound() -> View:
    view = spread_out()
    report = report_of(view, "1", 1.0)
    branches = tuple(replace(one, bound=True) for one in report.branches)
    return apply(view, t.Observe(replace(report, branches=branches)))


def test_a_source_that_a_unit_fetches_itself_is_sent_nowhere_and_that_is_said() -> None:
    done = d.drain(bound(), "1", 10.0)
    assert not moves(done.transitions)
    assert [(one.budget, one.unit) for one in done.refusals] == [("bound", "1")]
    assert d.progress(done.view, "1").bound == 1
    assert done.view.units["1"].state is State.DRAINING
    with pytest.raises(ConflictError, match="is bound to unit"):
        move_source(bound(), "yard", "3", 10.0)
    # A publisher who enters elsewhere is nobody's camera.
    assert not d.move_ingest(done.view, "yard", "3").view.channels["yard"].bound


# --- what a unit does -------------------------------------------------------------------------


async def sent_away(boss: Boss, first: UnitAgent, last: UnitAgent, seconds: float = 3000) -> None:
    await boss.order(first, t.MoveIngest(NAME, first.node, last.node, seconds))


async def test_who_was_sent_away_is_not_let_in_again_until_that_is_over(tmp_path):
    async with units(2, tmp_path) as (boss, [(one, first), (_, last)]):
        channel = one.keep()
        await sent_away(boss, first, last)
        assert channel.entrance == last.node
        with pytest.raises(BusyError) as refused:
            channel.check_publisher("192.0.2.9")
        assert refused.value.retry_after
        await boss.order(first, t.Ingest(NAME, first.node))
        channel.check_publisher("192.0.2.9")

        await sent_away(boss, first, last)
        await boss.order(first, t.ChangeState(first.node, State.UP))
        channel.check_publisher("192.0.2.9")

        await sent_away(boss, first, last, 0.5)
        await until(lambda: not channel.entrance)

        await sent_away(boss, first, last)
        assert channel.entrance == last.node
        await last.close()
        await until(lambda: not channel.entrance)


async def test_who_is_sent_back_is_let_in_where_he_was_sent_away(tmp_path):
    back = move_source(spread_out(), "yard", "3", 10.0)
    (order,) = moves(back.transitions)
    assert receivers(order) == (order.source, order.target)
    async with units(2, tmp_path) as (boss, [(one, first), (_, last)]):
        channel = one.keep()
        await sent_away(boss, first, last)
        assert channel.entrance == last.node
        await boss.order(first, t.MoveIngest(NAME, last.node, first.node, 3000))
        channel.check_publisher("192.0.2.9")
        assert first.counters["orders_unfit"] == 0


async def test_what_is_fetched_here_makes_no_order_done(tmp_path):
    async with units(2, tmp_path) as (boss, [(one, first), (_, last)]):
        air, told = on_air(one, PublishKind.PULL)
        await until(lambda: boss.branch(first) and boss.branch(first).bound)
        await sent_away(boss, first, last)
        assert (told.reasons, first.counters["orders_unfit"]) == ([], 1)
        await air.stop()


async def knocks(channel, times: int = TURNED_AWAY) -> None:
    """As an encoder does that knows one address: sent elsewhere, it comes again."""
    for _ in range(times):
        with pytest.raises(BusyError):
            channel.check_publisher("192.0.2.9")
    await until(lambda: not channel.entrance)


async def test_who_knows_one_unit_alone_is_let_in_there_and_stays(tmp_path, monkeypatch):
    async with units(2, tmp_path) as (boss, [(one, first), (_, last)]):
        channel = one.keep()
        await sent_away(boss, first, last)
        await knocks(channel)
        air, told = on_air(one)
        await until(lambda: boss.branch(first) and boss.branch(first).bound)
        await sent_away(boss, first, last)
        assert (told.reasons, channel.entrance, first.counters["orders_unfit"]) == ([], "", 1)
        # One that has gone for good is nobody's to keep.
        monkeypatch.setattr("heliograph.manager.carrying.RETURN", 0.5)
        await air.stop()
        async with asyncio.timeout(45):
            while channel.entrance != last.node:
                await sent_away(boss, first, last)


async def test_one_that_comes_back_slowly_is_known_by_all_its_tries(tmp_path):
    async with units(2, tmp_path) as (boss, [(one, first), (_, last)]):
        channel = one.keep()
        for tries in (TURNED_AWAY - 1, 1):
            await sent_away(boss, first, last, 3000 if tries == 1 else 3)
            await knocks(channel, tries)
        air, _ = on_air(one)
        await until(lambda: boss.branch(first) and boss.branch(first).bound)
        await air.stop()


async def test_one_that_goes_each_time_is_not_bound(tmp_path, monkeypatch):
    async with units(2, tmp_path) as (boss, [(one, first), (_, last)]):
        channel = one.keep()
        monkeypatch.setattr(first._carrying._shared, "enters_elsewhere", lambda name: True)
        for _ in range(TURNED_AWAY + 1):
            await sent_away(boss, first, last, 1)
            await knocks(channel, 1)
        assert not first._carrying.binds(NAME)


# --- a whole cluster --------------------------------------------------------------------------


async def drained(made: Cluster) -> Node:
    """The unit at which a channel entered, which is drained and has sent the publisher away."""
    leaving = next(iter(made.machines.values())).node
    air, told = on_air(leaving)
    await until(lambda: made.channel and made.channel.ingest == leaving.node)
    await until(lambda: all(machine.node.has() for machine in made.machines.values()))
    await made.portal.command("drain", EVA, unit=leaving.node)
    await until(lambda: told.reasons == ["moved"])
    await air.stop()
    return leaving


async def test_a_drain_ends_though_the_publisher_comes_back_to_the_same_unit(tmp_path):
    async with cluster(tmp_path, 3) as made:
        leaving = await drained(made)
        with pytest.raises(BusyError):
            leaving.channel.check_publisher("192.0.2.9")
        there = made.machines[leaving.channel.entrance].node
        air, told = on_air(there)
        await until(lambda: made.active.progress(leaving.node)["done"])
        await until(lambda: made.channel.ingest == there.node)
        assert not told.reasons
        await air.stop()


async def test_a_channel_goes_on_whose_publisher_knows_the_drained_unit_alone(tmp_path):
    async with cluster(tmp_path, 3) as made:
        leaving = await drained(made)
        await knocks(leaving.channel)
        air, told = on_air(leaving)
        await until(lambda: made.active.progress(leaving.node)["progress"]["bound"] == 1)
        assert (made.channel.ingest, told.reasons) == (leaving.node, [])
        # Its encoder is given another address: the drain ends.
        await air.stop()
        there = next(one.node for one in made.machines.values() if one.node is not leaving)
        air, _ = on_air(there)
        await until(lambda: made.active.progress(leaving.node)["done"])
        await air.stop()


async def test_one_that_slips_in_again_is_sent_away_again(tmp_path, monkeypatch):
    monkeypatch.setattr("heliograph.manager.decisions.draining.ENTER_S", 1.0)
    async with cluster(tmp_path, 3) as made:
        leaving = await drained(made)
        air, told = on_air(leaving)  # nobody asked at the door
        await until(lambda: told.reasons == ["moved"])
        await air.stop()
