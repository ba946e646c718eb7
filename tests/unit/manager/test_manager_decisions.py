"""What is decided about viewers, groups and trees, case by case."""

from __future__ import annotations

from contextlib import suppress

import pytest
from tests.unit.manager.units import PLENTY, cluster

from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager.decisions.growing import MIN_SPARE, spare
from heliograph.manager.decisions.joining import RESERVATION_S
from heliograph.manager.decisions.shrinking import IDLE_S
from heliograph.manager.draft import Draft, apply
from heliograph.manager.invariants import check
from heliograph.manager.ranking import BUSY, load
from heliograph.manager.tree import parent_group, tree
from heliograph.manager.view import Amounts, Budgets, GroupId, Order, Policy, State, View
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    MalformedError,
    NotFoundError,
)

MEGABIT = 1_000_000


def opened(view: View, policy: Policy | None = None, name: str = "yard") -> View:
    return d.open_channel(view, name, MEGABIT, 0.0, policy).view


def seat(view: View, count: int, now: float = 0.0, name: str = "yard") -> View:
    """Let so many join and sit down."""
    for _ in range(count):
        done = d.join(view, name, f"r{view.serial}-{view.channels[name].seats}", now)
        kept = done.reservation
        view = d.take(done.view, kept.id, kept.unit).view
    assert check(view) == []
    return view


# --- opening and growing ------------------------------------------------------------------------


def test_a_channel_opens_on_the_least_loaded_unit() -> None:
    view = seat(opened(cluster(3), name="first"), 2, name="first")
    used = view.channels["first"].ingest
    view = opened(view)
    assert view.channels["yard"].ingest not in (None, used)


def test_a_channel_opens_once() -> None:
    with pytest.raises(ConflictError):
        opened(opened(cluster(1)))


def test_without_a_free_group_a_channel_opens_and_waits_for_viewers() -> None:
    view = opened(opened(cluster(1, groups=1)), name="other")
    assert view.channels["other"].ingest == "1"
    assert view.channels["other"].groups == 0


def test_without_room_no_channel_opens() -> None:
    with pytest.raises(BusyError) as caught:
        opened(cluster(1, limits=Amounts(10**9, 10**9, 1)))
    assert caught.value.subject == "memory"
    assert caught.value.retry_after


def test_growth_is_drawn_as_in_the_paper() -> None:
    view = cluster(0)
    budgets = Budgets(2, 10, PLENTY)
    for name in ("5", "1"):
        view = apply(view, t.Enrol(name, name, budgets=budgets))
    view = apply(view, t.OpenChannel("yard", MEGABIT), t.Ingest("yard", "5"))
    view = apply(view, t.Grant("yard", "5", 0, 10, 0.0))
    view = seat(view, 25)
    assert str(tree(view, "yard")) == "5-0 → 5-1\n5-0 → 1-0"
    assert parent_group(view, GroupId("5", 1)) == ("5", 0)
    assert parent_group(view, GroupId("1", 0)) == ("5", 0)
    assert parent_group(view, GroupId("5", 0)) is None


def test_a_group_is_added_before_the_places_run_out() -> None:
    view = seat(opened(cluster(1)), 10 - MIN_SPARE)
    assert view.channels["yard"].groups == 1
    view = seat(view, 1)
    assert view.channels["yard"].groups == 2


def test_a_unit_grows_by_itself_as_the_manager_would_let_it() -> None:
    view = seat(opened(cluster(2)), 10 - MIN_SPARE)
    id = view.channels["yard"].ingest or ""
    draft = Draft(view)
    draft.do(t.Reserve("late", "yard", id, 0, 9.0))
    near_full = draft.decision().view
    alone = View({id: near_full.units[id]}, near_full.channels)
    assert d.grow_alone(alone, "yard", id, 0.0).transitions == (t.Grant("yard", id, 1, 10, 0.0),)
    assert d.grow(near_full, "yard", 0.0).transitions == (t.Grant("yard", id, 1, 10, 0.0),)


def test_a_unit_far_busier_than_the_others_leaves_growth_to_them() -> None:
    view = opened(cluster(3, groups=50, limits=Amounts(100 * MEGABIT, 10**9, 10**12)))
    view = seat(view, 120)
    loads = sorted(load(unit) for unit in view.units.values())
    assert loads[-1] < BUSY + 0.2
    assert loads[-2] > BUSY - 0.2


def test_trees_keep_their_bounds_while_they_grow() -> None:
    for order in Order:
        view = opened(cluster(13, groups=1), Policy(2, 3, order))
        view = seat(view, 130 - spare(130))
        assert len(view.channels["yard"].branches) == 13


