"""How evenly the dispatcher's policies load servers, by simulation: no server, no packets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.perf.figures import Figure, Result, at_most

from heliograph.dispatcher.policies import DEFAULT, POLICIES
from heliograph.dispatcher.simulation import Scenario, simulate

if TYPE_CHECKING:
    from tests.perf.plan import Plan


def policies(plan: Plan) -> Result:
    """Highest against mean load of eight servers."""
    scenario = Scenario(seconds=1200.0) if plan.quick else Scenario()
    unknown = replace(scenario, dispatchers=3)
    few = replace(scenario, copies=3)
    media = replace(scenario, application=True)
    figures: list[Figure] = []
    for policy in POLICIES:
        plan.say(f"  {policy}")
        bound = at_most(1.25) if policy == DEFAULT else None
        for what, one, target in (
            ("highest against mean load", scenario, bound),
            ("the same, three dispatchers", unknown, bound),
            ("the same, each title on three servers", few, None),
        ):
            peak = simulate(policy, one).peak
            figures.append(Figure(what, policy, peak, "times", target=target))
    peak = simulate("least-response-time", media).peak
    what = "highest against mean load, times that grow with the load"
    figures.append(Figure(what, "least-response-time", peak, "times"))
    return Result(
        "policies",
        f"Balance of {scenario.servers} servers with {scenario.streams} streams by the "
        "dispatcher's policies, simulated",
        tuple(figures),
        (
            f"Response times are measured each {scenario.poll:.0f} s. Everybody who is sent by the "
            "least of them goes to one server until the next measurement: it herds. Of several "
            "dispatchers none knows what the others decided.",
        ),
    )
