"""Streams that nodes send in turns, ahead of time: how many are promised, and that this is kept."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import numpy as np
import pytest
from tests.unit.storage.volume.test_volume_state import disk

from heliograph.model.errors import BusyError
from heliograph.storage.values import BlockKey, Code, DiskId, ObjectId, Scheme
from heliograph.storage.volume import changes
from heliograph.storage.volume.planning import Plan
from heliograph.vod.admission import (
    DEVIATIONS,
    NODE_EXTENSION,
    Budgets,
    Demand,
    Promised,
    check,
    even,
)
from heliograph.vod.ahead import COUNTED, MARGIN, Turns, needed, slow_share
from heliograph.vod.manifest import BlockEntry

NODES, LINK, RATE, PACKETS, BLOCK = 4, 16e6, 571e3, 80, 1.92
#: Bits a second of a stream as several nodes send it.
SENT = RATE + 8 * PACKETS * NODE_EXTENSION
#: Of the link, where streams go ahead.
AHEAD_BPS = round(0.97 * LINK)
DISKS = [DiskId(f"{n:016x}") for n in range(NODES)]
OBJECT = ObjectId("5a" * 16)
#: Seconds of a step of the simulation.
STEP = 0.12
TAKEN = COUNTED + MARGIN

#: How a title's groups lie: for each block of each group, whether it is the node's.
Deal = Callable[[np.random.Generator, int], np.ndarray]


def by_lot(draw: np.random.Generator, groups: int) -> np.ndarray:
    return draw.random((groups, 1)) < 1 / NODES


def dealt(draw: np.random.Generator, groups: int) -> np.ndarray:
    owners = np.tile(np.arange(NODES), (groups, 1))
    return draw.permuted(owners, axis=1) == 0


def redundant(draw: np.random.Generator, groups: int) -> np.ndarray:
    """As a volume of eight disks at four nodes deals four blocks and a redundant one."""
    first = int(draw.integers(0, 100_000))
    keys = [
        [BlockKey(OBJECT, group, member) for member in range(4)]
        for group in range(first, first + groups)
    ]
    homes = [[PLAN.home(key) for key in group] for group in keys]
    return np.array([[home is not None and home.node == NODE for home in row] for row in homes])


PLAN = Plan(
    changes.create(
        "films",
        Scheme(4, 1, Code.XOR),
        [disk(one, one // 2) for one in range(2 * NODES)],
        policy="rendezvous",
        seed=1,
    )
)
NODE = PLAN.state.nodes[0]
#: By name: how blocks lie, how many there are of a group, and how these stray.
DEALS: dict[str, tuple[Deal, int, float]] = {
    "lot": (by_lot, 1, (1 - 1 / NODES) / NODES),
    "dealt": (dealt, NODES, 0.0),
    "redundant": (redundant, 4, PLAN.spread(OBJECT, NODE, 256)),
}


def part(deal: str, ahead: float = TAKEN) -> Demand:
    one = Demand(0, RATE, RATE * 1.05, PACKETS, even(DISKS))
    _, group, spread = DEALS[deal]
    return one.part(Turns(1 / NODES, BLOCK, group, ahead, spread), slow=1e-4)


def promised(one: Demand, ahead_bps: int = AHEAD_BPS) -> int:
    """How many streams one node promises."""
    sums, count = Promised(), 0
    budgets = Budgets(network_bps=LINK, ahead_bps=ahead_bps)
    while True:
        try:
            check(budgets, sums, one)
        except BusyError:
            return count
        sums.add(one)
        count += 1


def missed(
    draw: np.random.Generator, streams: int, deal: str, ahead: float, bps: float, seconds: float
) -> float:
    """The share of time in which a node is behind that sends so many bits a second, ``ahead`` s
    before they are due at most."""
    steps, each = int(seconds / STEP), round(BLOCK / STEP)
    find, group, _ = DEALS[deal]
    due = np.zeros(steps)
    for _ in range(streams):
        groups = steps // (each * group) + 2
        mine = np.repeat(find(draw, groups).ravel(), each)
        first = int(draw.integers(0, each * group))
        due += mine[first : first + steps] * SENT * STEP
    work = late = 0.0  # what has to be sent before a step
    for bits in due[::-1]:
        work = max(work + bits - bps * STEP, 0.0)
        late += work / bps > ahead
    return late / steps


@pytest.mark.parametrize(("deal", "share"), [("lot", 0.88), ("dealt", 0.93), ("redundant", 0.88)])
def test_links_are_filled_and_what_is_promised_is_kept(deal: str, share: float) -> None:
    count = promised(part(deal))
    assert share <= count * SENT / NODES / LINK < 0.97
    draws = [np.random.default_rng(seed) for seed in range(3)]
    late = [missed(draw, count, deal, COUNTED, AHEAD_BPS, 1200) for draw in draws]
    assert max(late) <= 1e-4
    # What is due at its time alone does not fit, and is not promised.
    alone = promised(part(deal, ahead=0.0))
    assert alone < 0.6 * NODES * LINK / SENT
    assert missed(draws[0], count, deal, 0.1, LINK, 600) > 0.1


def test_going_ahead_counts_as_far_as_the_node_goes_ahead() -> None:
    one = part("dealt")
    due = promised(one, ahead_bps=0)
    counts = [promised(one, ahead_bps=round(share * LINK)) for share in (0.3, 0.6, 0.8, 0.97)]
    assert counts[0] == due  # less than what goes in time
    assert due < counts[1] < counts[2] < counts[3]
    assert all(
        count * SENT / NODES < share * LINK
        for count, share in zip(counts[1:], (0.6, 0.8, 0.97), strict=True)
    )


def test_only_who_takes_packets_early_enough_is_counted_so() -> None:
    assert promised(part("dealt", TAKEN - 0.01)) == promised(part("dealt", 0.0))
    far = part("dealt", 2 * TAKEN)
    assert promised(far) == promised(part("dealt"))
    # Twice as fast, what a player takes lasts half as long.
    assert promised(far.times(2.0)) > 1.2 * promised(part("dealt").times(2.0))
    assert promised(far.times(2.01)) == promised(part("dealt", 0.0).times(2.01))


def test_going_ahead_evens_out_what_falls_together() -> None:
    for deal in DEALS:
        one = part(deal)
        sums = Promised()
        for _ in range(60):
            sums.add(one)
        assert sums.mean_bps < sums.ahead_bps() < 0.8 * sums.due_bps()
        before = sums.ahead_bps()
        sums.add(one, -1)
        assert sums.ahead_bps() < before


def test_packets_of_a_node_are_counted_with_their_extension() -> None:
    one = part("dealt")
    assert one.mean_bps == pytest.approx((RATE + 8 * 16 * PACKETS) / NODES)
    assert one.peak_bps == pytest.approx(1.05 * (RATE + 8 * 16 * PACKETS))
    assert part("dealt", ahead=0.0).mean_bps == one.mean_bps


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
