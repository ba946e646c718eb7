"""Places of a unit: who gets one, who is refused and why, and what is kept for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from heliograph.catalogue.rights import Action, Reason
from heliograph.live.admission import RETRY_AFTER
from heliograph.live.grants import Grant
from heliograph.live.hls_viewers import HlsViewers
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.seats import MOST_WAIT, TOLD, Seats, Spend, State
from heliograph.model.errors import BusyError, ConflictError, HelioError, NotFoundError

from .conftest import Studio

PLENTY = Spend(10**12, 10**9, 10**12)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Somebody:
    told: list[str] = field(default_factory=list)

    def kick(self, reason: str = "kicked") -> None:
        self.told.append(reason)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def seats(clock: Clock) -> Seats:
    return Seats(5, PLENTY, clock=clock)


def come(seats: Seats, channel: str = "show", bits: int = 1000, reservation: str = "") -> Somebody:
    """Somebody is admitted and sits down."""
    seats.admit(channel, bits, reservation)
    somebody = Somebody()
    seats.take(channel, somebody, reservation=reservation)
    return somebody


def refused(seats: Seats, channel: str = "show", bits: int = 1000) -> str:
    """By which budget somebody is refused."""
    with pytest.raises(BusyError) as error:
        seats.admit(channel, bits)
    assert error.value.retry_after == RETRY_AFTER
    return str(error.value.subject)


def test_viewers_fill_the_first_group_before_the_next(seats: Seats) -> None:
    seats.grant(3, "show", 2)
    seats.grant(1, "show", 2)
    first = come(seats)
    come(seats)
    come(seats)
    assert [(one.index, one.viewers) for one in seats.groups()] == [(3, 2), (1, 1)]
    seats.leave(first)
    come(seats)
    assert [(one.index, one.viewers) for one in seats.groups()] == [(3, 2), (1, 1)]
    come(seats)
    assert refused(seats) == "places"


def test_a_channel_without_a_group_has_no_place(seats: Seats) -> None:
    seats.grant(0, "other", 10)
    assert refused(seats) == "places"


def test_who_grants_is_asked_before_anybody_is_refused(seats: Seats) -> None:
    asked: list[str] = []

    def short(channel: str) -> None:
        asked.append(channel)
        seats.grant(len(seats.groups()), channel, 1)

    seats.on_short = short
    come(seats)
    assert asked == ["show", "show"]  # for the place, and once it was taken
    come(seats)
    assert [one.viewers for one in seats.groups()] == [1, 1, 0]


@pytest.mark.parametrize(
    ("limits", "budget"),
    [
        (Spend(2500, 10**9, 10**12), "bandwidth"),
        (Spend(10**12, 50, 10**12), "cpu"),
        (Spend(10**12, 10**9, 2500), "memory"),
    ],
)
def test_who_comes_when_a_budget_is_spent_is_told_which(limits: Spend, budget: str) -> None:
    seats = Seats(5, limits, cost=lambda bits: Spend(bits, bits // 50, 1000))
    seats.grant(0, "show", 10)
    come(seats)
    first = come(seats)
    assert refused(seats) == budget
    seats.leave(first)
    come(seats)


def test_the_bits_of_a_multicast_group_count_once() -> None:
    seats = Seats(5, Spend(2500, 10**9, 10_000), cost=lambda bits: Spend(bits, 0, 1000))
    seats.grant(0, "show", 20)
    seats.admit("show", 1000)
    seats.take("show", Somebody(), multicast=True)
    for _ in range(8):
        seats.admit("show", 0)
        seats.take("show", Somebody(), multicast=True)
    assert seats.committed() == Spend(1000, 0, 9000)
    come(seats)
    assert refused(seats) == "bandwidth"
    with pytest.raises(BusyError, match="memory"):
        seats.admit("show", 0)


def test_what_is_measured_beyond_the_count_is_spent_as_well(seats: Seats) -> None:
    seats.limits = Spend(10_000, 10**9, 10**12)
    seats.grant(0, "show", 20)
    come(seats)
    seats.measure(Spend(7000, 0, 0), Spend(2000, 0, 0))
    assert seats.committed().bandwidth == 7000
    come(seats)
    come(seats)
    come(seats)
    assert refused(seats) == "bandwidth"
    seats.measure(Spend(3000, 0, 0), Spend(2000, 0, 0))
    assert seats.committed().bandwidth == 6000


@pytest.mark.parametrize("state", [State.PRESSED, State.DRAINING])
def test_a_unit_that_takes_nobody_keeps_who_is_there(seats: Seats, state: State) -> None:
    seats.grant(0, "show", 10)
    seats.expect("kept", "show", 1010.0)
    somebody = come(seats)
    seats.state, seats.pressed_by = state, "memory"
    assert refused(seats) == ("memory" if state is State.PRESSED else "units")
    with pytest.raises(BusyError):
        seats.admit("show", 1000, "kept")
    with pytest.raises(BusyError):
        seats.expect("another", "show", 1010.0)
    assert not somebody.told
    seats.state = State.UP
    come(seats, reservation="kept")


def test_a_kept_place_is_for_whoever_shows_it_and_for_nobody_else(seats: Seats) -> None:
    seats.grant(0, "show", 2)
    seats.expect("id", "show", 1010.0)
    come(seats)
    assert refused(seats) == "places"
    come(seats, reservation="id")
    assert refused(seats) == "places"
    assert [(one.viewers, one.expected) for one in seats.groups()] == [(2, 0)]


def test_a_reservation_is_good_for_one(seats: Seats, clock: Clock) -> None:
    seats.grant(0, "show", 10)
    seats.expect("id", "show", 1010.0)
    seats.expect("id", "show", 1010.0)
    assert seats.free("show") == 9
    come(seats, reservation="id")
    with pytest.raises(ConflictError):
        seats.expect("id", "show", 1010.0)
    assert seats.taken() == ("id",)
    clock.now += TOLD + 1
    assert seats.taken() == ()


def test_a_place_nobody_came_for_is_free_again(seats: Seats, clock: Clock) -> None:
    seats.grant(0, "show", 1)
    seats.expect("id", "show", 1005.0)
    clock.now = 1005.0
    come(seats)
    assert seats.counters["lapsed"] == 1
    with pytest.raises(NotFoundError):
        seats.expect("late", "show", 1005.0)


def test_no_reservation_keeps_a_place_for_long(seats: Seats, clock: Clock) -> None:
    seats.grant(0, "show", 1)
    seats.expect("id", "show", 1e12)
    clock.now += MOST_WAIT
    come(seats)


def test_a_reservation_of_another_channel_is_of_no_use(seats: Seats) -> None:
    seats.grant(0, "other", 1)
    seats.expect("id", "other", 1010.0)
    with pytest.raises(BusyError):
        seats.admit("show", 1000, "id")
    with pytest.raises(NotFoundError):
        seats.expect("id", "show", 1010.0)
    seats.grant(1, "show", 10)
    come(seats, reservation="id")
    assert [(one.viewers, one.expected) for one in seats.groups()] == [(0, 1), (1, 0)]


def test_a_group_in_use_is_nobody_elses_and_is_not_given_back(seats: Seats) -> None:
    seats.grant(0, "show", 1)
    somebody = come(seats)
    assert not seats.grant(0, "other", 1)
    assert not seats.revoke(0, "show")
    seats.leave(somebody)
    assert seats.revoke(0, "show")
    assert seats.revoke(0, "show")
    assert seats.grant(0, "other", 1)
    assert seats.revoke(0, "show")  # it is not this channel's, so there is nothing to do
    assert seats.channels() == ("other",)
    assert not seats.grant(5, "show", 1)


def test_who_came_without_a_place_gets_the_next_free_one(seats: Seats) -> None:
    seats.grant(0, "show", 1)
    first, late = come(seats), Somebody()
    seats.take("show", late)
    assert seats.counters["unseated"] == 1
    assert seats.sitting(0, "show") == (first,)
    seats.leave(first)
    assert seats.sitting(0, "show") == (late,)
    seats.forget("show")
    assert seats.groups() == ()
    seats.grant(2, "show", 1)
    assert seats.sitting(2, "show") == (late,)


# against a naive count

CHANNELS, IDS = st.sampled_from("ab"), st.sampled_from([f"r{number}" for number in range(3)])


class Naive(RuleBasedStateMachine):
    """People and kept places in plain lists, beside what the seats say."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.seats = Seats(4, Spend(9000, 10**9, 10**12), clock=self.clock)
        self.seats.price("a", 1000)
        self.seats.price("b", 1000)
        self.groups: dict[int, tuple[str, int]] = {}
        self.there: dict[Somebody, tuple[str, bool]] = {}
        self.kept: dict[str, tuple[str, float]] = {}
        self.used: set[str] = set()

    def is_kept(self, id: str, channel: str) -> bool:
        return self.kept.get(id, ("", 0.0))[0] == channel

    @rule(index=st.integers(-1, 4), channel=CHANNELS, places=st.integers(1, 3))
    def grant(self, index: int, channel: str, places: int) -> None:
        before = {one.index: one for one in self.seats.groups()}.get(index)
        others = before is not None and before.channel != channel
        in_use = before is not None and before.viewers + before.expected > 0
        done = self.seats.grant(index, channel, places)
        assert done == (0 <= index < 4 and not (others and in_use))
        if done:
            self.groups[index] = (channel, places)

    @rule(index=st.integers(0, 3), channel=CHANNELS)
    def revoke(self, index: int, channel: str) -> None:
        before = {one.index: one for one in self.seats.groups()}.get(index)
        done = self.seats.revoke(index, channel)
        if before is not None and before.channel == channel:
            assert done == (before.viewers + before.expected == 0)
            if done:
                del self.groups[index]

    @rule(id=IDS, channel=CHANNELS, seconds=st.integers(1, 9))
    def expect(self, id: str, channel: str, seconds: int) -> None:
        error = raised(lambda: self.seats.expect(id, channel, self.clock.now + seconds))
        assert isinstance(error, ConflictError) == (id in self.used)
        if error is None:
            self.kept.setdefault(id, (channel, self.clock.now + seconds))

    @rule(id=IDS, channel=CHANNELS, multicast=st.booleans())
    def come(self, id: str, channel: str, multicast: bool) -> None:
        spent, free = self.seats.committed().bandwidth, self.seats.free(channel)
        error = raised(lambda: self.seats.admit(channel, 1000, id))
        if self.is_kept(id, channel):
            assert error is None
            del self.kept[id]
            self.used.add(id)
        elif spent + 1000 > 9000:
            assert error is not None
            assert error.subject == "bandwidth"
        else:
            assert (error is None) == (free > 0)
        if error is None:
            somebody = Somebody()
            self.seats.take(channel, somebody, multicast=multicast, reservation=id)
            self.there[somebody] = (channel, multicast)

    @rule(channel=CHANNELS)
    def barge_in(self, channel: str) -> None:
        somebody = Somebody()
        self.seats.take(channel, somebody)
        self.there[somebody] = (channel, False)

    @precondition(lambda self: self.there)
    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        somebody = data.draw(st.sampled_from(list(self.there)))
        del self.there[somebody]
        self.seats.leave(somebody)

    @rule(seconds=st.integers(1, 5))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds
        self.kept = {id: one for id, one in self.kept.items() if one[1] > self.clock.now}

    @rule(channel=CHANNELS)
    def forget(self, channel: str) -> None:
        self.seats.forget(channel)
        self.seats.price(channel, 1000)
        self.groups = {index: one for index, one in self.groups.items() if one[0] != channel}
        self.kept = {id: one for id, one in self.kept.items() if one[0] != channel}

    @invariant()
    def same_groups(self) -> None:
        groups = self.seats.groups()
        assert {one.index: (one.channel, one.places) for one in groups} == self.groups
        for one in groups:
            assert one.viewers == len(self.seats.sitting(one.index, one.channel))

    @invariant()
    def nobody_stands_beside_a_free_place(self) -> None:
        for channel in "ab":
            free, seated = self.seats.free(channel), self.seats.taken_places(channel)
            people = [owner for owner, _ in (*self.there.values(), *self.kept.values())]
            assert seated <= people.count(channel)
            assert seated == people.count(channel) or free == 0

    @invariant()
    def same_bandwidth(self) -> None:
        streams = len(self.kept) + sum(not multicast for _, multicast in self.there.values())
        streams += len({channel for channel, multicast in self.there.values() if multicast})
        assert self.seats.committed().bandwidth == 1000 * streams


