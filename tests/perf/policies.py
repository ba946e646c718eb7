"""How evenly the dispatcher's policies load servers, by simulation: no server, no packets."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.perf.figures import Figure, Result, at_most

from heliograph.dispatcher.policies import DEFAULT, POLICIES
from heliograph.dispatcher.simulation import Scenario, simulate

if TYPE_CHECKING:
    from tests.perf.plan import Plan

#: Streams that servers carry, or their weights: as unlike as machines of ten years.
UNLIKE = (50, 50, 50, 50, 100, 100, 200, 200)
#: Of the same servers.
REGIONS = ("eu/de",) * 3 + ("eu/fr",) * 3 + ("us",) * 2


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
    figures += [*_unlike(scenario), *_regions(scenario)]
    return Result(
        "policies",
        f"Balance of {scenario.servers} servers with {scenario.streams} streams by the "
        "dispatcher's policies, simulated",
        tuple(figures),
        (
            f"Response times are measured each {scenario.poll:.0f} s. Everybody who is sent by the "
            "least of them goes to one server until the next measurement: it herds. Of several "
            "dispatchers none knows what the others decided.",
            f"Unlike servers carry {', '.join(map(str, UNLIKE))} streams, or have weights like "
            "that. Regions: two near each other with three servers and three eighths of the "
            "viewers each, and one far away with two servers and the other quarter. One is full "
            "when two thirds of the viewers are there: it may have three quarters of them.",
        ),
    )


def _unlike(scenario: Scenario) -> Iterator[Figure]:
    """Servers that differ."""
    what = "highest load by capacity against that of all, servers unlike each other"
    for policy in (DEFAULT, "rendezvous"):
        peak = simulate(policy, replace(scenario, capacities=UNLIKE)).peak
        bound = at_most(1.25) if policy == DEFAULT else None
        yield Figure(what, policy, peak, "times", target=bound)
    what = "mean load by weight against that of all, highest of servers unlike each other"
    for policy in ("weighted", "least-sessions"):
        loads = simulate(policy, replace(scenario, weights=UNLIKE)).loads
        each = sum(loads) / sum(UNLIKE)
        peak = max(load / each / weight for load, weight in zip(loads, UNLIKE, strict=True))
        yield Figure(what, policy, peak, "times")


def _regions(scenario: Scenario) -> Iterator[Figure]:
    """Servers and viewers in three regions."""
    places = replace(scenario, regions=REGIONS, clients={"eu/de": 3, "eu/fr": 3, "us": 2}, poll=1.0)
    dead = replace(places, down={id: (0.0, math.inf) for id in (1, 2, 3)})
    full = replace(places, clients={"eu/de": 4, "eu/fr": 1, "us": 1}, most=(100,) * len(REGIONS))
    for policy in ("nearest", DEFAULT):
        found = simulate(policy, places)
        yield Figure("share served in the own region", policy, found.own, "")
        what = "highest against mean load within a region"
        yield Figure(what, policy, max(found.within.values()), "times")
    for how, one in (("is full", full), ("is dead", dead)):
        found = simulate("nearest", one)
        for where, region in (("there", "eu/de"), ("in the next nearest", "eu/fr")):
            share = found.share("eu/de", region)
            yield Figure(f"of viewers whose region {how}, served {where}", "nearest", share, "")
        yield Figure(f"refused while a region {how}", "nearest", found.refused, "viewers")
