"""What people order of managers that run, and are shown of it."""

from __future__ import annotations

import pytest
from tests.unit.manager.site import EVA, carriers, full, seat, site, three
from tests.unit.manager.waiting import until

from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.invariants import check
from heliograph.manager.view import State
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    UnsupportedError,
)


async def test_a_drained_unit_is_emptied_with_progress_removed_and_returned() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        told: list[dict[str, object]] = []
        portal.watch(lambda kind, value: told.append(dict(value)) if kind == "progress" else None)
        await until(lambda: portal.active())
        await seat(made, 6)
        await until(lambda: manager.view.channels["yard"].seats == 6)
        units[0].deaf = True  # or it might have nothing before one looks
        answer = await portal.command("drain", EVA, unit=units[0].id)
        assert answer["progress"]["unit"] == units[0].id
        with pytest.raises(ConflictError, match="still carries 1 channels"):
            await portal.command("remove", EVA, unit=units[0].id)
        units[0].deaf = False
        assert not answer["done"]
        # Viewers whose pages were sent away come again, the publisher too.
        await until(lambda: [one for one in units[0].orders if isinstance(one, t.MoveIngest)])
        target = next(one for one in units[0].orders if isinstance(one, t.MoveIngest)).target
        next(unit for unit in units if unit.id == target).enter("yard", epoch=2)
        for _ in range(6):
            place = await portal.join("yard", origin=units[0].id)
            assert place.unit != units[0].id
            unit = next(one for one in units if one.id == place.unit)
            await until(lambda unit=unit, place=place: place.index in unit.groups)
            unit.take(place.id, place.index)
        await until(lambda: [one for one in told if one["done"]])
        assert told[-1]["subject"] == units[0].id
        assert not units[0].groups
        assert units[0].state is State.DRAINING
        # A channel that nobody feeds there is known, as everywhere, and not carried.
        known = units[0].branches
        await until(lambda: not any(one.source or one.ingest for one in known.values()))
        assert (await portal.command("remove", EVA, unit=units[0].id))["done"]
        # It runs on, is not shown, and stays empty.
        at = manager.hearing.reports[units[0].id].at
        await until(lambda: manager.hearing.reports[units[0].id].at > at)
        view = await portal.view()
        assert units[0].id not in [one["id"] for one in view["units"]]
        assert view["removed"] == [{"id": units[0].id, "name": "one"}]
        assert (await portal.command("return", EVA, unit=units[0].id))["done"]
        await until(lambda: units[0].state is State.UP)
        assert made.database.drained == made.database.removed == set()
        assert units[0].id in [one["id"] for one in (await portal.view())["units"]]
        assert check(manager.view) == []


async def test_a_drained_unit_that_is_returned_while_it_cannot_be_told_is_told_later() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await portal.command("drain", EVA, unit=units[2].id)
        await until(lambda: units[2].state is State.DRAINING)
        units[2].deaf = units[2].mute = True
        await portal.command("return", EVA, unit=units[2].id)
        await until(lambda: manager.counters["orders_given_up"])
        units[2].deaf = units[2].mute = False
        await until(lambda: units[2].state is State.UP)
        await until(lambda: manager.view.units[units[2].id].state is State.UP)


async def test_a_unit_that_is_gone_is_given_nobody_though_it_is_drained_and_returned() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        gone = units[2]
        made.kill(gone.name)
        await until(lambda: manager.view.units[gone.id].state is State.GONE)
        assert (await portal.command("drain", EVA, unit=gone.id))["done"]
        assert manager.view.units[gone.id].state is State.GONE
        assert gone.id in manager.drained  # when it is back
        await portal.command("return", EVA, unit=gone.id)
        assert manager.view.units[gone.id].state is State.GONE
        for other in units[:2]:
            manager.decide(d.drain(manager.view, other.id, manager.now()))
        with pytest.raises(BusyError):
            await portal.join("yard")


async def test_a_source_is_moved_by_hand() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        assert not (await portal.command("move", EVA, channel="yard", unit=units[2].id))["done"]
        await until(lambda: [one for one in units[0].orders if isinstance(one, t.MoveIngest)])
        await until(lambda: "yard" in units[2].branches)
        units[2].enter("yard", epoch=2)
        await until(lambda: manager.view.channels["yard"].ingest == units[2].id)
        await until(lambda: units[0].branches["yard"].source == units[2].id)
        assert made.database.written == [("channel.move yard", "eva")]


