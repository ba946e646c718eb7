"""Managers that run: one is active, it may die, freeze, lose the database or the network."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.unit.manager.leases import Lease
from tests.unit.manager.site import EVA, QUICK, carriers, full, seat, site, three
from tests.unit.manager.waiting import until

from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.describe import describe
from heliograph.manager.invariants import check
from heliograph.manager.reports import BranchReport
from heliograph.manager.tree import depths
from heliograph.manager.view import State
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    ResourceError,
    WrongStateError,
)

# --- every day ----------------------------------------------------------------------------------


async def test_a_channel_that_enters_gets_groups_and_grows_over_units_as_viewers_come() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        seats = await seat(made, 14)
        assert len(set(seats)) > 1
        await until(lambda: manager.view.channels["yard"].seats == 14)
        assert sum(unit.watching("yard") for unit in units) == 14
        assert check(manager.view) == []
        channel = manager.view.channels["yard"]
        assert channel.ingest == units[0].id
        assert not channel.orphans
        assert all(unit.branches["yard"].source == units[0].id for unit in units[1:] if unit.groups)
        # What reports say is what was decided.
        await until(lambda: carriers(made) == set(manager.view.channels["yard"].branches))


async def test_when_all_is_full_a_viewer_is_refused_with_the_reason_and_a_time() -> None:
    async with site() as made:
        portal, _ = await full(made)
        with pytest.raises(BusyError) as refused:
            await portal.join("yard")
        assert refused.value.subject == "places"
        assert refused.value.retry_after
        with pytest.raises(NotFoundError):
            await portal.join("nothing")


async def test_more_channels_than_groups_are_watched_one_after_the_other() -> None:
    async with site() as made:
        await made.add_manager("left")
        unit = await made.add_unit("one", groups=3)
        names = [f"c{number}" for number in range(10)]
        for name in names:
            unit.enter(name)
        portal = await made.add_portal()
        manager = await made.until_active()
        await until(lambda: portal.active() and len(manager.view.channels) == len(names))
        for name in names * 2:
            place = await portal.join(name)
            assert unit.groups[place.index] == name
            unit.take(place.id, place.index)
            await until(lambda name=name: manager.view.channels[name].seats == 1)
            unit.sit(place.index, -1)
            await until(lambda name=name: manager.view.channels[name].seats == 0)
        assert not manager.counters["refusals"]
        assert check(manager.view) == []


async def test_a_viewer_who_cannot_go_elsewhere_sits_where_he_is_or_nowhere() -> None:
    async with site() as made:
        _, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        for _ in range(8):
            place = await portal.join("yard", at=units[1].id)
            assert place.unit == units[1].id
            assert units[1].groups[place.index] == "yard"  # it knows before he comes
        with pytest.raises(BusyError):
            await portal.join("yard", at=units[1].id)
        assert (await portal.join("yard")).unit != units[1].id


async def test_channels_that_are_only_held_open_cause_no_orders_until_somebody_watches() -> None:
    async with site() as made:
        manager, units = await three(made)
        for unit in units:
            unit.branches["idle"] = BranchReport("idle")
            unit.branches.setdefault("yard", BranchReport("yard"))
        units[2].bus.announce("channel", "idle", {})
        portal = await made.add_portal()
        await until(lambda: portal.active())
        asked = manager.hearing.counters()["reports"]
        await until(lambda: manager.hearing.counters()["reports"] > asked + 20)
        assert not [one for unit in units for one in unit.orders if "idle" in str(one)]
        assert not units[1].orders  # not for the channel that enters elsewhere either
        place = await portal.join("idle")
        unit = next(one for one in units if one.id == place.unit)
        assert unit.groups[place.index] == "idle"
        unit.take(place.id, place.index)
        # The source comes at last, elsewhere: who waited is joined to it.
        other = next(one for one in units if one is not unit)
        other.enter("idle", epoch=2)
        await until(lambda: unit.branches["idle"].source == other.id)
        assert manager.view.channels["idle"].ingest == other.id


async def test_what_a_unit_cannot_do_is_not_ordered_each_second() -> None:
    async with site() as made:
        manager, units = await three(made)
        units[1].stubborn = True
        units[1].branches["yard"] = BranchReport("yard", "b" * 16)  # fed by nobody known
        await until(lambda: [one for one in units[1].orders if isinstance(one, t.Link | t.Unlink)])
        reports = manager.hearing.counters()["reports"]
        await until(lambda: manager.hearing.counters()["reports"] > reports + 60)
        assert len(units[1].orders) <= 3


# --- units that go ------------------------------------------------------------------------------


async def test_a_unit_dies_and_its_groups_and_viewers_find_other_units() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await seat(made, 12)
        await until(lambda: len(carriers(made)) >= 2)
        dead = units[1] if units[1].groups else units[2]
        lost = dead.watching("yard")
        assert lost
        await until(lambda: manager.view.channels["yard"].seats == 12)
        made.kill(dead.name)
        await until(lambda: dead.id not in manager.hearing.present)
        assert manager.view.units[dead.id].state is State.GONE
        assert check(manager.view) == []
        rest = [unit for unit in units if unit is not dead]
        back = 0
        for _ in range(lost):  # their pages ask again
            try:
                place = await portal.join("yard", origin=dead.id)
            except BusyError:
                continue
            assert place.unit in {unit.id for unit in rest}
            back += 1
        assert back == min(lost, 16 - 12 + lost)
        shown = describe(manager.view, epoch=1, manager="left", at=0.0)
        assert {one["id"]: one["state"] for one in shown["units"]}[dead.id] == "gone"


async def test_an_ingest_unit_dies_and_another_waits_for_the_publisher() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await seat(made, 10)
        await until(lambda: len(carriers(made)) >= 2)
        made.kill("one")
        await until(lambda: units[0].id not in manager.hearing.present)
        heir = manager.view.channels["yard"].ingest
        assert heir in {units[1].id, units[2].id}
        unit = next(one for one in units if one.id == heir)
        await until(lambda: [one for one in unit.orders if isinstance(one, t.Ingest)])
        # The publisher comes to the third in the next epoch, and that is the root.
        other = next(one for one in units[1:] if one is not unit)
        other.enter("yard", epoch=2)
        await until(lambda: manager.view.channels["yard"].ingest == other.id)
        await until(lambda: unit.branches["yard"].source == other.id)
        assert check(manager.view) == []


async def test_a_unit_that_was_started_anew_is_not_taken_for_what_it_was() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await seat(made, 3)
        await until(lambda: manager.view.channels["yard"].seats == 3)
        unit = units[0]
        unit.serial = unit._applied = 0
        unit.groups, unit.viewers, unit.branches = {}, {}, {}
        unit.enter("yard", epoch=2)
        await until(lambda: manager.hearing.counters()["restarted"] == 1)
        await until(lambda: unit.groups)
        await until(lambda: manager.view.channels["yard"].ingest == unit.id)
        assert check(manager.view) == []


async def test_a_unit_that_answers_no_order_is_believed_by_its_reports_again() -> None:
    async with site() as made:
        manager, units = await three(made)
        units[1].deaf = True
        units[1].enter("stage")
        await until(lambda: manager.counters["orders_given_up"])
        units[1].deaf = False
        await until(lambda: "stage" in units[1].groups.values())
        assert check(manager.view) == []


async def test_a_unit_that_is_there_and_says_nothing_is_given_up_in_the_end() -> None:
    async with site() as made:
        manager, units = await three(made)
        manager.options = replace(QUICK, silence=1.0)
        units[2].mute = True
        await until(lambda: manager.view.units[units[2].id].state is State.GONE)
        units[2].mute = False
        await until(lambda: manager.view.units[units[2].id].state is State.UP)


# --- managers that go ---------------------------------------------------------------------------


async def test_a_manager_dies_and_the_standby_goes_on_with_the_same_view() -> None:
    async with site() as made:
        manager, units = await three(made, managers=2)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await seat(made, 11)
        await until(lambda: sum(unit.viewers for unit in manager.view.units.values()) == 11)
        standby = next(host.manager for host in made.managers if host.manager is not manager)
        lease = manager.lease
        assert lease is not None
        before = describe(manager.view, epoch=0, manager="", at=0.0)
        orders = [len(unit.orders) for unit in units]
        made.kill(manager.name)
        await until(lambda: standby.serving)
        held = standby.lease
        assert held is not None
        assert held.epoch > lease.epoch
        after = describe(standby.view, epoch=0, manager="", at=0.0)
        assert after["channels"] == before["channels"]
        assert [one["groups"] for one in after["units"]] == [
            one["groups"] for one in before["units"]
        ]
        assert [len(unit.orders) for unit in units] == orders  # nothing was to be mended
        assert check(standby.view) == []
        await until(lambda: all(unit.epoch == held.epoch for unit in units))
        assert (await portal.join("yard")).by_manager


async def test_orders_of_a_manager_that_was_frozen_are_refused_and_it_steps_down() -> None:
    async with site() as made:
        manager, units = await three(made, managers=2)
        # It stands still: nobody renews its lease, and then it orders something, believing itself.
        standby = next(host.manager for host in made.managers if host.manager is not manager)
        made.freeze(manager)
        await until(lambda: standby.serving)
        await until(lambda: units[1].epoch == standby.lease.epoch)  # type: ignore[union-attr]
        assert manager.lease is None
        rules = manager.leader.rules
        rules._lease, rules._until = Lease("manager", "old", 1, 60.0), made.now() + 60
        manager.decide(d.drain(manager.view, units[1].id, manager.now()))
        await until(lambda: units[1].refused)
        await until(lambda: manager.lease is None)
        assert standby.serving
        # An order of another epoch, by hand, changes nothing.
        stale = wire.Orders(1, 99_999, (t.ChangeState(units[1].id, State.DRAINING),))
        with pytest.raises(ConflictError):
            await made.buses["left"][0].call(units[1].id, wire.ORDERS, wire.orders_json(stale, 0.0))
        assert units[1].state is State.UP


async def test_joins_during_a_takeover_wait_for_it_or_are_chosen_alone() -> None:
    async with site() as made:
        manager, _units = await three(made, managers=2)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await until(lambda: portal.hearing.view.channels.get("yard"))
        made.kill(manager.name)
        places = await asyncio.gather(*(portal.join("yard") for _ in range(3)))
        assert len({(one.unit, one.index, one.id) for one in places}) == 3
        await made.until_active()
        assert (await portal.join("yard")).by_manager


async def test_a_manager_that_stops_on_purpose_hands_over_without_a_wait() -> None:
    async with site() as made:
        manager, _ = await three(made, managers=2)
        other = next(host.manager for host in made.managers if host.manager is not manager)
        await manager.close()
        await until(lambda: other.serving)
        with pytest.raises(WrongStateError):
            manager.require_lease()


# --- the database -------------------------------------------------------------------------------


async def test_without_the_database_viewers_go_on_joining_and_changes_are_refused() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await seat(made, 2)
        made.database.away = True
        with pytest.raises(ResourceError):  # the lease is still good
            await portal.command("drain", EVA, unit=units[1].id)
        assert units[1].id not in manager.drained
        assert (await portal.join("yard")).by_manager
        made.let_the_lease_end()
        await until(lambda: not manager.serving)
        await until(lambda: portal.active() is None)
        place = await portal.join("yard")
        assert not place.by_manager
        assert units[0].groups[place.index] == "yard"
        made.database.away = False
        await until(lambda: manager.serving and portal.active())
        assert (await portal.join("yard")).by_manager
        assert check(manager.view) == []


async def test_a_database_that_says_nothing_holds_up_no_later_order() -> None:
    async with site() as made:
        manager, units = await three(made)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        manager.options = replace(QUICK, command=0.2)
        made.database.hangs = True
        with pytest.raises(BusyError) as refused:
            await portal.command("drain", EVA, unit=units[1].id)
        assert refused.value.subject == "database"
        made.database.hangs = False
        await until(lambda: manager.serving and portal.active())
        manager.options = QUICK
        await portal.command("drain", EVA, unit=units[1].id)
        assert made.database.drained == {units[1].id}


async def test_what_was_acknowledged_is_known_to_the_next_manager() -> None:
    async with site() as made:
        manager, units = await three(made, managers=2)
        portal = await made.add_portal()
        await until(lambda: portal.active())
        assert (await portal.command("extend", EVA, channel="yard"))["done"]
        assert await portal.command("drain", EVA, unit=units[2].id)
        assert made.database.written == [("keep", "eva"), ("drain", "eva")]
        assert made.database.kept == {"yard": 2}
        made.kill(manager.name)
        await until(lambda: made.active() and made.active() != [manager])
        other = next(one for one in made.active() if one is not manager)
        assert other.view.channels["yard"].kept == 2
        assert other.drained == {units[2].id}
        assert other.view.units[units[2].id].state is State.DRAINING


# --- the network --------------------------------------------------------------------------------


async def test_a_partition_heals_to_one_manager_one_tree_and_no_doubled_groups() -> None:
    async with site() as made:
        manager, units = await three(made, managers=2)
        other = next(host.manager for host in made.managers if host.manager is not manager)
        near = await made.add_portal("near")
        far = await made.add_portal("far")
        await until(lambda: near.active() and far.active())
        await seat(made, 10)
        await until(lambda: manager.view.channels["yard"].seats == 10)
        away = units[1] if units[1].groups else units[2]
        here = [unit for unit in units if unit is not away]
        ours = [manager.name, "near", *(unit.name for unit in here)]
        theirs = [other.name, "far", away.name]
        made.part(ours, theirs)
        await until(lambda: away.id not in manager.hearing.present)
        await until(lambda: far.active() is None)
        # Beyond the cut another source takes the channel on, and viewers still find a place.
        away.enter("yard", epoch=2)
        groups = dict(away.groups)
        await until(lambda: "yard" in far.hearing.view.channels)
        try:
            place = await far.join("yard")
            assert place.unit == away.id
            assert not place.by_manager
            away.take(place.id, place.index)
        except BusyError:
            assert away.watching("yard") == 4 * len(groups)
        assert away.groups == groups  # it does not grow
        assert not other.serving  # the database gives nobody a second lease
        made.part(ours, theirs, heal=True)
        await until(lambda: away.id in manager.hearing.reports)
        await until(lambda: manager.view.channels["yard"].ingest == away.id)
        await until(lambda: not manager.view.channels["yard"].orphans)
        channel = manager.view.channels["yard"]
        assert set(depths(channel)) == set(channel.branches)
        assert check(manager.view) == []
        assert made.active() == [manager]
        await until(
            lambda: all(
                unit.branches["yard"].source is not None for unit in here if "yard" in unit.branches
            )
        )
        for unit in units:
            if unit.id in manager.view.units:
                known = manager.view.units[unit.id].groups
                await until(lambda known=known, unit=unit: set(known) >= set(unit.groups))


async def test_a_manager_behind_a_cut_stops_and_the_others_go_on() -> None:
    """The network of the manager is gone, to the database too."""
    async with site() as made:
        manager, units = await three(made, managers=2)
        other = next(host.manager for host in made.managers if host.manager is not manager)
        rest = [name for name in made.buses if name != manager.name]
        made.part([manager.name], rest)
        manager.leader._leases = _Nobody()
        await until(lambda: manager.leader.counters()["failed"] > 1)
        made.let_the_lease_end()
        await until(lambda: other.serving)
        assert manager.lease is None
        await until(lambda: not manager.serving)
        assert {unit.epoch for unit in units} == {other.lease.epoch}  # type: ignore[union-attr]


class _Nobody:
    """A database that cannot be reached."""

    async def acquire(self, name: str, holder: str, ttl: float) -> Lease | None:
        raise ResourceError("unreachable")

    async def renew(self, lease: object) -> Lease | None:
        raise ResourceError("unreachable")

    async def release(self, lease: object) -> None:
        raise ResourceError("unreachable")
