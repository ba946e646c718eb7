"""What a policy does with the blocks of a scenario."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from heliograph.cli.placing.scenario import Moment
from heliograph.storage.placement import Placement, place, place_one
from heliograph.storage.values import DiskId

#: Blocks moved over the fewest that had to, from which on a policy moves too much; beneath the
#: reciprocal it leaves blocks where they no longer belong.
MOVED = 1.02
#: The same of groups, whose members make room for each other.
MOVED_GROUPS = 1.75
#: Highest over lowest load, less 1, from which on disks are not loaded alike.
SPREAD = 0.05
#: The same that chance explains, times the root of the blocks that the emptiest disk should have:
#: with some ten to fifty disks the highest and the lowest are 3 to 5 deviations apart.
CHANCE = 6.5
#: Groups that are looked up one after another, and at once, to see what that costs.
LOOKUPS = 2000
AT_ONCE = 100_000
#: Each cost is measured so often, and the least counts: others use the same caches.
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Result:
    """What was found of one policy."""

    policy: str
    moved: float
    """Blocks that moved over the fewest that had to, all operations together."""
    spread: float
    """Highest load over the lowest, less 1, each for its share: after the last operation."""
    worst_spread: float
    """The same after the operation that left the disks loaded most unevenly."""
    alone_us: float
    """CPU time to look up one group alone, its members together."""
    vector_us: float
    """The same among many at once."""
    state: int
    """Bytes that a node has to know."""
    verdict: str
    """Movement and fairness judged together; empty: both are good."""

    def as_json(self) -> dict[str, object]:
        """For programs; where a disk is empty nothing can be said of the spread."""
        return {
            name: None if value == float("inf") else value for name, value in asdict(self).items()
        }


def measure(
    policy: Placement,
    moments: Sequence[Moment],
    nodes: Mapping[DiskId, str],
    *,
    blocks: int,
    width: int,
    seed: int,
    clock: Callable[[], float],
    done: Callable[[], None],
) -> Result:
    """Place all blocks at each moment; ``done`` is called after each.

    ``clock``: seconds of CPU time. Blocks of redundancy are blocks: there are ``blocks // width``
    groups.
    """
    numbers = {disk: number for number, disk in enumerate(nodes)}
    groups = np.arange(blocks // width)
    before: NDArray[np.int32] | None = None
    last: dict[DiskId, float] = {}
    moved = optimum = 0.0
    spreads = []
    fewest = float(blocks)
    for moment in moments:
        names = np.array([numbers[disk] for disk in moment.table.physical], np.int32)
        now = names[place(policy, seed, groups, width, moment.table, nodes)]
        loads = np.bincount(now.ravel(), minlength=len(nodes))
        fair = [loads[numbers[disk]] / share for disk, share in moment.shares.items()]
        spreads.append(max(fair) / min(fair) - 1 if min(fair) else float("inf"))
        fewest = min(fewest, *(share * now.size for share in moment.shares.values()))
        if before is not None:
            moved += np.count_nonzero(now != before)
            optimum += now.size * sum(
                max(0.0, share - last.get(disk, 0.0)) for disk, share in moment.shares.items()
            )
        before, last = now, moment.shares
        done()
    ratio = moved / optimum if optimum else 1.0
    worst = max(spreads)
    alone, vector = _costs(policy, moments[-1], nodes, width=width, seed=seed, clock=clock)
    return Result(
        policy.name,
        ratio,
        spreads[-1],
        worst,
        alone,
        vector,
        policy.state(moments[-1].table),
        verdict(ratio, worst, width=width, fewest=fewest),
    )


def verdict(moved: float, spread: float, *, width: int, fewest: float) -> str:
    """Movement and fairness together: few moves are no merit where disks fill unevenly.

    ``fewest``: blocks that a disk should have at least.
    """
    most = MOVED if width == 1 else MOVED_GROUPS
    found = []
    if moved > most:
        found.append("moves too much")
    if spread > max(SPREAD, CHANCE / math.sqrt(fewest)):
        found.append("uneven")
    if moved < 1 / MOVED:
        found.append("moves too little")
    return ", ".join(found)


def _costs(
    policy: Placement,
    moment: Moment,
    nodes: Mapping[DiskId, str],
    *,
    width: int,
    seed: int,
    clock: Callable[[], float],
) -> tuple[float, float]:
    """Microseconds a group, alone and among many."""
    alone, vector = [], []
    for number in range(ROUNDS):
        # Other groups each time: those that were just asked for are remembered.
        first = number * LOOKUPS
        start = clock()
        for group in range(first, first + LOOKUPS):
            place_one(policy, seed, group, width, moment.table, nodes)
        alone.append((clock() - start) / LOOKUPS)
        start = clock()
        place(policy, seed, np.arange(AT_ONCE), width, moment.table, nodes)
        vector.append((clock() - start) / AT_ONCE)
    return min(alone) * 1e6, min(vector) * 1e6
