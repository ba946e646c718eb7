"""Units that die, go, come back, and say what they run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.manager.test_manager_decisions import opened, seat
from tests.unit.manager.units import cluster, report_of

from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager.draft import apply
from heliograph.manager.invariants import check
from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.tree import depths, tree
from heliograph.manager.view import Amounts, Policy, State, View
from heliograph.model.errors import ConflictError, NotFoundError


def spread_out() -> View:
    """A channel on four units, 1 feeding 2 and 3 feeding 4, ten viewers each."""
    view = opened(cluster(6, groups=2), Policy(3, 2))
    for unit, parent in (("2", "1"), ("3", "2"), ("4", "3")):
        view = apply(view, t.Link("yard", unit, parent), t.Grant("yard", unit, 0, 10, 0.0))
    view = seat(view, 37 - 3)
    assert depths(view.channels["yard"]) == {"1": 0, "2": 1, "3": 2, "4": 3}
    return view


def viewers(view: View, name: str = "yard") -> int:
    return view.channels[name].seats


# --- death --------------------------------------------------------------------------------------


def test_children_of_a_dead_relay_are_joined_and_its_viewers_find_places() -> None:
    view = spread_out()
    lost = view.units["2"].viewers
    done = d.replace_unit(view, "2", 10.0)
    assert check(done.view) == []
    assert t.Link("yard", "3", "1") in done.transitions
    held = [one for one in done.transitions if isinstance(one, t.MoveViewers)]
    assert sum(one.count for one in held) == lost
    assert done.view.units["2"].state is State.GONE
    assert viewers(done.view) == viewers(view)
    # Those who come from there sit where places were held, and count once.
    view = done.view
    for number in range(lost):
        joined = d.join(view, "yard", f"again{number}", 11.0, origin="2")
        kept = joined.reservation
        assert kept.unit in {one.target.unit for one in held}
        view = d.take(joined.view, kept.id, kept.unit).view
    assert not view.channels["yard"].holds
    assert viewers(view) == 34
    assert check(view) == []


def test_a_dead_ingest_unit_gets_an_heir_that_moves_least() -> None:
    view = spread_out()
    done = d.replace_unit(view, "1", 10.0)
    assert done.view.channels["yard"].ingest == "2"
    assert [one for one in done.transitions if isinstance(one, t.Link)] == []
    assert check(done.view) == []


def test_the_only_unit_of_a_channel_is_replaced_by_another() -> None:
    view = seat(opened(cluster(2)), 5)
    dead = view.channels["yard"].ingest or ""
    view = d.replace_unit(view, dead, 1.0).view
    assert view.channels["yard"].ingest not in (None, dead)
    assert sum(one.reserved for unit in view.units.values() for one in unit.groups.values()) == 5


def test_with_nobody_left_that_is_refused_and_made_good_later() -> None:
    view = seat(opened(cluster(1)), 5)
    done = d.replace_unit(view, "1", 1.0)
    assert {one.budget for one in done.refusals} == {"units"}
    assert done.view.channels["yard"].ingest is None
    view = d.settle(d.bring_back(done.view, "1").view, 2.0).view
    assert view.channels["yard"].ingest == "1"
    assert check(view) == []


def test_replacing_twice_is_harmless() -> None:
    view = d.replace_unit(spread_out(), "2", 1.0).view
    assert d.replace_unit(view, "2", 1.0).view == view


# --- drain, remove, return ----------------------------------------------------------------------


def test_a_drained_unit_is_left_by_links_source_and_viewers_and_removed() -> None:
    view = spread_out()
    for _ in range(10):
        done = d.drain(view, "1", 10.0)
        view = done.view
        assert check(view) == []
        for one in done.transitions:
            if isinstance(one, t.MoveIngest):
                assert view.units["1"].viewers  # the source need not wait for the viewers
                view = d.move_ingest(view, one.channel, one.target).view
            elif isinstance(one, t.MoveViewers):
                for _ in range(one.count):
                    view = d.take(view, one.id, one.target.unit).view
                    view = d.leave(view, *one.source, 10.0).view
        assert check(view) == []
        if d.progress(view, "1").done:
            break
    assert d.progress(view, "1").done
    assert viewers(view) == 34
    assert view.channels["yard"].ingest == "2"
    view = d.remove(view, "1").view
    assert "1" not in view.units
    with pytest.raises(NotFoundError):
        d.progress(view, "1")


def test_the_only_unit_of_a_channel_is_drained_onto_another() -> None:
    view = seat(opened(cluster(2)), 5)
    only = view.channels["yard"].ingest or ""
    done = d.drain(view, only, 1.0)
    assert done.refusals == ()
    moves = [one for one in done.transitions if isinstance(one, t.MoveIngest)]
    assert [one.source for one in moves] == [only]
    view = d.move_ingest(done.view, "yard", moves[0].target).view
    for one in done.transitions:
        if isinstance(one, t.MoveViewers):
            for _ in range(one.count):
                view = d.take(view, one.id, one.target.unit).view
                view = d.leave(view, *one.source, 2.0).view
    view = d.drain(view, only, 2.0).view
    assert d.progress(view, only).done
    assert viewers(view) == 5
    assert check(view) == []


def test_a_source_that_drains_with_all_its_units_moves_below_the_nearest_with_room() -> None:
    view = opened(cluster(4, groups=2), Policy(2, 2))
    for unit in ("2", "3"):
        view = apply(view, t.Link("yard", unit, "1"), t.Grant("yard", unit, 0, 10, 0.0))
    for unit in ("2", "3"):
        view = apply(view, t.ChangeState(unit, State.DRAINING))
    view = d.drain(view, "1", 1.0).view
    assert check(view) == []
    assert view.channels["yard"].next_ingest == "4"
    assert view.channels["yard"].branches["4"].parent == "2"
    view = d.move_ingest(view, "yard", "4").view
    assert check(view) == []
    assert depths(view.channels["yard"])["4"] == 0


def test_draining_orders_once_what_has_not_happened_yet() -> None:
    first = d.drain(spread_out(), "2", 10.0)
    assert first.transitions
    assert d.drain(first.view, "2", 11.0).transitions == ()


def test_a_unit_in_use_is_not_removed() -> None:
    view = spread_out()
    with pytest.raises(ConflictError):
        d.remove(view, "2")
    with pytest.raises(ConflictError):
        d.remove(d.drain(view, "2", 0.0).view, "2")


def test_a_unit_returns_and_is_given_things_again() -> None:
    view = d.drain(opened(cluster(2)), "2", 0.0).view
    view = d.bring_back(view, "2").view
    assert view.units["2"].state is State.UP
    assert d.bring_back(view, "2").transitions == ()


def test_a_source_that_enters_elsewhere_is_the_root_there() -> None:
    view = d.move_ingest(spread_out(), "yard", "4").view
    assert check(view) == []
    assert depths(view.channels["yard"])["4"] == 0
    assert set(depths(view.channels["yard"])) == {"1", "2", "3", "4"}
    assert max(depths(view.channels["yard"]).values()) <= 3


# --- reports ------------------------------------------------------------------------------------


def test_a_standby_has_the_same_view_from_reports_alone() -> None:
    view = spread_out()
    fresh = View()
    for unit in ("4", "2", "6", "3", "1", "5"):  # children before their parents as well
        fresh = d.absorb(fresh, report_of(view, unit, 0.0)).view
    assert check(fresh) == []
    assert str(tree(fresh, "yard")) == str(tree(view, "yard"))
    assert {one.id: one.viewers for one in fresh.units.values()} == {
        one.id: one.viewers for one in view.units.values()
    }
    moved = d.settle(fresh, 1.0).transitions
    assert not [one for one in moved if isinstance(one, t.Link | t.Ingest | t.Revoke)]


def test_a_report_from_before_an_order_does_not_undo_it() -> None:
    view = opened(cluster(2))
    early = report_of(view, "1", 0.0)
    view = d.extend(view, "yard", 0.0, 1, "1").view
    late = d.absorb(view, replace(early, groups=(GroupReport(0, "yard", 4),))).view
    assert late.channels["yard"].groups == 2
    assert late.units["1"].groups[0].viewers == 4
    done = d.absorb(view, replace(early, serial=view.serial)).view
    assert done.channels["yard"].groups == 1


def test_a_source_an_orphan_found_by_itself_is_accepted() -> None:
    view = apply(spread_out(), t.Lose("2"))
    assert view.channels["yard"].orphans == {"3"}
    said = report_of(view, "3", 1.0)
    found = replace(said.branches[0], source="1")
    view = d.absorb(view, replace(said, branches=(found,))).view
    assert view.channels["yard"].branches["3"].parent == "1"
    assert [x for x in d.settle(view, 1.0).transitions if isinstance(x, t.Link)] == []


def test_a_reported_ring_is_not_believed() -> None:
    view = spread_out()
    said = report_of(view, "2", 1.0)
    ring = replace(said.branches[0], source="4")
    view = d.absorb(view, replace(said, branches=(ring,))).view
    assert view.channels["yard"].orphans == {"2"}
    view = d.settle(view, 1.0).view
    assert check(view) == []
    assert not view.channels["yard"].orphans


def test_after_a_partition_the_higher_epoch_has_the_channel_and_there_is_one_tree() -> None:
    whole = spread_out()
    ours = d.replace_unit(d.replace_unit(whole, "3", 5.0).view, "4", 5.0).view
    # Beyond the cut 3 took in a source of its own, 4 went on, and a viewer sat down.
    island = [
        Report(
            "3",
            "3",
            9.0,
            budgets=whole.units["3"].budgets,
            branches=(BranchReport("yard", None, True, 2, 1_000_000),),
            groups=(GroupReport(0, "yard", 7),),
        ),
        Report(
            "4",
            "4",
            9.0,
            budgets=whole.units["4"].budgets,
            branches=(BranchReport("yard", "3", False, 2, 1_000_000),),
            groups=(GroupReport(0, "yard", 8), GroupReport(0, "yard", 8)),
        ),
    ]
    for report in island:
        ours = d.absorb(ours, report).view
    ours = d.settle(ours, 9.0).view
    assert check(ours) == []
    channel = ours.channels["yard"]
    assert channel.ingest == "3"
    assert not channel.orphans
    assert ours.units["4"].groups[0].viewers == 8
    # The old source speaks up again, with its old epoch, and does not get the channel back.
    again = replace(
        report_of(ours, "1", 10.0), branches=(BranchReport("yard", None, True, 1, 1_000_000),)
    )
    ours = d.settle(d.absorb(ours, again).view, 10.0).view
    assert ours.channels["yard"].ingest == "3"
    assert not ours.channels["yard"].orphans
    assert check(ours) == []


def test_what_the_database_says_is_closed_ends_wherever_it_runs() -> None:
    view = spread_out()
    done = d.settle(view, 1.0, opened=())
    assert done.transitions == (t.CloseChannel("yard", ("1", "2", "3", "4")),)
    assert not any(unit.groups or unit.carries for unit in done.view.units.values())


def test_viewers_a_unit_seated_by_itself_take_places_that_were_kept() -> None:
    view = opened(cluster(1, groups=1))
    for number in range(6):
        view = d.join(view, "yard", f"r{number}", float(number)).view
    said = replace(report_of(view, "1", 7.0), groups=(GroupReport(0, "yard", 8),))
    view = d.absorb(view, said).view
    assert check(view) == []
    assert set(view.units["1"].reservations) == {"r0", "r1"}


def test_reservations_used_are_counted_once() -> None:
    view = d.join(opened(cluster(1)), "yard", "r", 0.0).view
    said = replace(
        report_of(view, "1", 1.0), groups=(GroupReport(0, "yard", 1),), taken=("r", "unknown")
    )
    view = d.absorb(view, said).view
    assert view.channels["yard"].seats == 1
    assert check(view) == []


def test_what_a_unit_spends_beyond_the_model_counts() -> None:
    view = seat(opened(cluster(1, limits=Amounts(100_000_000, 10**6, 10**9))), 2)
    busy = replace(report_of(view, "1", 1.0), measured=Amounts(0, 999_999, 0))
    view = d.absorb(view, busy).view
    assert view.units["1"].lacks(view.channels["yard"].seat) == "cpu"
    calm = replace(busy, measured=Amounts())
    assert d.absorb(view, calm).view.units["1"].other == Amounts()


def test_pressure_is_the_units_to_say_and_draining_is_not() -> None:
    view = cluster(1)
    said = report_of(view, "1", 0.0)
    view = d.absorb(view, replace(said, state=State.PRESSED)).view
    assert view.units["1"].state is State.PRESSED
    view = d.drain(view, "1", 0.0).view
    assert d.absorb(view, said).view.units["1"].state is State.DRAINING
    view = d.replace_unit(view, "1", 0.0).view
    assert d.absorb(view, said).view.units["1"].state is State.UP
