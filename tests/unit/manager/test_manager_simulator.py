"""The simulation that measures the manager, in small."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace

import pytest
from tests.perf.placement import place_anew

from heliograph.manager.ranking import AHEAD, BUSY, load
from heliograph.manager.simulator import BITRATES, Outcome, Scenario, Simulation
from heliograph.manager.view import Amounts, Budgets, Order, Policy

SMALL = Scenario(
    units=12,
    channels=40,
    viewers=1800,
    budgets=Budgets(30, 10, Amounts(1_000_000_000, 2_000_000, 4_000_000_000)),
    stay_s=120.0,
    policy=Policy(3, 4),
    deaths=2,
    drains=2,
)


def played(scenario: Scenario) -> tuple[Simulation, Outcome]:
    ticks = iter(range(10**9))
    simulation = Simulation(scenario, lambda: float(next(ticks)))
    return simulation, simulation.run()


@pytest.mark.parametrize("order", Order)
def test_views_stay_sound_through_deaths_drains_and_pressure(order: Order) -> None:
    _, outcome = played(replace(SMALL, policy=Policy(3, 4, order)))
    assert outcome.wrong == []
    assert outcome.depth <= 3
    assert outcome.fan_out <= 4
    assert len(outcome.replace_s) == 2
    assert outcome.peak > 1700
    assert set(outcome.refused) <= {"tree"}  # channels whose only unit is under pressure
    assert outcome.refused.total() < 10
    assert outcome.drained == 2


def test_decisions_leave_nothing_to_the_collector_of_garbage() -> None:
    simulation = Simulation(SMALL, lambda: 0.0)
    gc.collect()
    gc.disable()
    try:
        simulation.run()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_the_same_seed_is_the_same_run() -> None:
    first, second = (played(replace(SMALL, viewers=500))[1] for _ in range(2))
    assert first == second
    assert first != played(replace(SMALL, viewers=500, seed=2))[1]


def test_a_crowd_is_refused_only_where_budgets_are_spent() -> None:
    scenario = replace(SMALL, units=4, viewers=1500, deaths=0, drains=0, presses=0, stay_s=1e9)
    simulation, outcome = played(scenario)
    assert outcome.wrong == []
    assert set(outcome.refused) <= {"places", "bandwidth"}
    wanted = Counter(name for name, _ in simulation.watching())
    naive = place_anew(simulation.view, wanted, 1)
    assert 0 < outcome.refused.total() <= naive.refused


def test_more_channels_than_groups_serve_all_who_come() -> None:
    budgets = replace(SMALL.budgets, groups=20)
    _, outcome = played(
        Scenario(2, budgets, channels=150, zipf=0.0, viewers=15, stay_s=20.0, churn_s=900.0,
                 deaths=0, drains=0, presses=0)
    )  # fmt: skip
    assert outcome.wrong == []
    assert outcome.joined > 500
    assert not outcome.refused


def test_no_unit_gets_far_ahead_while_others_have_room() -> None:
    simulation, _ = played(replace(SMALL, deaths=0, drains=0, presses=0))
    group = 10 * max(BITRATES) / SMALL.budgets.limits.bandwidth
    assert max(load(unit) for unit in simulation.view.units.values()) < BUSY + 2 * AHEAD + group
