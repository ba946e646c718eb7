"""What one monitor finds of its servers, on a simulated clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.contents.values import Condition, Probe, ProbeKind, Server, ServerState
from heliograph.dispatcher.monitor.health import (
    DOUBT,
    Fleet,
    HealthOptions,
    Outcome,
    aim_of,
)

GOOD, SILENT = Outcome(10.0), Outcome(None, reason="no answer in 270 ms", silent=True)
REFUSED = Outcome(None, reason="connection refused")
TCP, ICMP = Probe(ProbeKind.TCP, 0.3, 80), Probe(ProbeKind.ICMP, 10.0)
HTTP = Probe(ProbeKind.HTTP, 0.3, 80, "/film.mp4")
UNKNOWN, UP, STARTING, DOWN = (
    Condition.UNKNOWN,
    Condition.UP,
    Condition.STARTING,
    Condition.DOWN,
)


def server(id: int = 1, *probes: Probe, **more: object) -> Server:
    return Server(id, f"s{id}", f"host{id}", probes=probes or (TCP,), **more)  # type: ignore[arg-type]


class Clock:
    """A fleet, and the time."""

    def __init__(self, *servers: Server, **options: float) -> None:
        self.now = 100.0
        self.fleet = Fleet(HealthOptions(**options), epoch=1_000_000.0)  # type: ignore[arg-type]
        self.servers = {one.id: one for one in servers}
        self.fleet.replace_servers(servers, self.now)

    def take(self, outcome: Outcome, *ids: int, probe: Probe | None = None) -> None:
        for id in ids or self.servers:
            aim = aim_of(probe or self.servers[id].probes[0])
            self.fleet.take(id, aim, outcome, self.now)

    def rounds(self, count: int, outcome: Outcome, *ids: int) -> None:
        for _ in range(count):
            self.now += 0.3
            self.take(outcome, *ids)
            self.fleet.look(self.now)

    def condition(self, id: int = 1) -> Condition:
        return self.state(id).condition

    def state(self, id: int = 1) -> ServerState:
        state = self.fleet.state(id)
        assert state is not None
        return state


def test_server_is_unknown_until_it_answers() -> None:
    clock = Clock(server())
    assert clock.condition() is UNKNOWN
    clock.take(GOOD)
    assert clock.condition() is UP


def test_new_server_that_says_nothing_is_down_and_says_why() -> None:
    clock = Clock(server())
    clock.rounds(1, REFUSED)
    assert clock.condition() is UNKNOWN
    assert clock.state().reason == "connection refused"
    clock.rounds(1, REFUSED)
    assert clock.condition() is DOWN
    assert clock.state().reason == "TCP: connection refused"


def test_one_miss_changes_nothing_and_two_in_a_row_do() -> None:
    clock = Clock(server())
    clock.take(GOOD)
    for _ in range(10):
        clock.rounds(1, SILENT)
        clock.rounds(1, GOOD)
    assert clock.condition() is UP
    clock.rounds(2, SILENT)
    assert clock.condition() is DOWN
    assert clock.state().since == datetime.fromtimestamp(1_000_000 + round(clock.now, 3), UTC)


def test_miss_that_decides_nothing_yet_is_to_be_followed_soon() -> None:
    fleet = Clock(server()).fleet
    aim = aim_of(TCP)
    assert fleet.take(1, aim, SILENT, 1).hurry
    assert not fleet.take(1, aim, SILENT, 2).hurry
    assert not fleet.take(1, aim, GOOD, 3).hurry


def test_return_takes_successes_in_a_row_and_a_slow_start() -> None:
    clock = Clock(server(), slow_start=30.0)
    clock.take(GOOD)
    clock.rounds(2, REFUSED)
    clock.rounds(2, GOOD)
    clock.rounds(1, REFUSED)
    clock.rounds(2, GOOD)
    assert clock.condition() is DOWN
    clock.rounds(1, GOOD)
    assert clock.condition() is STARTING
    began = clock.state().since
    clock.now += 29.9
    clock.take(GOOD)
    clock.fleet.look(clock.now)
    assert (clock.condition(), clock.state().since) == (STARTING, began)
    clock.now += 0.2
    assert clock.fleet.look(clock.now) == {1}
    assert clock.condition() is UP


def test_server_that_fails_while_it_starts_is_down_again() -> None:
    clock = Clock(server())
    clock.take(GOOD)
    clock.rounds(2, REFUSED)
    clock.rounds(3, GOOD)
    clock.rounds(2, REFUSED)
    assert clock.condition() is DOWN


def test_without_slow_start_it_is_up_at_once() -> None:
    clock = Clock(server(), slow_start=0)
    clock.take(GOOD)
    clock.rounds(2, REFUSED)
    clock.rounds(3, GOOD)
    assert clock.condition() is UP


def test_blocked_icmp_is_no_failure_of_a_server_that_media_come_from() -> None:
    clock = Clock(server(1, ICMP, HTTP))
    clock.take(GOOD, probe=HTTP)
    for _ in range(5):
        clock.take(SILENT, probe=ICMP)
    assert clock.condition() is UP
    clock.take(REFUSED, probe=HTTP)
    clock.take(REFUSED, probe=HTTP)
    clock.take(GOOD, probe=ICMP)
    assert clock.condition() is DOWN


def test_icmp_decides_where_there_is_nothing_else() -> None:
    clock = Clock(server(1, ICMP))
    clock.take(GOOD)
    clock.rounds(2, SILENT)
    assert clock.condition() is DOWN


def test_every_application_probe_has_to_answer() -> None:
    clock = Clock(server(1, TCP, HTTP))
    clock.take(GOOD, probe=TCP)
    assert clock.condition() is UNKNOWN
    clock.take(GOOD, probe=HTTP)
    assert clock.condition() is UP
    for _ in range(2):
        clock.take(SILENT, probe=HTTP)
        clock.take(GOOD, probe=TCP)
    assert clock.condition() is DOWN


def test_response_times_are_smoothed_and_kept_over_misses() -> None:
    clock = Clock(server(1, TCP, ICMP), smoothing=0.25)
    clock.take(Outcome(100.0))
    clock.take(Outcome(200.0))
    assert clock.state().response_ms == 125.0
    clock.take(SILENT)
    assert clock.state().response_ms == 125.0
    clock.take(Outcome(3.0), probe=ICMP)
    assert clock.state().responses == {ProbeKind.TCP: 125.0, ProbeKind.ICMP: 3.0}


def test_response_time_is_that_of_the_probe_nearest_to_a_viewer() -> None:
    clock = Clock(server(1, ICMP, TCP, HTTP))
    clock.take(Outcome(1.0), probe=ICMP)
    assert clock.state().response_ms == 1.0
    clock.take(Outcome(2.0), probe=TCP)
    clock.take(Outcome(30.0, 8e6), probe=HTTP)
    assert (clock.state().response_ms, clock.state().throughput_bps) == (30.0, 8e6)


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=50), st.floats(0.01, 1))
def test_average_is_that_of_its_definition(times: list[float], weight: float) -> None:
    clock = Clock(server(), smoothing=weight)
    for ms in times:
        clock.take(Outcome(ms))
    parts = [weight * (1 - weight) ** age for age in range(len(times) - 1)]
    parts.append((1 - weight) ** (len(times) - 1))
    wanted = sum(part * ms for part, ms in zip(parts, reversed(times), strict=True))
    assert clock.state().response_ms == pytest.approx(wanted)


def test_death_is_known_within_a_second_whenever_it_comes() -> None:
    for step in range(100):
        clock = Clock(server())
        clock.take(GOOD)
        died, at, timeout = clock.now + 0.3 * step / 100, clock.now, clock.fleet.timeout(TCP)
        # As ``Monitor`` makes them: each 0.3 s, after a miss at once.
        while clock.condition() is not DOWN:
            at = at + 0.3 if clock.now == at else max(clock.now, at + 0.27)
            if at < died:
                clock.now = at
                clock.take(GOOD)
            else:
                clock.now = at + timeout
                clock.take(SILENT)
        assert clock.now - died < 0.9


# --- doubt


def fleet_of(count: int, **options: float) -> Clock:
    clock = Clock(*(server(id) for id in range(1, count + 1)), **options)
    clock.take(GOOD)
    return clock


def conditions(clock: Clock) -> set[Condition]:
    return {state.condition for state in clock.fleet.states().values()}


def test_monitor_doubts_itself_when_all_fall_silent_at_once() -> None:
    clock = fleet_of(10)
    clock.rounds(20, SILENT)
    assert clock.fleet.doubt
    assert conditions(clock) == {UP}
    assert {state.reason for state in clock.fleet.states().values()} == {DOUBT}


def test_it_takes_back_what_it_said_just_before() -> None:
    clock = fleet_of(10)
    known = clock.state(1).since
    clock.now += 0.3
    clock.take(SILENT, 1)
    clock.now += 0.3
    clock.take(SILENT, 1)
    assert clock.condition(1) is DOWN
    clock.take(SILENT, *range(2, 9))
    assert clock.fleet.doubt
    assert (clock.condition(1), clock.state(1).since) == (UP, known)


def test_refusals_are_answers_and_raise_no_doubt() -> None:
    clock = fleet_of(10)
    clock.rounds(2, REFUSED)
    assert not clock.fleet.doubt
    assert conditions(clock) == {DOWN}


def test_two_servers_are_too_few_for_doubt() -> None:
    clock = fleet_of(2)
    clock.rounds(2, SILENT)
    assert conditions(clock) == {DOWN}


def test_less_than_four_fifths_raise_no_doubt() -> None:
    clock = fleet_of(10)
    clock.rounds(2, SILENT, *range(1, 8))
    assert not clock.fleet.doubt
    assert [clock.condition(id) for id in (1, 7, 8, 10)] == [DOWN, DOWN, UP, UP]


def test_servers_that_die_one_after_the_other_are_dead() -> None:
    clock = fleet_of(5)
    for id in range(1, 6):
        clock.rounds(2, SILENT, id)
        assert clock.condition(id) is DOWN
        for _ in range(40):
            clock.rounds(1, SILENT, *range(1, id + 1))
            if id < 5:
                clock.take(GOOD, *range(id + 1, 6))
    assert conditions(clock) == {DOWN}


def test_whoever_is_silent_when_the_network_is_back_is_found_anew() -> None:
    clock = fleet_of(10)
    clock.rounds(10, SILENT)
    clock.now += 0.3
    clock.take(GOOD, 1, 2, 3)
    assert not clock.fleet.doubt
    assert conditions(clock) == {UP}
    clock.rounds(1, GOOD, *range(1, 9))
    clock.rounds(1, SILENT, 9, 10)
    assert conditions(clock) == {UP}
    clock.rounds(1, SILENT, 9, 10)
    assert [clock.condition(id) for id in (1, 8, 9, 10)] == [UP, UP, DOWN, DOWN]


def test_host_that_answers_pings_while_its_server_hangs_raises_no_doubt() -> None:
    quick = replace(ICMP, interval=0.3)
    clock = Clock(*(server(id, TCP, quick) for id in (1, 2, 3)))
    clock.take(GOOD)
    for _ in range(4):
        clock.now += 0.3
        clock.take(SILENT)
        clock.take(GOOD, probe=quick)
    assert conditions(clock) == {DOWN}


def test_old_answer_to_a_ping_is_no_sign_that_the_network_is_well() -> None:
    clock = Clock(*(server(id, TCP, ICMP) for id in (1, 2, 3)))
    clock.take(GOOD)
    clock.take(GOOD, probe=ICMP)
    clock.rounds(3, SILENT)
    assert clock.fleet.doubt
    assert conditions(clock) == {UP}


def test_doubt_can_be_switched_off() -> None:
    clock = fleet_of(10, doubt_share=2.0)
    clock.rounds(2, SILENT)
    assert conditions(clock) == {DOWN}


# --- servers and options that change


def test_servers_come_and_go() -> None:
    clock = fleet_of(2)
    assert clock.fleet.replace_servers([server(2), server(3)], clock.now) == {1, 3}
    assert set(clock.fleet.states()) == {2, 3}
    assert [clock.condition(id) for id in (2, 3)] == [UP, UNKNOWN]
    assert not clock.fleet.take(1, aim_of(TCP), GOOD, clock.now).changed
    clock.fleet.replace_servers([server(2, enabled=False)], clock.now)
    assert not clock.fleet.states()


def test_server_that_moved_is_another_one() -> None:
    clock = fleet_of(1)
    moved = replace(server(1), host="elsewhere")
    assert clock.fleet.replace_servers([moved], clock.now) == {1}
    assert clock.condition() is UNKNOWN


def test_other_interval_keeps_what_is_known_and_another_probe_measures_anew() -> None:
    clock = fleet_of(1)
    slower = replace(TCP, interval=10.0)
    clock.fleet.replace_servers([server(1, slower)], clock.now)
    assert (clock.condition(), clock.state().response_ms) == (UP, 10.0)
    assert clock.fleet.timeout(slower) == 2.0
    clock.fleet.replace_servers([server(1, HTTP)], clock.now)
    assert (clock.condition(), clock.state().response_ms) == (UP, None)


def test_server_without_probes_is_not_known() -> None:
    clock = fleet_of(1)
    clock.fleet.replace_servers([replace(server(1), probes=())], clock.now)
    assert clock.condition() is UNKNOWN
    assert clock.state().reason == "it has no probes"


def test_options_change_while_it_runs() -> None:
    clock = fleet_of(1)
    clock.fleet.options = HealthOptions(misses=4)
    clock.rounds(3, REFUSED)
    assert clock.condition() is UP
    clock.rounds(1, REFUSED)
    assert clock.condition() is DOWN


# --- after a restart


def saved(age: float, condition: Condition = UP) -> ServerState:
    at = datetime.fromtimestamp(1_000_100, UTC) - timedelta(seconds=age)
    return ServerState(1, condition, 7.0, at - timedelta(seconds=5), at, {ProbeKind.TCP: 7.0})


@pytest.mark.parametrize("condition", [UP, STARTING, DOWN])
def test_young_state_is_gone_on_with_after_a_restart(condition: Condition) -> None:
    clock = Clock()
    state = saved(10, condition)
    clock.fleet.remember({1: state})
    clock.fleet.replace_servers([server()], clock.now)
    assert (clock.condition(), clock.state().since) == (condition, state.since)
    assert clock.state().response_ms == 7.0


def test_old_state_is_worth_nothing() -> None:
    clock = Clock()
    clock.fleet.remember({1: saved(61)})
    clock.fleet.replace_servers([server()], clock.now)
    assert clock.condition() is UNKNOWN


def test_restart_within_an_outage_of_the_network_keeps_what_was_known() -> None:
    clock = Clock()
    clock.fleet.remember({id: replace(saved(5), server=id) for id in (1, 2, 3)})
    clock.servers = {id: server(id) for id in (1, 2, 3)}
    clock.fleet.replace_servers(clock.servers.values(), clock.now)
    clock.rounds(5, SILENT)
    assert conditions(clock) == {UP}


# --- anything that may happen


def steps(seed: int) -> Iterator[tuple[int, Outcome]]:
    chance = random.Random(seed)
    while True:
        yield chance.randint(1, 5), chance.choice((GOOD, GOOD, SILENT, REFUSED))


@given(st.integers(0, 1 << 30))
def test_conditions_change_only_as_the_drawing_has_it(seed: int) -> None:
    clock = Clock(*(server(id) for id in range(1, 6)), slow_start=2.0)
    allowed = {
        (UNKNOWN, UP),
        (UNKNOWN, DOWN),
        (UP, DOWN),
        (STARTING, DOWN),
        (STARTING, UP),
        (DOWN, STARTING),
    }
    back = {(DOWN, UNKNOWN), (DOWN, UP), (DOWN, STARTING)}
    history: dict[int, list[bool]] = {id: [] for id in clock.servers}
    for _, (id, outcome) in zip(range(100), steps(seed), strict=False):
        clock.now += 0.1
        before = {one: state.condition for one, state in clock.fleet.states().items()}
        doubted = clock.fleet.doubt
        history[id].append(outcome.ms is not None)
        changed = clock.fleet.take(id, aim_of(TCP), outcome, clock.now).changed
        changed |= clock.fleet.look(clock.now)
        after = {one: state.condition for one, state in clock.fleet.states().items()}
        assert {one for one in after if before[one] is not after[one]} <= changed
        for one in after:
            move = before[one], after[one]
            if move[0] is not move[1]:
                assert move in allowed or (clock.fleet.doubt and not doubted and move in back)
            if move == (UP, DOWN):
                assert history[one][-2:] == [False, False]


def test_servers_that_never_answered_raise_no_doubt_while_others_answer() -> None:
    clock = Clock(*(server(id) for id in range(1, 24)))
    for _ in range(4):
        clock.rounds(1, GOOD, 1, 2, 3)
        clock.take(SILENT, *range(4, 24))
    assert not clock.fleet.doubt
    assert [clock.condition(id) for id in (1, 4, 23)] == [UP, DOWN, DOWN]
    clock.rounds(2, SILENT, 1)
    assert clock.condition(1) is DOWN
