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