async def test_a_unit_that_is_gone_is_forgotten_and_gets_nothing_when_it_is_back() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        gone = units[2]
        made.kill(gone.name)
        await until(lambda: manager.view.units[gone.id].state is State.GONE)
        await portal.command("remove", EVA, unit=gone.id)
        assert gone.id not in manager.view.units
        assert made.database.written == [("remove", "eva")]
        gone.stop()
        made.units.remove(gone)
        again = await made.add_unit("three")
        assert again.id == gone.id
        await until(lambda: again.state is State.DRAINING)
        assert again.id not in [one["id"] for one in (await portal.view())["units"]]
        # Somebody publishes there: it is shown until it has nothing.
        again.enter("hall")
        await until(lambda: "hall" in manager.view.channels)
        assert again.id in [one["id"] for one in (await portal.view())["units"]]


async def test_a_channel_is_opened_before_anybody_comes() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        units[2].bus.announce("channel", "hall", {})
        await until(lambda: portal.active() and "hall" in manager.offered())
        answer = await portal.command("open", EVA, channel="hall")
        assert answer["done"]
        chosen = next(unit for unit in units if unit.id == answer["progress"]["unit"])
        assert "hall" in chosen.groups.values()
        assert made.database.written == [("channel.open hall", "eva")]
        await until(lambda: manager.hearing.reports[chosen.id].branches)
        assert (await portal.command("open", EVA, channel="hall"))["done"]  # twice is once
        assert [*chosen.groups.values()].count("hall") == 1
        assert len(made.database.written) == 1
        assert check(manager.view) == []


async def test_a_closed_channel_ends_everywhere_and_stays_closed_until_it_is_opened() -> None:
    async with site() as made:
        manager, units = await three(made, managers=2)
        portal = await made.add_portal()
        told: list[dict[str, object]] = []
        portal.watch(lambda kind, value: told.append(dict(value)) if kind == "progress" else None)
        await until(lambda: portal.active())
        units[1].bus.announce("channel", "yard", {})
        await seat(made, 6)
        assert not (await portal.command("close", EVA, channel="yard"))["done"]
        await until(lambda: [one for one in told if one["command"] == "close" and one["done"]])
        assert not carriers(made)
        assert not [unit for unit in units if "yard" in unit.branches]
        assert made.database.written == [("close", "eva")]
        with pytest.raises(ConflictError, match="closed"):
            await portal.join("yard")
        assert (await portal.view())["closed"] == ["yard"]
        # Somebody got in where nobody knew yet: that ends too.
        units[0].enter("yard", epoch=2)
        await until(lambda: "yard" not in units[0].branches)
        assert not carriers(made)
        # And the next manager knows.
        made.kill(manager.name)
        await until(lambda: made.active() and made.active() != [manager])
        await until(lambda: portal.active() == made.active()[0]._bus.node)
        with pytest.raises(ConflictError, match="closed"):
            await portal.join("yard")
        assert (await portal.command("open", EVA, channel="yard"))["progress"]["groups"] == 1
        assert (await portal.join("yard")).by_manager
        assert made.database.closed == set()
        assert made.database.written == [("close", "eva"), ("open", "eva")]


async def test_where_no_unit_has_room_a_channel_is_not_opened() -> None:
    async with site() as made:
        portal, unit = await full(made)
        unit.bus.announce("channel", "hall", {})
        await until(lambda: "hall" in made.managers[0].manager.offered())
        with pytest.raises(BusyError) as refused:
            await portal.command("open", EVA, channel="hall")
        assert refused.value.retry_after
        assert made.database.written == []


async def test_a_closed_channel_is_opened_even_where_no_unit_has_room() -> None:
    async with site() as made:
        portal, unit = await full(made)
        unit.bus.announce("channel", "hall", {})
        await until(lambda: "hall" in made.managers[0].manager.offered())
        await portal.command("close", EVA, channel="hall")
        with pytest.raises(ConflictError, match="closed"):
            await portal.join("hall")
        assert (await portal.command("open", EVA, channel="hall"))["done"]
        assert made.database.closed == set()
        with pytest.raises(BusyError):  # no more than that
            await portal.join("hall")


async def test_a_channel_that_an_administrator_deleted_is_neither_closed_nor_kept_any_more() -> (
    None
):
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await portal.command("extend", EVA, channel="yard", groups=2)
        await portal.command("close", EVA, channel="yard")
        other = units[1].bus.announce("channel", "yard", {"home": "another"})
        await until(lambda: "yard" in manager.offered())
        forget = {"channel": "yard", "home": units[0].id, "lifted": 1}
        await portal.command("forget", EVA, **forget)
        assert manager.closed == made.database.closed == {"yard"}  # that one is not deleted
        other.close()
        await until(lambda: not manager.homes("yard"))
        await portal.command("forget", EVA, **forget)
        assert not manager.closed | made.database.closed
        assert not {**manager.kept, **made.database.kept}
        assert (await portal.view())["closed"] == []


