"""Clocks of nodes that drift, asked over a network whose two ways differ."""

from __future__ import annotations

import random

import pytest

from heliograph.vod.bipartite.clock import Relation, Sample

#: Of theirs at time 0, µs.
OFFSET = 123_456_789


class Network:
    """Two clocks and the ways between them; real time in µs."""

    def __init__(self, seed: int, ours_ppm: float, theirs_ppm: float, there: float, back: float):
        self.random = random.Random(seed)
        self.rates = 1 + ours_ppm * 1e-6, 1 + theirs_ppm * 1e-6
        self.ways = there, back

    def ours(self, real: float) -> int:
        return round(real * self.rates[0])

    def theirs(self, real: float) -> int:
        return OFFSET + round(real * self.rates[1])

    def true_offset(self, real: float) -> float:
        return self.theirs(real) - self.ours(real)

    def burst(self, real: float, count: int = 5) -> list[Sample]:
        """Each way has its least delay, and queues now and then."""
        found = []
        for _ in range(count):
            there, back = (way + self.random.expovariate(1 / way) for way in self.ways)
            answered = self.theirs(real + there)
            found.append(Sample(self.ours(real), answered, self.ours(real + there + back)))
            real += there + back
        return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("ours", "theirs"), [(100, -100), (-100, 100), (50, 50), (0, 0)])
@pytest.mark.parametrize(("there", "back"), [(200, 200), (100, 1_000), (3_000, 300)])
def test_the_offset_is_known_to_half_the_round_trip_at_all_times(
    seed: int, ours: float, theirs: float, there: float, back: float
) -> None:
    network = Network(seed, ours, theirs, there, back)
    relation = Relation()
    for second in range(0, 300):
        real = second * 1e6
        if second % 5 == 0:
            relation.add(network.burst(real))
        real += 100_000
        now = network.ours(real)
        off = abs(relation.offset_us(now) - network.true_offset(real))
        assert off <= relation.error_us(now) + 2
        assert off <= there + back + 1_500 * (second < 30)
    # Nobody asks any more, as the other has died: a minute later it is known still.
    real = 360e6
    off = abs(relation.offset_us(network.ours(real)) - network.true_offset(real))
    assert off < (there + back) * 2 + 2_000


def test_equal_ways_and_drift_are_measured_to_some_ten_microseconds() -> None:
    network = Network(3, 100, -100, 300, 300)
    relation = Relation()
    for second in range(0, 120, 5):
        relation.add(network.burst(second * 1e6))
    real = 120e6
    off = abs(relation.offset_us(network.ours(real)) - network.true_offset(real))
    assert off < 150  # without the drift it would be a thousand and more


def test_nothing_is_known_before_the_first_burst() -> None:
    relation = Relation()
    assert not relation.known
    assert relation.offset_us(5) == 0
    assert relation.error_us(5) == float("inf")
    relation.add([Sample(10, 5, 9)])  # a clock that ran backwards
    assert not relation.known


def test_a_clock_that_was_set_is_measured_anew() -> None:
    network = Network(1, 0, 0, 100, 100)
    relation = Relation()
    for second in range(0, 60, 5):
        relation.add(network.burst(second * 1e6))
    set_ = [Sample(one.sent_us, one.theirs_us + 3_600_000_000, one.received_us)
            for one in network.burst(61e6)]  # fmt: skip
    relation.add(set_)
    assert abs(relation.offset_us(61_000_000) - OFFSET - 3_600_000_000) < 300
