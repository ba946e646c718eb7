"""Groups where there are more channels than groups: who is watched has one, who is not lends."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manager.test_manager_decisions import MEGABIT, opened, seat
from tests.unit.manager.units import PLENTY, cluster, report_of

from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager.decisions.growing import kept_free
from heliograph.manager.decisions.shrinking import IDLE_S
from heliograph.manager.draft import Decision, apply
from heliograph.manager.invariants import check
from heliograph.manager.upkeep import lose_unit, move_source, tidy
from heliograph.manager.view import Amounts, Budgets, View
from heliograph.model.errors import BusyError, ConflictError


class Evening:
    """A cluster that is looked after each second, and people who come and go."""

    def __init__(self, units: int, groups: int, channels: int, places: int = 10) -> None:
        self.view = cluster(units, groups, places)
        self.names = [f"c{number}" for number in range(channels)]
        self.now = 0.0
        self.came = 0
        for number, name in enumerate(self.names):  # sources enter in turns
            unit = str(number % units + 1)
            self.view = apply(self.view, t.OpenChannel(name, MEGABIT), t.Ingest(name, unit))
        self.orders = self.pass_(1.0)

    def pass_(self, seconds: float) -> list[t.Transition]:
        """Let time pass; what was granted and given back."""
        orders: list[t.Transition] = []
        for _ in range(int(seconds)):
            self.now += 1.0
            self.view = d.lapse(self.view, self.now).view
            for name in self.names:
                orders += self.go(tidy(self.view, name, self.now))
            orders += self.go(d.shrink(self.view, self.now))
        assert check(self.view) == []
        return [one for one in orders if isinstance(one, t.Grant | t.Revoke | t.Link | t.Unlink)]

    def go(self, decision: Decision) -> tuple[t.Transition, ...]:
        self.view = decision.view
        return decision.transitions

    def come(self, name: str) -> tuple[str, int]:
        """Somebody joins and sits down."""
        self.came += 1
        done = d.join(self.view, name, f"r{self.came}", self.now)
        self.go(done)
        kept = done.reservation
        self.go(d.take(self.view, kept.id, kept.unit))
        return kept.unit, kept.index

    def leave(self, seat: tuple[str, int]) -> None:
        self.go(d.leave(self.view, *seat, self.now))


@pytest.mark.parametrize("at_once", [1, 2, 3])
@pytest.mark.parametrize("stay", [1.0, 7.0, 100.0])
def test_ten_channels_on_three_groups_are_watched_one_after_the_other(
    stay: float, at_once: int
) -> None:
    evening = Evening(units=1, groups=3, channels=10)
    there: list[tuple[str, int]] = []
    for name in evening.names * 3:
        if len(there) == at_once:
            evening.leave(there.pop(0))
        there.append(evening.come(name))
        evening.pass_(stay)
    evening.pass_(5 * IDLE_S)
    assert evening.pass_(5 * IDLE_S) == []  # it is at rest


def test_a_fourth_channel_on_three_groups_is_refused_while_all_are_watched() -> None:
    evening = Evening(units=1, groups=3, channels=4)
    seats = [evening.come(name) for name in evening.names[:3]]
    with pytest.raises(BusyError) as caught:
        evening.come(evening.names[3])
    assert caught.value.subject == "places"
    evening.leave(seats[1])
    assert evening.come(evening.names[3]) == seats[1]


@given(
    units=st.integers(1, 3),
    groups=st.integers(1, 4),
    places=st.sampled_from((1, 2, 10)),
    steps=st.lists(
        st.tuples(st.integers(0, 7), st.sampled_from((0.0, 1.0, 12.0, 45.0)), st.integers(0, 4)),
        max_size=25,
    ),
)
def test_nobody_is_refused_while_there_is_an_empty_group_and_all_comes_to_rest(
    units: int, groups: int, places: int, steps: list[tuple[int, float, int]]
) -> None:
    evening = Evening(units, groups, channels=8, places=places)
    there: list[tuple[str, int]] = []
    for number, seconds, leaving in steps:
        name = evening.names[number]
        try:
            there.append(evening.come(name))
        except BusyError:
            assert all(unit.viewers for unit in evening.view.units.values())
            for unit in evening.view.units.values():
                assert len(unit.groups) == groups
                for group in unit.groups.values():
                    assert group.viewers == places or group.channel != name
                    assert group.viewers
        for _ in range(min(leaving, len(there))):
            evening.leave(there.pop(0))
        evening.pass_(seconds)
    evening.pass_(3 * IDLE_S)
    assert evening.pass_(2 * IDLE_S) == []
    for unit in evening.view.units.values():
        idle = [one for one in unit.groups.values() if not evening.view.channels[one.channel].seats]
        assert not idle or unit.free_groups >= kept_free(unit)


def test_with_groups_to_spare_channels_keep_the_one_they_have() -> None:
    evening = Evening(units=1, groups=20, channels=18)
    assert evening.view.units["1"].free_groups == kept_free(evening.view.units["1"]) == 2
    assert evening.pass_(3 * IDLE_S) == []
    assert all(channel.groups == 1 for channel in evening.view.channels.values())


def test_the_longest_idle_groups_are_given_back_until_a_tenth_is_free() -> None:
    evening = Evening(units=1, groups=20, channels=30)
    assert evening.view.units["1"].free_groups == 2
    for name in evening.names[20:25]:
        evening.come(name)
    assert evening.view.units["1"].free_groups == 0  # the last three at once
    lent = {one.channel for one in evening.view.units["1"].groups.values()}
    assert lent == {*evening.names[3:18], *evening.names[20:25]}
    orders = evening.pass_(IDLE_S)
    assert [one.channel for one in orders if isinstance(one, t.Revoke)] == ["c3", "c4"]
    assert not [one for one in orders if isinstance(one, t.Grant)]
    view = evening.view
    assert view.channels["c3"].branches["1"].groups == ()
    assert view.channels["c3"].ingest == "1"


def test_an_idle_channel_is_not_linked_to_another_unit_because_its_own_is_short() -> None:
    view = cluster(2, groups=3)
    for number in range(6):
        name = f"c{number}"
        view = apply(view, t.OpenChannel(name, MEGABIT), t.Ingest(name, "1"))
        view = tidy(view, name, 0.0).view
    assert len(view.units["1"].groups) == 2
    assert not view.units["2"].carries
    view = seat(seat(view, 1, name="c4"), 1, name="c5")  # who is watched goes there
    assert view.units["2"].carries


def test_a_busy_unit_leaves_no_idle_channel_to_one_that_has_few_groups_left() -> None:
    view = cluster(2, groups=5, limits=Amounts(10 * MEGABIT, 10**9, 10**12))
    for name, unit in (("busy", "1"), ("b", "2"), ("c", "2"), ("d", "2"), ("e", "2")):
        view = apply(view, t.OpenChannel(name, MEGABIT), t.Ingest(name, unit))
        view = apply(view, t.Grant(name, unit, view.units[unit].free_index() or 0, 10, 0.0))
    view = seat(view, 7, name="busy")
    view = apply(view, t.OpenChannel("idle", MEGABIT), t.Ingest("idle", "1"))
    view = tidy(view, "idle", 0.0).view
    assert [*view.channels["idle"].branches] == ["1"]
    assert view.channels["idle"].groups == 1


def test_a_full_unit_elsewhere_lends_before_anybody_is_refused() -> None:
    view = cluster(2, groups=2)
    for name, unit in (("a", "1"), ("b", "2"), ("c", "2")):
        view = apply(view, t.OpenChannel(name, MEGABIT), t.Ingest(name, unit))
        view = apply(view, t.Grant(name, unit, view.units[unit].free_index() or 0, 10, 0.0))
    view = seat(d.extend(view, "a", 0.0, 1, "1").view, 20, name="a")
    view = seat(view, 1, name="a")
    assert view.channels["a"].branches["2"].parent == "1"
    assert view.channels["b"].groups + view.channels["c"].groups == 1


def test_groups_added_by_hand_are_not_lent() -> None:
    done = d.extend(opened(cluster(1, groups=4)), "yard", 0.0, 3)
    assert [one.by_hand for one in done.transitions if isinstance(one, t.Grant)] == [True] * 3
    view = done.view
    view = opened(view, name="other")
    assert d.shrink(view, 1e6).transitions == ()
    with pytest.raises(BusyError):
        d.join(view, "other", "r", 1e6)
    view = d.reduce(view, "yard", 3).view
    assert seat(view, 1, name="other").channels["other"].groups == 1


def test_a_group_added_by_hand_to_a_channel_without_one_can_be_taken_back() -> None:
    view = apply(cluster(1), t.OpenChannel("yard", MEGABIT), t.Ingest("yard", "1"))
    view = d.extend(view, "yard", 0.0).view
    assert view.channels["yard"].by_hand
    view = d.reduce(view, "yard").view
    assert not view.channels["yard"].by_hand
    with pytest.raises(ConflictError):
        d.reduce(view, "yard")


def test_who_cannot_go_elsewhere_gets_a_group_that_is_lent() -> None:
    view = opened(opened(cluster(1, groups=1)), name="other")
    view = apply(view, t.Enrol("2", "2", budgets=Budgets(5, 10, PLENTY)))
    assert d.join(view, "other", "r", 0.0).reservation.unit == "2"
    assert d.join(view, "other", "r", 0.0, at="1").reservation.unit == "1"


def test_a_unit_alone_lends_the_longest_idle_group_where_no_place_is_left() -> None:
    view = cluster(1, groups=3)
    for number, name in enumerate("abcd"):
        view = apply(view, t.OpenChannel(name, MEGABIT), t.Ingest(name, "1"))
        if number < 3:
            view = apply(view, t.Grant(name, "1", number, 10, 5.0 - number))
    view = seat(view, 1, name="c")
    done = d.grow_alone(view, "d", "1", 9.0)
    assert done.transitions == (t.Revoke("b", "1", 1), t.Grant("d", "1", 1, 10, 9.0))
    assert d.grow_alone(done.view, "d", "1", 9.0).transitions == ()
    view = seat(seat(done.view, 1, name="d"), 1, name="a")
    view = apply(view, t.OpenChannel("e", MEGABIT), t.Ingest("e", "1"))
    assert d.grow_alone(view, "e", "1", 9.0).transitions == ()  # all are watched


def test_viewers_of_a_dead_unit_find_places_where_others_are_idle() -> None:
    view = seat(opened(opened(cluster(2, groups=1)), name="other"), 5)
    unit = view.channels["yard"].ingest or ""
    done = lose_unit(view, unit, 1.0, ("yard", "other"))
    assert not done.refusals
    assert done.view.channels["yard"].seats == 5
    assert check(done.view) == []


def test_a_unit_is_emptied_of_idle_channels_where_no_group_is_free() -> None:
    view = cluster(2, groups=2)
    for number in range(4):
        name = f"c{number}"
        view = apply(view, t.OpenChannel(name, MEGABIT), t.Ingest(name, "1"))
        view = tidy(view, name, 0.0).view
    view = seat(view, 1, name="c3")
    done = d.drain(view, "1", 1.0)
    moves = [one for one in done.transitions if isinstance(one, t.MoveIngest)]
    assert {one.channel: one.target for one in moves} == {f"c{n}": "2" for n in range(4)}
    assert not done.refusals
    assert check(done.view) == []


def test_a_source_moves_where_an_idle_channel_lends_its_group() -> None:
    view = opened(opened(cluster(2, groups=1)), name="other")
    target = view.channels["other"].ingest or ""
    done = move_source(view, "yard", target, 0.0)
    assert done.view.channels["yard"].next_ingest == target
    assert check(done.view) == []


def test_a_standby_knows_of_channels_without_a_group() -> None:
    evening = Evening(units=1, groups=3, channels=10)
    fresh = d.absorb(View(), report_of(evening.view, "1", evening.now)).view
    assert set(fresh.channels) == set(evening.names)
    assert not [one for one in d.settle(fresh, 1.0).transitions if isinstance(one, t.ORDERS)]


def test_what_has_no_bandwidth_left_is_refused_by_that_name() -> None:
    view = cluster(1, groups=1, limits=Amounts(MEGABIT // 2, 10**9, 10**12))
    for name in ("yard", "other"):
        view = apply(view, t.OpenChannel(name, MEGABIT), t.Ingest(name, "1"))
    view = apply(view, t.Grant("yard", "1", 0, 10, 0.0))
    with pytest.raises(BusyError) as caught:
        d.join(view, "other", "r", 0.0)
    assert caught.value.subject == "bandwidth"
