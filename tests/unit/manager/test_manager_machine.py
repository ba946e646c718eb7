"""Whatever happens in whatever order: every view is sound, and no viewer is counted twice."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.unit.manager.units import report_of

from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager.decisions.growing import idle_group
from heliograph.manager.decisions.shrinking import IDLE_S
from heliograph.manager.draft import Decision, apply
from heliograph.manager.invariants import check
from heliograph.manager.ranking import cut_off, rank, seat_unit
from heliograph.manager.upkeep import tidy
from heliograph.manager.view import (
    Amounts,
    Budgets,
    Channel,
    Order,
    Policy,
    Reservation,
    State,
    View,
)
from heliograph.model.errors import BusyError, ConflictError, HelioError

#: When something is found, making it small takes longer than other tests may.
pytestmark = pytest.mark.timeout(300)

NAMES = ("a", "b", "c")
UNITS = tuple("12345")
BITRATE = {"a": 1_000_000, "b": 2_000_000, "c": 500_000}
POLICIES = st.builds(Policy, st.integers(2, 4), st.integers(2, 4), st.sampled_from(Order))
PLACES = (None, "eu/de", "eu/fr", "us")


class Cluster(RuleBasedStateMachine):
    """A small cluster, with a simple count beside it of who sits where."""

    def __init__(self) -> None:
        super().__init__()
        self.view = View()
        self.now = 0.0
        self.ids = 0
        self.strained: set[str] = set()
        self.seated: list[tuple[str, int, str]] = []
        self.kept: dict[str, Reservation] = {}

    def go(self, decision: Decision) -> Decision:
        """Take a decision, and see that applying its transitions comes to the same view."""
        assert apply(self.view, *decision.transitions) == decision.view
        self.view = decision.view
        self.strained |= {one.channel for one in decision.refusals if one.budget == "tree"}
        return decision

    def gone(self) -> int:
        return sum(one.state is State.GONE for one in self.view.units.values())

    @initialize(
        groups=st.integers(1, 6),
        places=st.integers(1, 4),
        bandwidth=st.sampled_from((10_000_000, 25_000_000, 100_000_000)),
        policy=POLICIES,
    )
    def units(self, groups: int, places: int, bandwidth: int, policy: Policy) -> None:
        limits = Amounts(bandwidth, 1_000_000, 1_000_000_000)
        for number, unit in enumerate(UNITS):
            location = PLACES[number % len(PLACES)] or ""
            self.view = apply(
                self.view, t.Enrol(unit, unit, location, Budgets(groups, places, limits))
            )
        for name in NAMES:
            self.open(name, policy)

    @rule(seconds=st.sampled_from((0.5, 5.0, 40.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.go(d.lapse(self.view, self.now))
        self.kept = {
            id: one for id, one in self.kept.items() if id in self.view.units[one.unit].reservations
        }

    @rule(name=st.sampled_from(NAMES), policy=POLICIES)
    def open(self, name: str, policy: Policy) -> None:
        if name in self.view.channels:
            with pytest.raises(ConflictError):
                d.open_channel(self.view, name, BITRATE[name], self.now, policy)
            return
        with suppress(BusyError):
            self.go(d.open_channel(self.view, name, BITRATE[name], self.now, policy))

    @precondition(lambda self: len(self.view.channels) > 1)
    @rule(name=st.sampled_from(NAMES))
    def close(self, name: str) -> None:
        if name in self.view.channels:
            self.go(d.close_channel(self.view, name))
            self.strained.discard(name)
            self.seated = [one for one in self.seated if one[2] != name]
            self.kept = {id: one for id, one in self.kept.items() if one.channel != name}

    @rule(
        name=st.sampled_from(NAMES),
        location=st.sampled_from(("", "eu/de/x", "us/ny")),
        origin=st.sampled_from(("", *UNITS)),
        count=st.integers(1, 12),
        sit=st.booleans(),
    )
    def join(self, name: str, location: str, origin: str, count: int, sit: bool) -> None:
        for _ in range(count):
            if name not in self.view.channels:
                return
            before = self.view
            self.ids += 1
            id = f"r{self.ids}"
            done = None
            with suppress(BusyError):
                done = d.join(before, name, id, self.now, location=location, origin=origin)
            if done is None:
                late = d.lapse(before, self.now).view
                channel = late.channels[name]
                assert seat_unit(late, channel) is None
                for unit in set(channel.branches).difference(cut_off(channel)):
                    machine = late.units[unit]
                    if machine.state is State.UP and machine.room(channel.seat):
                        assert not machine.free_groups
                        assert idle_group(late, unit, name) is None
                return
            self.go(done)
            kept = done.reservation
            assert before.units[kept.unit].state is State.UP
            if not origin:
                free = naive_choice(before, before.channels[name], location)
                assert free is None or free == kept.unit
            if sit:
                self.go(d.take(self.view, id, kept.unit))
                self.seated.append((kept.unit, kept.index, kept.channel))
            else:
                self.kept[id] = kept

    @rule(name=st.sampled_from(NAMES), count=st.integers(5, 30))
    def crowd(self, name: str, count: int) -> None:
        self.join(name, "", "", count, True)

    @precondition(lambda self: self.kept)
    @rule(data=st.data(), all_of_them=st.booleans())
    def take(self, data: st.DataObject, all_of_them: bool) -> None:
        ids = list(self.kept) if all_of_them else [data.draw(st.sampled_from(list(self.kept)))]
        for id in ids:
            kept = self.kept.pop(id)
            self.go(d.take(self.view, id, kept.unit))
            self.seated.append((kept.unit, kept.index, kept.channel))
            with pytest.raises(HelioError):
                d.take(self.view, id, kept.unit)

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        kept = self.kept.pop(data.draw(st.sampled_from(list(self.kept))))
        self.go(d.cancel(self.view, kept.id, kept.unit, self.now))

    @precondition(lambda self: self.seated)
    @rule(data=st.data(), share=st.sampled_from((0.1, 1.0)))
    def leave(self, data: st.DataObject, share: float) -> None:
        for _ in range(max(1, int(len(self.seated) * share))):
            one = self.seated.pop(data.draw(st.integers(0, len(self.seated) - 1)))
            self.go(d.leave(self.view, one[0], one[1], self.now))

    @rule(name=st.sampled_from(NAMES), unit=st.sampled_from((None, *UNITS)))
    def grow(self, name: str, unit: str | None) -> None:
        if name in self.view.channels:
            self.go(d.grow(self.view, name, self.now, unit))
            if unit in self.view.channels[name].branches and unit is not None:
                self.go(d.grow_alone(self.view, name, unit, self.now))

    @rule(name=st.sampled_from(NAMES), groups=st.integers(1, 4), unit=st.sampled_from((None, "3")))
    def extend(self, name: str, groups: int, unit: str | None) -> None:
        if name in self.view.channels:
            before = self.view.channels[name].groups
            try:
                self.go(d.extend(self.view, name, self.now, groups, unit))
            except BusyError:
                return
            assert self.view.channels[name].groups == before + groups

    @rule(name=st.sampled_from(NAMES), groups=st.integers(1, 4))
    def reduce(self, name: str, groups: int) -> None:
        if name in self.view.channels:
            with suppress(ConflictError):
                self.go(d.reduce(self.view, name, groups))

    @rule()
    def shrink(self) -> None:
        given_back = revoked(self.go(d.shrink(self.view, self.now)))
        again = d.shrink(self.view, self.now)
        assert not again.transitions
        for name in self.view.channels:  # what was given back is not wanted again at once
            if self.view.channels[name].ingest is not None:
                grown = d.grow(self.view, name, self.now)
                granted = {
                    (one.channel, one.unit) for one in grown.transitions if isinstance(one, t.Grant)
                }
                assert not granted & given_back
                shrunk = d.shrink(grown.view, self.now)
                assert name not in {channel for channel, _ in revoked(shrunk)}

    @rule()
    def nothing_happens(self) -> None:
        """Left alone, the cluster comes to rest: nothing is granted and given back in turns."""
        view, now, orders = self.view, self.now, 1
        for _ in range(10):
            now += IDLE_S
            view, orders = d.lapse(view, now).view, 0
            for name in NAMES:
                done = tidy(view, name, now)
                view, orders = done.view, orders + moved(done)
            done = d.shrink(view, now)
            view, orders = done.view, orders + moved(done)
        assert not orders

    @precondition(lambda self: self.gone() < 3)
    @rule(unit=st.sampled_from(UNITS))
    def die(self, unit: str) -> None:
        self.go(d.replace_unit(self.view, unit, self.now))
        self.seated = [one for one in self.seated if one[0] != unit]
        self.kept = {id: one for id, one in self.kept.items() if one.unit != unit}
        assert not self.view.units[unit].carries

    @rule(unit=st.sampled_from(UNITS))
    def come_back(self, unit: str) -> None:
        self.go(d.bring_back(self.view, unit))
        self.go(d.settle(self.view, self.now))

    @rule(unit=st.sampled_from(UNITS), pressed=st.booleans())
    def press(self, unit: str, pressed: bool) -> None:
        self.go(d.press(self.view, unit, pressed))

    @rule(unit=st.sampled_from(UNITS), moves=st.booleans())
    def drain(self, unit: str, moves: bool) -> None:
        if self.view.units[unit].state is State.GONE:
            return
        done = self.go(d.drain(self.view, unit, self.now))
        if not done.refusals:  # what gave way may have made room for what was refused
            assert d.drain(self.view, unit, self.now).transitions == ()
        if not moves:
            return
        for one in done.transitions:
            if isinstance(one, t.MoveIngest):
                self.go(d.move_ingest(self.view, one.channel, one.target))
            elif isinstance(one, t.MoveViewers):
                for _ in range(one.count):
                    self.go(d.take(self.view, one.id, one.target.unit))
                    self.go(d.leave(self.view, *one.source, self.now))
                    self.seated.remove((*one.source, one.channel))
                    self.seated.append((*one.target, one.channel))
        self.go(d.drain(self.view, unit, self.now))

    @rule(name=st.sampled_from(NAMES), unit=st.sampled_from(UNITS))
    def source_moves(self, name: str, unit: str) -> None:
        if name not in self.view.channels:
            return
        machine, channel = self.view.units[unit], self.view.channels[name]
        room = channel.seat.plus(channel.carry)
        if machine.state is State.UP and not machine.lacks(room):
            self.go(d.move_ingest(self.view, name, unit))
            assert self.view.channels[name].ingest == unit

    @rule(unit=st.sampled_from(UNITS))
    def report(self, unit: str) -> None:
        """A unit that says what we think of it tells us nothing new."""
        if self.view.units[unit].state is State.GONE:
            return
        before = self.view
        self.go(d.absorb(before, report_of(before, unit, self.now)))
        assert self.view == before

    @invariant()
    def sound(self) -> None:
        assert check(self.view, self.strained) == []

    @invariant()
    def counted_once(self) -> None:
        for unit in self.view.units.values():
            for group in unit.groups.values():
                here = (unit.id, group.index, group.channel)
                assert group.viewers == self.seated.count(here)
        assert sum(one.viewers for one in self.view.units.values()) == len(self.seated)

    def teardown(self) -> None:
        for unit in UNITS[:-1]:  # the last one takes what it can
            if self.view.units:
                self.go(d.replace_unit(self.view, unit, self.now))
                assert check(self.view, self.strained) == []


def revoked(decision: Decision) -> set[tuple[str, str]]:
    """Channels of which groups are given back, and by which units."""
    return {(one.channel, one.unit) for one in decision.transitions if isinstance(one, t.Revoke)}


def moved(decision: Decision) -> int:
    """Orders of a decision."""
    return sum(isinstance(one, t.ORDERS) for one in decision.transitions)


def naive_choice(view: View, channel: Channel, location: str) -> str | None:
    """The least loaded unit with a free place, from nothing but groups and links."""
    ranked = []
    for unit in view.units.values():
        places = sum(
            group.places - group.viewers - group.reserved
            for group in unit.groups.values()
            if group.channel == channel.name
        )
        if places and unit.state is State.UP and unit.id not in cut_off(channel):
            spent = [0, 0, 0]
            for other in view.channels.values():
                seats = sum(
                    group.viewers + group.reserved
                    for group in unit.groups.values()
                    if group.channel == other.name
                )
                takers = sum(branch.parent == unit.id for branch in other.branches.values())
                for i in range(3):
                    spent[i] += other.seat[i] * (seats + takers)
                    spent[i] += other.carry[i] * (unit.id in other.branches)
            limits = unit.budgets.limits
            if all(spent[i] + channel.seat[i] <= limits[i] for i in range(3)):
                ranked.append((rank(unit, steps(location, unit.location)), unit.id))
    return min(ranked)[1] if ranked else None


def steps(here: str, there: str) -> int:
    """Steps of a location that another one does not share."""
    if not here or not there:
        return 0
    ours = here.split("/")
    areas = ["/".join(ours[:count]) for count in range(1, len(ours) + 1)]
    return sum(not f"{there}/".startswith(f"{area}/") for area in areas)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(stateful_step_count=40)