def raised(act: Callable[[], None]) -> HelioError | None:
    try:
        act()
    except HelioError as error:
        return error
    return None


TestNaive = Naive.TestCase


# channels ask


@pytest.fixture
def seated(studio: Studio, seats: Seats) -> Iterator[Seats]:
    studio.channels.seating = seats
    studio.key(studio.publish())
    yield seats
    studio.channels.seating = None


def test_readers_of_a_channel_sit_down_and_taps_do_not(studio: Studio, seated: Seats) -> None:
    seated.grant(0, "demo", 2)
    studio.channel.audience.add_tap(hooks=ReaderHooks())
    endpoint, _, _ = studio.plane.bind_udp("127.0.0.1", 0)
    readers: list[Reader] = []
    for _ in range(2):
        studio.channel.audience.check("192.0.2.1")
        readers.append(
            studio.channel.audience.add_udp(
                endpoint, [(0, "192.0.2.1", 5000, 0)], peer="192.0.2.1", hooks=ReaderHooks()
            )
        )
    assert seated.sitting(0, "demo") == tuple(readers)
    with pytest.raises(BusyError):
        studio.channel.audience.check("192.0.2.1")
    readers[0].remove()
    studio.channel.audience.check("192.0.2.1")


async def test_viewers_by_hls_sit_down_too(studio: Studio, seated: Seats) -> None:
    seated.grant(0, "demo", 2)
    seated.expect("kept", "demo", 1010.0)
    viewers = HlsViewers()
    viewers.enter(studio.channel, peer="192.0.2.1", grant=Grant(Action.VIEW, Reason.PUBLIC))
    with pytest.raises(BusyError):
        viewers.enter(studio.channel, peer="192.0.2.1", grant=Grant(Action.VIEW, Reason.PUBLIC))
    held = Grant(Action.VIEW, Reason.PUBLIC, reservation="kept")
    viewers.enter(studio.channel, peer="192.0.2.1", grant=held)
    assert [one.viewers for one in seated.groups()] == [2]
    seated.sitting(0, "demo")[0].kick("moved")
    assert [one.viewers for one in seated.groups()] == [1]
    viewers.close()
    assert [one.viewers for one in seated.groups()] == [0]


async def test_a_player_by_hls_that_was_moved_may_come_back(studio: Studio, seated: Seats) -> None:
    seated.grant(0, "demo", 1)
    viewers, grant = HlsViewers(), Grant(Action.VIEW, Reason.PUBLIC)
    name = viewers.enter(studio.channel, peer="192.0.2.1", grant=grant)
    seated.sitting(0, "demo")[0].kick("moved")
    seated.state = State.DRAINING
    with pytest.raises(BusyError):
        viewers.enter(studio.channel, peer="192.0.2.1", grant=grant, name=name)
    seated.state = State.UP
    assert viewers.enter(studio.channel, peer="192.0.2.1", grant=grant, name=name) == name
    viewers.close()
