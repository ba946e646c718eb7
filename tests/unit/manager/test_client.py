"""A portal without a manager chooses alone, and gives no place away twice."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.unit.manager.site import EVA, Site, Unit, site
from tests.unit.manager.waiting import until

from heliograph.bus import Request
from heliograph.manager import client, wire
from heliograph.manager.client import Managers
from heliograph.manager.reports import BranchReport
from heliograph.manager.view import Amounts, State
from heliograph.model.errors import BusyError, RemoteError, UnreachableError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def portal_and_units(
    made: Site, clock: Clock, groups: int = 2
) -> tuple[Managers, list[Unit]]:
    """Two units with groups of four places that somebody granted; the channel enters at one."""
    portal = Managers(await made.bus("portal"), clock=clock)
    made.portals.append(portal)
    units = [await made.add_unit(name, groups=groups, places=4) for name in ("one", "two")]
    units[0].enter("yard")
    units[1].branches["yard"] = BranchReport("yard", units[0].id)
    for unit in units:
        unit.groups[0] = "yard"
    await until(lambda: len(portal.hearing.reports) == 2)
    await until(lambda: len(portal.hearing.view.channels["yard"].branches) == 2)
    return portal, units


def reports(portal: Managers) -> int:
    return portal.hearing.counters()["reports"]


async def heard(portal: Managers) -> None:
    """Wait until everybody has reported anew."""
    before = reports(portal)
    await until(lambda: reports(portal) >= before + 6)


async def test_without_a_manager_granted_places_are_given_once_each_and_none_beyond() -> None:
    async with site() as made:
        portal, units = await portal_and_units(made, Clock())
        places = [await portal.join("yard") for _ in range(8)]
        assert Counter(one.unit for one in places) == {units[0].id: 4, units[1].id: 4}
        assert not any(one.by_manager for one in places)
        assert len({one.id for one in places}) == 8
        with pytest.raises(BusyError) as refused:
            await portal.join("yard")
        assert refused.value.subject == "places"
        assert refused.value.retry_after
        # Reports that know nothing of them yet give nothing back.
        await heard(portal)
        with pytest.raises(BusyError):
            await portal.join("yard")


async def test_places_nobody_came_for_are_given_again_and_taken_ones_are_not() -> None:
    async with site() as made:
        clock = Clock()
        portal, units = await portal_and_units(made, clock)
        places = [await portal.join("yard") for _ in range(8)]
        came = [one for one in places if one.unit == units[0].id]
        for one in came:
            units[0].take(one.id, 0)
        await until(lambda: portal.hearing.view.units[units[0].id].viewers == 4)
        clock.now += 11
        again = [await portal.join("yard") for _ in range(4)]
        assert {one.unit for one in again} == {units[1].id}
        with pytest.raises(BusyError):
            await portal.join("yard")


async def test_who_was_sent_away_or_cannot_go_elsewhere_is_minded() -> None:
    async with site() as made:
        portal, units = await portal_and_units(made, Clock())
        one, two = (unit.id for unit in units)
        assert {(await portal.join("yard", at=two)).unit for _ in range(2)} == {two}
        assert {(await portal.join("yard", origin=two)).unit for _ in range(3)} == {one}
        assert (await portal.join("yard", avoid=(two,))).unit == one
        assert {(await portal.join("yard", at=two)).unit for _ in range(2)} == {two}
        with pytest.raises(BusyError):
            await portal.join("yard", at=two)
        with pytest.raises(BusyError):
            await portal.join("yard", at="c" * 16)


async def test_units_that_are_gone_drained_or_pressed_get_nobody() -> None:
    async with site() as made:
        portal, units = await portal_and_units(made, Clock())
        units[0].state = State.PRESSED
        await until(lambda: portal.hearing.view.units[units[0].id].state is State.PRESSED)
        assert (await portal.join("yard")).unit == units[1].id
        made.kill("two")
        await until(lambda: units[1].id not in portal.hearing.present)
        with pytest.raises(BusyError):
            await portal.join("yard")


async def test_a_unit_that_gets_the_channel_from_no_unit_is_as_good_as_any() -> None:
    """Where the source enters at a node that is only a portal, no unit reports it."""
    async with site() as made:
        portal, units = await portal_and_units(made, Clock())
        units[0].branches["yard"] = BranchReport("yard", "p" * 16, False, 1, 1_000_000)
        units[1].branches["yard"] = BranchReport("yard")  # it waits for a source
        made.kill("two")
        await heard(portal)
        assert (await portal.join("yard")).unit == units[0].id


async def test_a_channel_nobody_has_is_refused_alone() -> None:
    async with site() as made:
        portal, _ = await portal_and_units(made, Clock())
        with pytest.raises(BusyError):
            await portal.join("nothing")


async def test_a_manager_that_does_not_answer_is_not_waited_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.1)
    async with site() as made:
        portal, _ = await portal_and_units(made, Clock())
        bus = await made.bus("silent")
        bus.announce(wire.MANAGER, "silent", {"active": True, "epoch": 3})

        async def never(request: Request) -> None:
            await asyncio.Event().wait()

        bus.serve(wire.JOIN, never)
        await until(lambda: portal.active() == bus.node)
        assert not (await portal.join("yard")).by_manager


async def test_refusals_of_the_manager_are_its_last_word() -> None:
    async with site() as made:
        portal, _ = await portal_and_units(made, Clock())
        bus = await made.bus("strict")
        bus.announce(wire.MANAGER, "strict", {"active": True, "epoch": 3})

        async def full(request: Request) -> None:
            raise BusyError("all is full", subject="bandwidth", retry_after=7)

        bus.serve(wire.JOIN, full)
        await until(lambda: portal.active() == bus.node)
        with pytest.raises(BusyError) as refused:
            await portal.join("yard")
        assert (refused.value.subject, refused.value.retry_after) == ("bandwidth", 7)


async def test_the_manager_of_the_highest_epoch_is_asked_and_listened_to() -> None:
    async with site() as made:
        portal = await made.add_portal()
        views: list[object] = []
        portal.watch(lambda kind, value: views.append(value["manager"]))
        old, new = await made.bus("old"), await made.bus("new")
        old.announce(wire.MANAGER, "old", {"active": True, "epoch": 3})
        await until(lambda: portal.active() == old.node)
        new.announce(wire.MANAGER, "new", {"active": True, "epoch": 4})
        await until(lambda: portal.active() == new.node)
        old.publish(wire.VIEWS, {"manager": "old"})
        new.publish(wire.VIEWS, {"manager": "new"})
        await until(lambda: views)
        assert views == ["new"]


async def test_orders_and_views_without_a_manager_are_refused_at_once() -> None:
    async with site() as made:
        portal = await made.add_portal()
        with pytest.raises(UnreachableError):
            await portal.command("drain", EVA, unit="a")
        with pytest.raises(RemoteError):
            await portal.view()


async def test_nonsense_on_the_bus_is_counted_and_harms_nobody() -> None:
    async with site() as made:
        portal, units = await portal_and_units(made, Clock())
        absent = portal.hearing.counters()["absent"]
        units[1].bus.publish(wire.REPORTS, {"name": 7})
        stranger = await made.bus("stranger")
        stranger.publish(wire.REPORTS, wire.report_json(units[0].report()))
        stranger.publish(wire.VIEWS, ["nonsense"])
        await until(lambda: portal.hearing.counters()["unread"] == 1)
        await until(lambda: portal.hearing.counters()["absent"] == absent + 1)
        assert set(portal.hearing.view.units) == {unit.id for unit in units}
        assert (await portal.join("yard")).unit


async def test_many_who_wait_for_a_manager_are_all_served_by_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "PATIENCE", 20.0)
    async with site() as made:
        portal = await made.add_portal()
        bus = await made.bus("late")
        here = bus.announce(wire.MANAGER, "late", {"active": False, "epoch": 0})
        await until(lambda: portal.hearing._bus.present(wire.MANAGER))
        asked: list[str] = []

        async def seat(request: Request) -> object:
            asked.append(request.caller)
            return wire.seat_json(wire.Seat(f"r{len(asked)}", "u" * 16, 0, 1, 9.0))

        bus.serve(wire.JOIN, seat)
        waiting = [asyncio.ensure_future(portal.join("yard")) for _ in range(20)]
        await asyncio.sleep(0)
        assert not any(one.done() for one in waiting)
        here.update({"active": True, "epoch": 1})
        places = await asyncio.gather(*waiting)
        assert {one.id for one in places} == {f"r{number}" for number in range(1, 21)}


async def test_a_portal_knows_what_units_send_as_long_as_they_are_there() -> None:
    async with site() as made:
        portal, units = await portal_and_units(made, Clock())
        assert portal.loads() == {}
        units[0].measured = Amounts(7_000_000, 1, 1)
        await until(lambda: portal.loads() == {"one": 7_000_000.0})
        await units[0].bus.close()
        await until(lambda: portal.loads() == {})