def test_a_tree_that_is_full_refuses_by_that_name() -> None:
    view = seat(opened(cluster(3, groups=1), Policy(1, 1)), 20)
    with pytest.raises(BusyError) as caught:
        d.join(view, "yard", "late", 0.0)
    assert caught.value.subject == "tree"


@pytest.mark.parametrize(
    ("limits", "budget"),
    [
        (Amounts(5 * MEGABIT, 10**9, 10**12), "bandwidth"),
        (Amounts(10**12, 2000, 10**12), "cpu"),
        (Amounts(10**12, 10**9, 800_000), "memory"),
        (PLENTY, "places"),
    ],
)
def test_a_refusal_names_the_budget_and_harms_nobody(limits: Amounts, budget: str) -> None:
    view = opened(cluster(1, groups=2, limits=limits))
    with suppress(BusyError):
        while True:
            view = seat(view, 1)
    assert view.units["1"].viewers > 1
    with pytest.raises(BusyError) as caught:
        d.join(view, "yard", "late", 0.0)
    assert caught.value.subject == budget
    assert caught.value.retry_after == RESERVATION_S
    assert check(view) == []


def test_a_unit_under_pressure_gets_nothing_more() -> None:
    view = seat(opened(cluster(1)), 2)
    view = d.press(view, "1", True).view
    with pytest.raises(BusyError) as caught:
        d.join(view, "yard", "late", 0.0)
    assert caught.value.subject == "units"
    with pytest.raises(BusyError):
        d.admit(view, "1", Amounts(1))
    assert view.units["1"].viewers == 2
    view = d.press(view, "1", False).view
    d.admit(view, "1", Amounts(1))
    assert seat(view, 1).units["1"].viewers == 3


def test_more_than_the_budget_is_not_admitted() -> None:
    view = cluster(1, limits=Amounts(10, 10, 10))
    d.admit(view, "1", Amounts(10, 10, 10))
    with pytest.raises(BusyError) as caught:
        d.admit(view, "1", Amounts(1, 11, 1))
    assert caught.value.subject == "cpu"


# --- places -------------------------------------------------------------------------------------


def test_a_viewer_goes_to_the_nearest_of_equally_loaded_units() -> None:
    view = cluster(0)
    for name, location in (("a", "us/ny"), ("b", "eu/de/berlin"), ("c", "eu/fr")):
        view = apply(view, t.Enrol(name, name, location, Budgets(5, 10, PLENTY)))
    view = opened(view)
    for unit in "abc":
        view = d.extend(view, "yard", 0.0, 1, unit).view
    for location, unit in (
        ("us/ca", "a"),
        ("eu/de/hamburg", "b"),
        ("eu/fr/lyon", "c"),
        ("eu/de", "b"),  # less is known of him than of the unit
        ("eu/fr", "c"),
        ("us", "a"),
    ):
        assert d.join(view, "yard", "r", 0.0, location=location).reservation.unit == unit


def test_nobody_is_sent_again_to_a_unit_that_did_not_answer() -> None:
    view = opened(cluster(3))
    first = d.join(view, "yard", "r1", 0.0)
    here = first.reservation.unit
    assert d.join(first.view, "yard", "r2", 0.0).reservation.unit == here
    # It is the only one that has the channel: nobody else could get it from there.
    with pytest.raises(BusyError):
        d.join(first.view, "yard", "r2", 0.0, origin=here, avoid=(here,))
    view = d.extend(
        first.view, "yard", 0.0, unit=next(one for one in view.units if one != here)
    ).view
    second = d.join(view, "yard", "r2", 0.0, origin=here, avoid=(here,))
    assert second.reservation.unit != here
    assert check(second.view) == []
    with pytest.raises(BusyError):
        d.join(second.view, "yard", "r3", 0.0, avoid=(here, second.reservation.unit))


def test_a_place_is_taken_once_and_lapses() -> None:
    view = opened(cluster(1))
    kept = d.join(view, "yard", "r", 5.0)
    assert kept.reservation.expires == 5.0 + RESERVATION_S
    view = d.take(kept.view, "r", "1").view
    with pytest.raises(NotFoundError):
        d.take(view, "r", "1")
    view = d.join(view, "yard", "s", 5.0).view
    assert d.lapse(view, 14.9).transitions == ()
    view = d.lapse(view, 15.0).view
    with pytest.raises(NotFoundError):
        d.take(view, "s", "1")
    assert view.channels["yard"].seats == 1
    view = d.cancel(d.join(view, "yard", "x", 5.0).view, "x", "1", 6.0).view
    assert d.cancel(view, "x", "1", 6.0).transitions == ()
    assert view.channels["yard"].seats == 1


