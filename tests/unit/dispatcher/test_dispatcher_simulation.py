"""How evenly each policy loads eight servers, by simulation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heliograph.dispatcher.policies import DEFAULT, POLICIES
from heliograph.dispatcher.simulation import Scenario, simulate

SHORT = Scenario(seconds=1500.0, settle=900.0)
#: Highest against mean load that each may come to with eight servers; None: it herds.
BOUNDS = {
    "power-of-two": 1.25,
    "round-robin": 1.3,
    "weighted": 1.35,
    "least-sessions": 1.25,
    "rendezvous": 1.4,
    "nearest": 1.25,
    "least-response-time": None,
}


@pytest.mark.parametrize("policy", POLICIES)
def test_balance(policy):
    outcome = simulate(policy, SHORT)
    bound = BOUNDS[policy]
    assert outcome.refused == 0
    assert outcome.wrong == 0
    if bound is None:
        assert outcome.peak > 3
    else:
        assert outcome.peak <= bound


@pytest.mark.parametrize("seed", [2, 3])
def test_the_default_is_even_whatever_chance_does(seed):
    assert simulate(DEFAULT, replace(SHORT, seed=seed)).peak <= 1.25


def test_several_dispatchers_that_know_nothing_of_each_other_are_even_too():
    assert simulate(DEFAULT, replace(SHORT, dispatchers=3)).peak <= 1.25


def test_least_response_time_herds_less_where_times_grow_with_the_load():
    hurried = replace(SHORT, stay=60.0)
    icmp = simulate("least-response-time", hurried)
    media = simulate("least-response-time", replace(hurried, application=True))
    assert 1.5 < media.peak < icmp.peak
    assert simulate(DEFAULT, hurried).peak <= 1.25


def test_the_same_seed_gives_the_same():
    scenario = replace(SHORT, seconds=300.0, settle=100.0)
    assert simulate(DEFAULT, scenario) == simulate(DEFAULT, scenario)


def test_a_server_that_is_away_gets_nobody_and_the_others_its_share():
    scenario = replace(SHORT, down={3: (0.0, 1e9)}, poll=1.0)
    outcome = simulate(DEFAULT, scenario)
    assert outcome.shares[2] == 0
    assert outcome.wrong == 0
    assert max(outcome.shares) < 1.15 / 7


def ratios(loads, shares):
    """Each load by what it would be if loads were as the shares are."""
    unit = sum(loads) / sum(shares)
    return [load / unit / share for load, share in zip(loads, shares, strict=True)]


#: As unlike as an old machine and three generations after it.
UNLIKE = (50, 50, 50, 50, 100, 100, 200, 200)


@pytest.mark.parametrize(
    ("policy", "spread"),
    [("weighted", 0.25), ("least-sessions", 0.15)],  # chance alone, and what it counted
)
def test_loads_follow_the_weights(policy, spread):
    outcome = simulate(policy, replace(SHORT, weights=UNLIKE, seconds=2400.0))
    assert ratios(outcome.loads, UNLIKE) == pytest.approx([1] * 8, abs=spread)
    assert max(outcome.loads[:4]) < min(outcome.loads[4:6])
    assert max(outcome.loads[4:6]) < min(outcome.loads[6:])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_default_fills_servers_by_their_capacities(seed):
    outcome = simulate(DEFAULT, replace(SHORT, capacities=UNLIKE, seed=seed))
    assert outcome.peak <= 1.25
    assert ratios(outcome.loads, UNLIKE) == pytest.approx([1] * 8, abs=0.25)


def test_who_ignores_capacities_overloads_the_small():
    """That the simulation would show it."""
    assert simulate("round-robin", replace(SHORT, capacities=UNLIKE)).peak > 1.8


GERMANY, FRANCE, AMERICA = "eu/de", "eu/fr", "us"
#: Where the clients are whom Germany is nearest to.
ULM = f"{GERMANY}/ulm"
#: Three servers, three, and two.
PLACES = replace(
    SHORT,
    regions=(GERMANY,) * 3 + (FRANCE,) * 3 + (AMERICA,) * 2,
    clients={ULM: 3.0, FRANCE: 3.0, AMERICA: 2.0},
    poll=1.0,
)


def test_nearest_serves_each_in_his_region_and_evenly_there():
    outcome = simulate("nearest", PLACES)
    assert outcome.share(ULM, GERMANY) == 1
    assert outcome.share(FRANCE, FRANCE) == outcome.share(AMERICA, AMERICA) == 1
    assert max(outcome.within.values()) <= 1.25
    # Without it a region has as many of its own as it has of the servers.
    assert simulate(DEFAULT, PLACES).share(FRANCE, FRANCE) == pytest.approx(3 / 8, abs=0.08)


def test_nearest_leaves_a_region_that_is_dead_for_the_next_nearest():
    outcome = simulate("nearest", replace(PLACES, down={id: (0.0, 1e9) for id in (1, 2, 3)}))
    assert (outcome.refused, outcome.wrong) == (0, 0)
    assert outcome.share(ULM, FRANCE) == 1
    assert outcome.share(AMERICA, AMERICA) == 1
    assert outcome.within[FRANCE] <= 1.25


def test_nearest_stays_in_a_region_of_which_one_server_is_dead():
    outcome = simulate("nearest", replace(PLACES, down={2: (0.0, 1e9)}))
    assert outcome.share(ULM, GERMANY) == 1
    assert outcome.loads[1] == 0
    assert outcome.loads[0] == pytest.approx(outcome.loads[2], rel=0.15)


def test_nearest_comes_back_to_a_region_that_returns():
    away = {id: (1000.0, 1200.0) for id in (1, 2, 3)}
    outcome = simulate("nearest", replace(PLACES, down=away))
    assert outcome.wrong == 0
    # Of the 600 seconds that count it is away for 200.
    assert outcome.share(ULM, FRANCE) == pytest.approx(1 / 3, abs=0.08)
    assert outcome.share(ULM, GERMANY) == pytest.approx(2 / 3, abs=0.08)


def test_nearest_sends_on_what_a_full_region_cannot_take():
    crowd = {ULM: 4.0, FRANCE: 1.0, AMERICA: 1.0}  # 400 streams of 600, for 300 sessions
    full = replace(PLACES, clients=crowd, most=(100,) * 8)
    outcome = simulate("nearest", full)
    assert outcome.refused == 0
    assert outcome.share(ULM, GERMANY) == pytest.approx(300 / 400, abs=0.08)
    assert outcome.share(ULM, AMERICA) == 0  # the rest went no further than to France
    assert outcome.share(FRANCE, FRANCE) == outcome.share(AMERICA, AMERICA) == 1
    assert min(outcome.loads[:3]) > 80
    # With nowhere to spill to, the rest is told so.
    lost = simulate("nearest", replace(full, most=(30,) * 8))
    assert lost.refused > 0
    assert max(lost.loads) < 45  # a session counts for as long as people stay on average


def test_a_title_that_is_held_elsewhere_only_is_served_from_there():
    outcome = simulate("nearest", replace(PLACES, copies=2))
    assert outcome.refused == 0
    assert outcome.share(ULM, AMERICA) < outcome.share(ULM, FRANCE) < outcome.share(ULM, GERMANY)
    assert 0.3 < outcome.own < 0.9
