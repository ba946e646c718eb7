"""Selective retransmission over a simulated path that delays, loses and reorders."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator

import pytest

from heliograph.player.retransmission import (
    MAX_GAP,
    MAX_IN_REQUEST,
    MAX_MISSING,
    Retransmission,
    RoundTrip,
)

#: 5.3 Mbit/s in packets of 1 316 bytes.
EVERY = 1316 * 8 / 5.3e6
ROUND_TRIP = 0.040
LOSS = 0.00365


def independent(chance: random.Random) -> Iterator[bool]:
    while True:
        yield chance.random() < LOSS


def bursts(chance: random.Random) -> Iterator[bool]:
    """Three in a row are lost, as often as gives the same share."""
    while True:
        if chance.random() < LOSS / (3 - 2 * LOSS):
            yield from (True, True, True)
        else:
            yield False


Path = Callable[[random.Random], Iterator[bool]]


class Played:
    """What became of each packet."""

    def __init__(self, count: int) -> None:
        self.in_time = [False] * count
        self.first_lost = 0

    @property
    def residual(self) -> float:
        return 1 - sum(self.in_time) / len(self.in_time)


def play(
    retransmission: Retransmission,
    path: Path,
    *,
    count: int,
    buffered: float,
    nodes: int = 1,
    seed: int = 1,
    answers: bool = True,
    jitter: float = 0.004,
) -> Played:
    """Send ``count`` packets from nodes in turns of a hundred; each lost one as the path says.

    Requests and retransmissions cross the same path. A packet counts only when it is there at the
    time it is played, ``buffered`` seconds after it would come at best.
    """
    chance = random.Random(seed)
    there, back = path(chance), path(chance)
    owners = [number // 100 % nodes for number in range(count)]
    sequences: list[int] = []
    sent_by: dict[tuple[int, int], int] = {}
    for number, node in enumerate(owners):
        sequences.append(play_next(sent_by, node, number))
    played = Played(count)
    events: list[tuple[float, int, str, int]] = []
    for number in range(count):
        if next(there):
            played.first_lost += 1
        else:
            at = number * EVERY + ROUND_TRIP / 2 + chance.uniform(0, jitter)
            heapq.heappush(events, (at, number, "packet", number))
    while events:
        now, tie, kind, subject = heapq.heappop(events)
        position = now - ROUND_TRIP / 2 - buffered  # media time played
        if kind == "packet":
            due = subject * EVERY
            played.in_time[subject] |= position <= due
            retransmission.arrived(owners[subject], sequences[subject], due, now, position)
        for request in retransmission.requests(now, position):
            if next(back) or not answers:
                continue
            for place, sequence in enumerate(request.sequences):
                if not next(there):
                    number = sent_by[request.node, sequence]
                    at = now + ROUND_TRIP + place * 1e-5 + chance.uniform(0, jitter)
                    heapq.heappush(events, (at, tie, "packet", number))
        timer = retransmission.timer()
        if timer is not None and timer > now and (not events or timer < events[0][0]):
            heapq.heappush(events, (timer + 1e-9, tie, "timer", -1))
    return played


def play_next(sent_by: dict[tuple[int, int], int], node: int, number: int) -> int:
    """Number a packet within what its node sends."""
    sequence = sent_by.get((node, -1), 0)
    sent_by[node, -1] = sequence + 1
    sent_by[node, sequence] = number
    return sequence


@pytest.mark.parametrize(
    ("path", "most"), [(independent, 0.0001), (bursts, 0.0003)], ids=["independent", "bursts"]
)
@pytest.mark.parametrize("nodes", [1, 4])
def test_one_request_for_each_loss_leaves_next_to_nothing(
    path: Path, most: float, nodes: int
) -> None:
    retransmission = Retransmission(0)
    played = play(retransmission, path, count=100_000, buffered=1.0, nodes=nodes)
    counters = retransmission.counters
    assert played.first_lost / len(played.in_time) == pytest.approx(LOSS, rel=0.15)
    assert played.residual <= most
    assert counters.lost == counters.asked + counters.hopeless + counters.dropped
    assert counters.recovered / counters.asked > 0.98


def test_without_requests_the_loss_stays() -> None:
    retransmission = Retransmission(0)
    played = play(retransmission, independent, count=50_000, buffered=1.0, answers=False)
    assert sum(played.in_time) == len(played.in_time) - played.first_lost
    assert retransmission.counters.recovered == 0


def test_what_cannot_be_in_time_is_not_asked_for() -> None:
    """30 ms of buffer, 40 ms of round trip: each request would be in vain."""
    retransmission = Retransmission(0)
    played = play(retransmission, independent, count=50_000, buffered=0.03)
    assert retransmission.counters.asked == 0
    assert retransmission.counters.hopeless == retransmission.counters.lost > 0
    assert played.residual == pytest.approx(played.first_lost / len(played.in_time))


def test_the_deadline_is_honest() -> None:
    """About the limit what is counted as recovered was there when it was played, and no other."""
    for buffered in (0.06, 0.08, 0.12, 0.2):
        retransmission = Retransmission(0)
        played = play(retransmission, bursts, count=50_000, buffered=buffered)
        saved = sum(played.in_time) - (len(played.in_time) - played.first_lost)
        assert retransmission.counters.recovered == saved
        if buffered >= 0.12:
            assert retransmission.counters.late <= 0.02 * retransmission.counters.asked


def test_each_number_is_asked_for_once_and_of_the_node_that_sent_it() -> None:
    retransmission = Retransmission(7, patience=0.0)
    for node, sequence in ((1, 0), (2, 100), (1, 1), (2, 103), (1, 3)):
        retransmission.arrived(node, sequence, 5.0, 0.0, 0.0)
    made = retransmission.requests(0.0, 0.0)
    assert [(r.stream, r.node, r.sequences) for r in made] == [(7, 1, (2,)), (7, 2, (101, 102))]
    for step in range(1, 50):
        assert retransmission.requests(step / 10, step / 10) == []


def test_what_is_only_overtaken_is_not_asked_for() -> None:
    retransmission = Retransmission(0, patience=0.01)
    for sequence, now in ((0, 0.0), (2, 0.001), (1, 0.005)):
        retransmission.arrived(0, sequence, 9.0, now, 0.0)
        assert retransmission.requests(now, 0.0) == []
    assert retransmission.requests(1.0, 0.0) == []
    assert retransmission.counters.reordered == 1
    assert retransmission.counters.lost == 0


def test_lists_are_bounded() -> None:
    retransmission = Retransmission(0, patience=1.0)
    retransmission.arrived(0, 0, 9.0, 0.0, 0.0)
    for sequence in range(2, 4 * MAX_MISSING, 2):
        retransmission.arrived(0, sequence, 9.0, 0.0, 0.0)
    assert retransmission.waiting == MAX_MISSING
    assert retransmission.counters.dropped == 2 * MAX_MISSING - 1 - MAX_MISSING
    made = retransmission.requests(1.0, 0.0)
    assert sum(len(one.sequences) for one in made) == MAX_MISSING
    assert max(len(one.sequences) for one in made) <= MAX_IN_REQUEST


def test_an_outage_is_not_asked_for() -> None:
    retransmission = Retransmission(0, patience=0.0)
    retransmission.arrived(0, 0, 9.0, 0.0, 0.0)
    retransmission.arrived(0, MAX_GAP + 2, 9.0, 0.0, 0.0)
    assert retransmission.requests(1.0, 0.0) == []
    assert retransmission.counters.dropped == MAX_GAP + 1


def test_the_round_trip_is_what_a_plain_reading_of_the_formulas_gives() -> None:
    chance = random.Random(3)
    samples = [chance.uniform(0.03, 0.09) for _ in range(200)]
    estimate = RoundTrip()
    mean, deviation = samples[0], samples[0] / 2
    for sample in samples[1:]:
        deviation = 0.75 * deviation + 0.25 * abs(mean - sample)
        mean = 0.875 * mean + 0.125 * sample
    for sample in samples:
        estimate.update(sample)
    assert estimate.mean == pytest.approx(mean)
    assert estimate.bound == pytest.approx(mean + 4 * deviation)


def test_the_gaps_found_are_those_a_search_through_the_whole_log_finds() -> None:
    """Naively: a number not seen by a patience after the first higher one was seen is lost."""
    for seed in range(20):
        chance = random.Random(seed)
        arrivals = sorted(
            (n * 0.002 + chance.uniform(0, 0.02), n) for n in range(400) if chance.random() > 0.05
        )
        retransmission = Retransmission(0, patience=0.01)
        asked: set[int] = set()
        naive: set[int] = set()
        began = arrivals[0][1]
        for now, number in arrivals:
            for request in retransmission.requests(now, -100.0):
                asked |= set(request.sequences)
            retransmission.arrived(0, number, 0.0, now, -100.0)
        end = arrivals[-1][0] + 1
        for request in retransmission.requests(end, -100.0):
            asked |= set(request.sequences)
        came = {n: t for t, n in arrivals}
        for number in range(began + 1, 400):
            higher = [t for t, n in arrivals if n > number]
            if higher and came.get(number, 1e9) > min(higher) + 0.01:
                naive.add(number)
        near = {n for n in asked ^ naive if n in came}
        # The list is looked at when packets come, so one that came at that moment may be saved.
        assert {n for n in asked if n not in came} == {n for n in naive if n not in came}
        assert asked <= naive
        assert len(near) <= 3
