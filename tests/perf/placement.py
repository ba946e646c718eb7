"""A naive placement to compare the manager's with: everybody placed anew, by brute force.

It knows nothing of trees, growth or those who sit already. For each viewer it looks at every unit
and takes the least loaded where he fits; that balances as well as anything can, moves nearly
everybody, and links units as it happens.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from statistics import fmean, pstdev

from heliograph.manager.view import State, View


@dataclass(frozen=True, slots=True)
class Placement:
    """What a placement comes to."""

    refused: int
    """Viewers for whom there was no room."""
    peak: float
    """Highest load of a unit against the mean."""
    deviation: float
    """Of the loads, 1: a full unit."""
    links: int
    """Units that take a channel from another, over all channels."""
    fan_out: int
    """Units that take a channel from one unit, at most; here all from the first."""


def place_anew(view: View, wanted: Counter[str], seed: int) -> Placement:
    """Place ``wanted`` viewers by channels on the empty units of a view."""
    units = [unit for unit in view.units.values() if unit.state is State.UP]
    limits = [unit.budgets.limits for unit in units]
    used = [[0, 0, 0] for _ in units]
    groups = [0 for _ in units]
    seats: Counter[tuple[int, str]] = Counter()
    carriers: dict[str, list[int]] = {name: [] for name in view.channels}
    viewers = [name for name, count in wanted.items() for _ in range(count)]
    random.Random(seed).shuffle(viewers)
    refused = 0
    for name in viewers:
        channel = view.channels[name]
        best, least = None, 2.0
        for index, unit in enumerate(units):
            load = used[index][0] / limits[index][0]
            if load >= least:
                continue
            sitting = seats[index, name]
            cost = channel.seat
            if sitting % unit.budgets.places == 0:
                if groups[index] == unit.budgets.groups:
                    continue
                cost = cost.plus(channel.carry) if not sitting else cost
            if all(used[index][i] + cost[i] <= limits[index][i] for i in range(3)):
                best, least = index, load
        if best is None:
            refused += 1
            continue
        sitting = seats[best, name]
        groups[best] += sitting % units[best].budgets.places == 0
        seats[best, name] += 1
        _spend(used[best], channel.seat)
        if not sitting:
            _spend(used[best], channel.carry)
            if carriers[name]:
                _spend(used[carriers[name][0]], channel.seat)
            carriers[name].append(best)
    loads = [one[0] / limit[0] for one, limit in zip(used, limits, strict=True)]
    links = [max(0, len(one) - 1) for one in carriers.values()]
    return Placement(
        refused, max(loads) / (fmean(loads) or 1), pstdev(loads), sum(links), max(links, default=0)
    )


def _spend(used: list[int], cost: tuple[int, int, int]) -> None:
    for index in range(3):
        used[index] += cost[index]