async def test_a_channel_that_its_owner_deleted_meanwhile_is_closed_until_it_is_opened() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await portal.command("extend", EVA, channel="yard", groups=2)
        await portal.command("close", EVA, channel="yard")
        await portal.command("forget", EVA, channel="yard", home=units[0].id, lifted=0)
        assert manager.closed == made.database.closed == {"yard"}
        assert not {**manager.kept, **made.database.kept}
        assert (await portal.command("open", EVA, channel="yard"))["done"]
        assert not manager.closed | made.database.closed


async def test_groups_are_added_and_taken_by_hand() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        what = {"channel": "yard", "unit": units[1].id}
        assert (await portal.command("extend", EVA, **what))["done"]
        await until(lambda: units[1].groups)
        assert units[1].branches["yard"].source == units[0].id
        assert (await portal.command("reduce", EVA, channel="yard"))["done"]
        await until(lambda: not units[1].groups)
        assert made.database.kept["yard"] == 1
        assert manager.view.channels["yard"].kept == 1


REFUSED: list[tuple[str, dict[str, object], type[HelioError]]] = [
    ("open", {"channel": "new"}, NotFoundError),
    ("close", {"channel": "new"}, NotFoundError),
    ("open", {}, MalformedError),
    ("dance", {}, UnsupportedError),
    ("drain", {"unit": "nobody"}, NotFoundError),
    ("return", {"unit": "nobody"}, NotFoundError),
    ("remove", {"unit": "one"}, NotFoundError),
    ("extend", {"channel": "nothing"}, NotFoundError),
    ("extend", {"channel": "yard", "groups": 100}, MalformedError),
    ("extend", {"channel": "yard", "groups": "two"}, MalformedError),
    ("reduce", {"channel": "yard"}, ConflictError),
    ("move", {"channel": "yard", "unit": "nobody"}, NotFoundError),
]


async def test_orders_that_cannot_be_are_refused_and_nothing_is_written() -> None:
    async with site() as made:
        await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        for command, what, error in REFUSED:
            with pytest.raises(error):
                await portal.command(command, EVA, **what)
        assert made.database.written == []


async def test_people_are_pushed_the_view_when_something_changes() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        views: list[dict[str, object]] = []
        portal.watch(lambda kind, value: views.append(dict(value)) if kind == "view" else None)
        await until(lambda: portal.active())
        await seat(made, 1)
        await until(lambda: views and views[-1]["channels"][0]["viewers"] == 1)  # type: ignore[index]
        shown = await portal.view()
        assert shown["manager"] == "left"
        assert shown["epoch"] == manager.lease.epoch  # type: ignore[union-attr]
        assert {one["id"] for one in shown["units"]} == {unit.id for unit in units}


async def test_the_view_is_published_while_somebody_listens() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        heard: list[object] = []
        made.buses["portal"][0].subscribe(
            wire.VIEWS, lambda node, topic, value: heard.append(value)
        )
        await until(lambda: portal.active())
        listening = portal.watch(lambda kind, value: None)
        await until(lambda: heard)
        listening.close()
        await until(lambda: not manager._bus.present(wire.WATCHERS))
        told = len(heard)
        units[0].enter("hall")
        await until(lambda: "hall" in manager.view.channels)
        ticks = manager._ticks
        await until(lambda: manager._ticks > ticks + 3)
        assert len(heard) == told


async def test_orders_that_fail_do_not_keep_later_ones_from_a_unit() -> None:
    async with site() as made:
        manager, units = await three(made)
        bus, failed = made.managers[0].bus, []
        call = bus.call

        async def broken(node: str, method: str, *rest: object) -> object:
            if method == wire.ORDERS and not failed:
                failed.append(node)
                raise RuntimeError("nobody expected this")
            return await call(node, method, *rest)  # type: ignore[arg-type]

        bus.call = broken  # type: ignore[method-assign, assignment]
        manager.decide(d.drain(manager.view, units[1].id, manager.now()))
        await until(lambda: failed == [units[1].id])
        await until(lambda: manager.view.units[units[1].id].state is State.UP)  # it is believed
        manager.decide(d.drain(manager.view, units[1].id, manager.now()))
        # Nobody wants it drained, so it is called back: soon, or at once on a busy machine.
        await until(lambda: t.ChangeState(units[1].id, State.DRAINING) in units[1].orders)
