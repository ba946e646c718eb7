"""What the manager's decisions take, and how well they place: no server, no packets."""

from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.perf.figures import Figure, Result, Target, at_most, percentile
from tests.perf.placement import Placement, place_anew

from heliograph.manager.simulator import Outcome, Scenario, Simulation
from heliograph.manager.view import MAX_DEPTH, MAX_FAN_OUT, Amounts, Budgets, View

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN, NAIVE = "heliograph", "placed anew"
#: More viewers than there are places, to see who is refused.
CROWD = Scenario(
    units=30,
    channels=100,
    viewers=16_000,
    budgets=Budgets(50, 10, Amounts(2_000_000_000, 2_000_000, 8_000_000_000)),
    churn_s=5.0,
    stay_s=1e9,
    deaths=0,
    drains=0,
    presses=0,
)


def manager(plan: Plan) -> Result:
    """Decisions for 300 units and 300 000 viewers."""
    share = 10 if plan.quick else 1
    scenario = Scenario(
        units=300 // share, channels=2000 // share, viewers=306_000 // share
    )  # 2 % of them never come
    # The time of this thread: what else runs on the machine is not the decisions' fault.
    plan.say(f"  {scenario.units} units, {scenario.viewers} viewers")
    simulation = Simulation(scenario, time.thread_time)
    with _without_collector():
        outcome = simulation.run()
    full = _collection()
    plan.say("  placing them anew")
    naive = place_anew(simulation.view, _wanted(simulation.view), scenario.seed)
    own = _placement(simulation, outcome)
    plan.say("  more viewers than places")
    crowd = Simulation(replace(CROWD, seed=2), time.thread_time)
    with _without_collector():
        refusals = sum(crowd.run().refused.values())
    wanted = Counter(name for name, _ in crowd.watching())
    figures = [
        *_times(outcome),
        _own("full pass of the collector of garbage", full * 1e3, "ms"),
        _own("viewers seated at the peak", outcome.peak, "viewers"),
        _own("faults in the views (invariants)", len(outcome.wrong), "faults", at_most(0)),
        _own("links from the ingest unit, most", outcome.depth, "links", at_most(MAX_DEPTH)),
        _own("units fed by one unit, most", outcome.fan_out, "units", at_most(MAX_FAN_OUT)),
        *_both("units fed by one unit, most", "units", outcome.fan_out, naive.fan_out),
        *_both("highest load against the mean", "times", own.peak, naive.peak),
        *_both("deviation of loads (1: a full unit)", "", own.deviation, naive.deviation),
        *_both("links between units", "links", own.links, naive.links),
        *_both(
            f"refused of {len(crowd.watching())} for {_places(crowd.view)} places",
            "viewers",
            refusals,
            place_anew(crowd.view, wanted, 2).refused,
        ),
    ]
    return Result(
        "manager",
        f"Decisions of the manager for {scenario.units} units and {scenario.channels} channels, "
        f"{outcome.joined} joins, simulated",
        tuple(figures),
        (
            "Times are of the deciding thread's CPU, the next view and growth included. The "
            "collector of garbage is off, as decisions leave no cycles to it; what a pass would "
            "take, with all the simulation holds besides the view, is a line of its own.",
            f"*{NAIVE}*: the same viewers put one by one, from nothing, on the least loaded unit; "
            "no bounds of trees, and nobody stays where he was.",
        ),
    )


@contextmanager
def _without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _collection() -> float:
    """Seconds of a pass over all objects there are; the second, as the first sorts them out."""
    gc.collect()
    before = time.thread_time()
    gc.collect()
    return time.thread_time() - before


def _own(what: str, value: float, unit: str, target: Target | None = None) -> Figure:
    return Figure(what, OWN, value, unit, target=target)


def _both(what: str, unit: str, own: float, naive: float) -> list[Figure]:
    quotient = own / naive if naive else None
    return [
        Figure(what, OWN, own, unit, NAIVE, quotient),
        Figure(what, NAIVE, naive, unit),
    ]


def _times(outcome: Outcome) -> list[Figure]:
    joins = [one * 1e3 for one in outcome.join_s]
    dead = [one * 1e3 for _, one in outcome.replace_s]
    viewers = min((one for one, _ in outcome.replace_s), default=0)
    return [
        _own("decision to join, p50", percentile(joins, 0.5), "ms"),
        _own("decision to join, p99", percentile(joins, 0.99), "ms", at_most(1)),
        _own("decision to join, slowest", max(joins), "ms"),
        _own(
            f"planning without a unit of {viewers} viewers or more, slowest",
            max(dead),
            "ms",
            at_most(100),
        ),
        _own("a step of draining, slowest", max(outcome.drain_s) * 1e3, "ms"),
    ]


def _wanted(view: View) -> Counter[str]:
    wanted: Counter[str] = Counter()
    for unit in view.units.values():
        for group in unit.groups.values():
            wanted[group.channel] += group.viewers
    return wanted


def _placement(simulation: Simulation, outcome: Outcome) -> Placement:
    peak, deviation = simulation.spread()
    return Placement(0, peak, deviation, outcome.links, outcome.fan_out)


def _places(view: View) -> int:
    return sum(unit.budgets.groups * unit.budgets.places for unit in view.units.values())
