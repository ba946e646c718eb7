"""Streams that nodes send in turns, ahead of time: how many are promised, and that this is kept."""

from __future__ import annotations

import math
import random

import pytest

from heliograph.model.errors import BusyError
from heliograph.storage.values import DiskId
from heliograph.vod.admission import DEVIATIONS, Budgets, Demand, Promised, check, even
from heliograph.vod.ahead import COUNTED, Turns, needed, slow_share
from heliograph.vod.manifest import BlockEntry

NODES, LINK, RATE, BLOCK = 4, 16e6, 571e3, 1.92
DISKS = [DiskId(f"{n:016x}") for n in range(NODES)]
#: Seconds of a step of the simulation.
STEP = 0.12


def part(group: int, ahead: float = COUNTED, part: float = 1 / NODES) -> Demand:
    one = Demand(0, RATE, RATE * 1.05, 80, even(DISKS))
    return one.part(Turns(part, BLOCK, group, ahead), DISKS[:1], slow=1e-4)


def promised(one: Demand) -> int:
    """How many streams one node promises."""
    sums, count = Promised(), 0
    while True:
        try:
            check(Budgets(network_bps=LINK), sums, one)
        except BusyError:
            return count
        sums.add(one)
        count += 1


def missed(draw: random.Random, streams: int, group: int, ahead: float, seconds: float) -> float:
    """By how many seconds of its link a node is behind at worst, blocks lying by chance."""
    steps = int(seconds / STEP)
    each = round(BLOCK / STEP)
    due = [0.0] * (steps + each * group)
    for _ in range(streams):
        at = -draw.randrange(each * group)
        while at < steps:
            if group == 1:
                mine = [draw.random() < 1 / NODES]
            else:
                mine = [False] * group
                mine[draw.randrange(group)] = True  # of as many blocks as nodes, dealt
            for has in mine:
                for step in range(max(at, 0), at + each):
                    due[step] += RATE * STEP if has else 0.0
                at += each
    work = worst = 0.0  # what has to be sent before a step
    for bits in reversed(due[:steps]):
        work = max(work + bits - LINK * STEP, 0.0)
        worst = max(worst, work)
    return max(worst / LINK - ahead, 0.0)


@pytest.mark.parametrize(("group", "share"), [(1, 0.9), (NODES, 0.95)])
def test_links_are_filled_and_what_is_promised_is_kept(group: int, share: float) -> None:
    draw = random.Random(5)
    count = promised(part(group))
    assert count >= share * NODES * LINK / RATE
    late = [missed(draw, count, group, COUNTED, 60) for _ in range(10)]
    assert late == [0.0] * len(late)
    # What is due at its time alone fits in a few of those tries at best, and is not promised.
    alone = promised(part(group, ahead=0.0))
    assert alone < 0.6 * NODES * LINK / RATE
    assert any(missed(draw, count, group, 0.0, 60) > 0.1 for _ in range(3))


def test_going_ahead_never_costs() -> None:
    for group in (1, 3, NODES):
        one = part(group)
        ahead, due = Promised(), Promised()
        for _ in range(40):
            ahead.add(one)
            due.add(part(group, ahead=0.0))
            assert ahead.mean_bps <= ahead.network_bps() <= due.network_bps()
        ahead.add(one, -1)
        assert ahead.network_bps() < due.network_bps()


def test_what_is_needed_suffices_for_every_stretch_of_time() -> None:
    draw = random.Random(2)
    for _ in range(50):
        steady, drift, jump = draw.uniform(1, 20), draw.uniform(0, 30), draw.uniform(0, 90)
        found = needed(steady, drift, jump, DEVIATIONS)
        ratios = []
        for step in range(1, 4000):
            time = step / 20
            wanted = steady * time + DEVIATIONS * (math.sqrt(drift * time) + math.sqrt(jump))
            ratios.append(wanted / (time + COUNTED))
        assert max(ratios) <= found * 1.0001
        assert found <= max(*ratios, steady) * 1.01  # and it is no more than that


def test_a_rate_that_changes_slowly_does_not_even_out() -> None:
    def blocks(sizes: list[int]) -> list[BlockEntry]:
        step = 1_000_000
        return [BlockEntry(n * step, (n + 1) * step, size, (0,)) for n, size in enumerate(sizes)]

    assert slow_share(blocks([1000] * 60)) == 0.0
    assert slow_share([]) == slow_share(blocks([1000])) == 0.0
    quick = slow_share(blocks([500, 1000, 1500] * 20))
    slow = slow_share(blocks([500] * 30 + [1500] * 30))
    assert quick < 0.001
    assert 0.2 < slow < 0.26  # half as much again and half as much: 0.25, but for the change