def test_nobody_joins_what_is_not_open() -> None:
    with pytest.raises(NotFoundError):
        d.join(cluster(1), "yard", "r", 0.0)


# --- shrinking ----------------------------------------------------------------------------------


def test_empty_groups_are_given_back_leaves_first_and_late() -> None:
    view = seat(opened(cluster(2, groups=2)), 34)
    assert str(tree(view, "yard")) == "1-0 → 1-1\n1-0 → 2-0 → 2-1"
    for unit in view.units.values():
        for group in unit.groups.values():
            view = d.leave(view, unit.id, group.index, 100.0, group.viewers).view
    assert d.shrink(view, 100.0 + IDLE_S - 0.1).transitions == ()
    done = d.shrink(view, 100.0 + IDLE_S)
    assert done.transitions[:3] == (
        t.Revoke("yard", "2", 1),
        t.Revoke("yard", "2", 0),
        t.Unlink("yard", "2"),
    )
    assert done.view.channels["yard"].groups == 1
    assert d.grow(done.view, "yard", 131.0).transitions == ()
    assert d.shrink(done.view, 1e6).transitions == ()


def test_a_channel_between_growth_and_shrinking_does_neither() -> None:
    view = seat(opened(cluster(1)), 8)
    view = d.leave(view, "1", 0, 0.0).view
    for now in (0.0, 1e6):
        assert d.grow(view, "yard", now).transitions == ()
        assert d.shrink(view, now).transitions == ()


def test_groups_added_by_hand_stay_until_taken_by_hand() -> None:
    view = d.extend(opened(cluster(2)), "yard", 0.0, 3).view
    assert view.channels["yard"].groups == 4
    assert d.shrink(view, 1e6).transitions == ()
    view = d.reduce(view, "yard", 2).view
    assert view.channels["yard"].groups == 2
    view = d.reduce(view, "yard", 9).view
    assert view.channels["yard"].groups == 1
    with pytest.raises(ConflictError):
        d.reduce(view, "yard")


def test_extending_by_hand_is_all_or_nothing() -> None:
    view = opened(cluster(1))
    with pytest.raises(BusyError):
        d.extend(view, "yard", 0.0, 5)
    with pytest.raises(BusyError):
        d.extend(view, "yard", 0.0, 5, "1")
    with pytest.raises(MalformedError):
        d.extend(view, "yard", 0.0, 0)


def test_groups_in_use_are_not_taken_by_hand() -> None:
    view = seat(opened(cluster(1)), 8)
    index = view.channels["yard"].branches["1"].groups[-1]
    view = apply(view, t.Reserve("r", "yard", "1", index, 10.0))
    with pytest.raises(ConflictError):
        d.reduce(view, "yard")


# --- stale transitions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "transition",
    [
        t.Enrol("1", "1"),
        t.Forget("1"),
        t.Forget("9"),
        t.Grant("yard", "1", 0, 10, 0.0),
        t.Grant("yard", "2", 0, 10, 0.0),
        t.Grant("yard", "1", 99, 10, 0.0),
        t.Revoke("yard", "1", 0),
        t.Revoke("other", "1", 0),
        t.Reserve("r", "yard", "1", 0, 1.0),
        t.Reserve("s", "other", "1", 0, 1.0),
        t.Take("r", "2"),
        t.Lapse("r", "1", 2, 0.0),
        t.Leave("1", 0, 1, 0.0),
        t.Link("yard", "1", "1"),
        t.Link("yard", "2", "2"),
        t.Unlink("yard", "1"),
        t.CloseChannel("other"),
    ],
)
def test_what_does_not_fit_is_an_error_and_changes_nothing(transition: t.Transition) -> None:
    view = d.join(opened(cluster(2)), "yard", "r", 0.0).view
    before = view
    with pytest.raises((NotFoundError, ConflictError)):
        apply(view, transition)
    assert view == before
    assert check(view) == []


def test_a_unit_that_is_gone_is_not_pressed_or_drained_by_accident() -> None:
    view = apply(cluster(1), t.ChangeState("1", State.DRAINING))
    with pytest.raises(ConflictError):
        apply(view, t.ChangeState("1", State.PRESSED))
    with pytest.raises(MalformedError):
        Budgets(places=0)
