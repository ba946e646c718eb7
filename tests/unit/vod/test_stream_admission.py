"""Promises of streams: what they take, when they are refused, and that what is promised is kept."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from heliograph.model.errors import BusyError
from heliograph.storage.values import DiskId
from heliograph.vod.admission import (
    DEVIATIONS,
    Budgets,
    Demand,
    Promised,
    check,
    demand_of,
    even,
    smoothed_rate,
    without,
)
from heliograph.vod.manifest import BlockEntry
from heliograph.vod.promises import Admission

from .staged_film import make_film

DISKS = [DiskId(f"{n:016x}") for n in range(4)]
FILM, _ = make_film(10)


def blocks_of(sizes: list[int], seconds: float = 1.0) -> list[BlockEntry]:
    step = round(seconds * 1e6)
    return [BlockEntry(n * step, (n + 1) * step, size, (0,)) for n, size in enumerate(sizes)]


def least_rate(blocks: list[BlockEntry], ahead_us: int) -> float:
    """The same by looking at every run of blocks."""
    return max(
        sum(block.bytes for block in blocks[i : j + 1])
        / ((blocks[j].due_us - blocks[i].due_us + ahead_us) / 1e6)
        for i in range(len(blocks))
        for j in range(i, len(blocks))
    )


@pytest.mark.parametrize("ahead_us", [500_000, 3_000_000, 10_000_000])
def test_the_smoothed_rate_is_the_least_that_has_every_block_in_time(ahead_us):
    draw = random.Random(7)
    for _ in range(20):
        sizes = [draw.choice([100, 1000, 10_000, 1_000_000]) for _ in range(40)]
        blocks = blocks_of(sizes)
        exact = least_rate(blocks, ahead_us)
        found = smoothed_rate(blocks, ahead_us)
        span = max(sizes) / min(1, ahead_us / 1e6)
        assert exact * 0.999 <= found <= exact + 0.002 * span


def test_a_short_peak_costs_less_the_further_reading_is_ahead():
    blocks = blocks_of([100_000] * 30 + [1_000_000] + [100_000] * 30)
    rates = [smoothed_rate(blocks, ahead) for ahead in (1_000_000, 3_000_000, 10_000_000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 5 * rates[2]
    assert smoothed_rate([], 1_000_000) == 0.0


def demand(read: float = 0, mean: float = 0, peak: float = 0, packets: float = 0) -> Demand:
    return Demand(read, mean, max(mean, peak), packets, even(DISKS))


@pytest.mark.parametrize(
    ("budgets", "one", "streams", "reason"),
    [
        (Budgets(streams=3), demand(), 3, "3 streams"),
        (Budgets(disks=dict.fromkeys(DISKS, 1e6)), demand(read=4e5), 10, "disk 0"),
        (Budgets(network_bps=1e7), demand(mean=1e6), 10, "network"),
        (Budgets(packets=1000), demand(packets=100), 10, "processor"),
        (Budgets(disks={DISKS[2]: 1e5}), demand(read=4e5), 1, f"disk {DISKS[2]}"),
    ],
)
def test_each_budget_bounds_the_streams_and_is_named(budgets, one, streams, reason):
    promised = Promised()
    for _ in range(streams):
        check(budgets, promised, one)
        promised.add(one)
    with pytest.raises(BusyError, match=reason) as refused:
        check(budgets, promised, one)
    assert refused.value.subject == "bandwidth"
    assert refused.value.retry_after
    promised.add(one, -1)
    check(budgets, promised, one)


def test_without_budgets_nobody_is_refused():
    check(Budgets(), Promised(streams=10**6, packets=1e12), demand(1e12, 1e12, 1e12, 1e12))


def test_peaks_of_few_streams_are_counted_whole_and_of_many_by_their_spread():
    one = demand(mean=1e6, peak=4e6)
    few, many = Promised(), Promised()
    few.add(one)
    assert few.due_bps() == 4e6
    for _ in range(400):
        many.add(one)
    assert many.due_bps() == pytest.approx(400e6 + DEVIATIONS * (400 * 3e12) ** 0.5)
    assert many.due_bps() < 0.35 * 400 * 4e6


def test_sums_are_nothing_again_when_all_have_gone():
    promised, draw = Promised(), random.Random(3)
    demands = [demand(*(draw.uniform(1, 1e7) for _ in range(4))) for _ in range(200)]
    for one in demands:
        promised.add(one)
    draw.shuffle(demands)
    for one in demands:
        promised.add(one, -1)
    assert promised.streams == 0
    assert set(promised.disks.values()) == {0.0}
    assert promised.due_bps() == pytest.approx(0, abs=1)


def test_on_the_network_what_is_promised_is_kept():
    """Streams of variable rate, begun at any time: the network has more to carry than it can in a
    few seconds of 10 000 at most."""
    draw = random.Random(11)
    scenes = [draw.choice([1e6, 2e6, 3e6, 9e6]) for _ in range(600)]  # bits of each second
    one = demand(mean=sum(scenes) / len(scenes), peak=max(scenes))
    budgets = Budgets(network_bps=500e6)
    promised, begins = Promised(), []
    while True:
        try:
            check(budgets, promised, one)
        except BusyError:
            break
        promised.add(one)
        begins.append(draw.randrange(600))
    assert len(begins) > 0.6 * 500e6 / one.mean_bps  # and not much is left unused
    late = 0
    for second in range(10_000):
        if second % 20 == 0:  # somebody leaves and somebody comes
            begins[draw.randrange(len(begins))] = draw.randrange(600)
        late += sum(scenes[(begin + second) % 600] for begin in begins) > 500e6
    assert late <= 5


def test_on_disks_what_is_promised_is_kept():
    """Each disk reads its blocks one after another, the most urgent first, at the rate of its
    budget: none comes after it is due."""
    draw = random.Random(5)
    sizes = [draw.choice([20_000, 60_000, 60_000, 300_000]) for _ in range(60)]
    blocks, ahead = blocks_of(sizes), 3_000_000
    one = Demand(smoothed_rate(blocks, ahead), 0, 0, 0, even(DISKS))
    budgets = Budgets(disks=dict.fromkeys(DISKS, 4e6))
    promised, streams = Promised(), 0
    while True:
        try:
            check(budgets, promised, one)
        except BusyError:
            break
        promised.add(one)
        streams += 1
    # (release, due, bytes) of every read of every disk
    reads: dict[DiskId, list[tuple[float, float, int]]] = {disk: [] for disk in DISKS}
    for _ in range(streams):
        begin = draw.uniform(0, 30)
        for block in blocks:
            due = begin + block.due_us / 1e6
            reads[draw.choice(DISKS)].append((due - ahead / 1e6, due, block.bytes))
    late = total = 0
    for todo in reads.values():
        todo.sort()
        now, waiting, at = 0.0, [], 0
        while at < len(todo) or waiting:
            while at < len(todo) and todo[at][0] <= now:
                waiting.append(todo[at][1:])
                at += 1
            if not waiting:
                now = todo[at][0]
                continue
            waiting.sort()
            due, size = waiting.pop(0)
            now += size / 4e6
            late += now > due
            total += 1
    assert total == streams * 60
    assert late == 0


def test_a_lost_disk_makes_the_others_read_more():
    shares = without(even(DISKS), [DISKS[0]], data=3)
    assert DISKS[0] not in shares
    # A quarter of the blocks is made of 3 others each, read besides the rest.
    assert sum(shares.values()) == pytest.approx(0.75 + 0.25 * 3)
    assert without(even(DISKS), DISKS, data=3) == {}


def test_a_title_says_what_it_takes():
    one = demand_of(FILM, [0, 1], 3_000_000, even(DISKS))
    assert one.packets == pytest.approx(50 + 50)
    assert one.mean_bps > 8 * (50 * 400 + 50 * 160)
    assert one.peak_bps >= one.mean_bps
    assert one.read >= sum(block.bytes for block in FILM.blocks) / (10 + 3)
    sound = demand_of(FILM, [1], 3_000_000, even(DISKS))
    assert sound.mean_bps < one.mean_bps
    assert sound.read == one.read  # blocks are read whole


def test_promises_are_exchanged_for_speed_and_released_once():
    admission = Admission(lambda: Budgets(packets=250), lambda manifest: even(DISKS))
    first, second = admission.promise(FILM, [0, 1]), admission.promise(FILM, [0, 1])
    with pytest.raises(BusyError, match="processor"):
        admission.promise(FILM, [0, 1])
    with pytest.raises(BusyError):
        first.change(2.0)
    assert admission.promised.packets == pytest.approx(200)
    first.change(1.2)
    first.change(0.5)  # what was promised for the usual rate is still there
    assert admission.promised.packets == pytest.approx(200)
    second.release()
    second.release()
    second.change(2.0)
    assert admission.promised.packets == pytest.approx(100)
    first.change(2.0)
    assert admission.promised.packets == pytest.approx(200)
    assert admission.refused == 2


def test_budgets_that_shrink_refuse_newcomers_and_take_nothing_from_others():
    budgets = [Budgets(streams=5)]
    admission = Admission(lambda: budgets[0], lambda manifest: {})
    promises = [admission.promise(FILM, [0]) for _ in range(3)]
    budgets[0] = Budgets(streams=1)
    with pytest.raises(BusyError):
        admission.look(FILM, [0])
    promises[0].change(1.0)
    assert admission.promised.streams == 3


def test_a_title_that_grew_is_measured_anew():
    asked: list[int] = []
    admission = Admission(lambda: Budgets(), lambda manifest: asked.append(1) or even(DISKS))
    short = admission.promise(FILM, [0]).demand.read
    longer = replace(FILM, blocks=blocks_of([10_000_000] * 20))
    assert admission.promise(longer, [0]).demand.read > 10 * short


def test_who_has_paused_gives_way_to_those_who_come_and_not_in_vain():
    admission = Admission(lambda: Budgets(packets=350), lambda manifest: even(DISKS))
    first, second, third = (admission.promise(FILM, [0, 1]) for _ in range(3))
    first.rest()
    second.rest()
    admission.look(FILM, [0, 1])
    with pytest.raises(BusyError):
        third.change(10)  # there is not so much at all
    assert [*admission.resting] == [first, second]
    admission.promise(FILM, [0, 1])
    assert not first.wake()
    assert second.wake()
    assert admission.promised.packets == pytest.approx(300)
