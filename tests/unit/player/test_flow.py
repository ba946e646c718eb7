"""Flow control: where the marks lie, when it decides, and a film of variable rate through both."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from statistics import pstdev

import pytest

from heliograph.player.flow import (
    Consumption,
    MultiThreshold,
    PauseResume,
    Rate,
    Spacing,
    watermarks,
)

#: The film of Yima's measurements: 5.3 Mbit/s on average, in bytes a second.
MEAN = 5.3e6 / 8
PEAK = 2.0 * MEAN
BUFFER = 16e6
LOW, HIGH = 0.1 * BUFFER, 0.9 * BUFFER
#: Seconds: half of what the mean rate takes to fill the buffer.
WINDOW = 12.0
STEP = 0.1
#: Seconds until a request acts: a round trip and the server's.
DELAY = 0.2


def test_linear_marks_have_equal_gaps() -> None:
    assert watermarks(1, 5, 5) == (1, 2, 3, 4, 5)
    assert watermarks(10, 20, 2, Spacing.GEOMETRIC) == (10, 20)


@pytest.mark.parametrize("count", [3, 4, 5, 8, 9])
def test_geometric_marks_halve_their_gaps_towards_the_limits(count: int) -> None:
    marks = watermarks(100, 900, count, Spacing.GEOMETRIC)
    assert (marks[0], marks[-1], len(marks)) == (100, 900, count)
    gaps = [b - a for a, b in itertools.pairwise(marks)]
    assert gaps == pytest.approx(gaps[::-1])
    half = gaps[: len(gaps) // 2 + len(gaps) % 2]
    assert all(b == pytest.approx(2 * a) for a, b in itertools.pairwise(half))


@pytest.mark.parametrize(("low", "high", "count"), [(5, 5, 3), (6, 5, 3), (-1, 5, 3), (0, 1, 1)])
def test_marks_that_make_no_sense_are_refused(low: float, high: float, count: int) -> None:
    with pytest.raises(ValueError, match="watermarks"):
        watermarks(low, high, count)


def test_pause_and_resume_decide_at_their_marks_only() -> None:
    flow = PauseResume(2.0, 8.0, 1.5)
    seen = [(level, flow.decide(level)) for level in (1, 5, 7.9, 8, 9, 5, 2.1, 2, 1, 5)]
    assert [(level, made.rate) for level, made in seen if made] == [(8, 0.0), (2, 1.5)]


def test_the_rate_brings_the_level_to_its_target_in_the_window() -> None:
    """Closed form: with constant consumption c, L(t) = L + (r − c) t = target at t = w."""
    flow = MultiThreshold(watermarks(2, 10, 5), window=4.0)
    made = flow.decide(3.0, 1.0)
    assert made == Rate(1.0 + (6.0 - 3.0) / 4.0, 3.0, 0)
    assert 3.0 + (made.rate - 1.0) * 4.0 == pytest.approx(flow.target)


def test_it_decides_only_when_a_mark_is_crossed() -> None:
    flow = MultiThreshold((2.0, 4.0, 6.0), window=4.0)
    assert flow.decide(3.0, 1.0)
    levels = [3.9, 2.1, 3.0, 4.3, 4.5, 5.9, 3.7, 1.0]
    assert [level for level in levels if flow.decide(level, 1.0)] == [4.3, 3.7, 1.0]


def test_a_level_that_trembles_about_a_mark_gives_no_stream_of_requests() -> None:
    flow = MultiThreshold((2.0, 4.0, 6.0), window=4.0)
    flow.decide(3.9, 1.0)
    for step in range(100):
        flow.decide(4.0 + 0.1 * (-1) ** step, 1.0)
    assert flow.decisions == 1


def test_a_server_is_asked_for_nothing_it_cannot_do() -> None:
    flow = MultiThreshold((2.0, 4.0, 6.0), window=1.0, least=0.5, most=2.0)
    assert flow.decide(0.0, 1.0).rate == 2.0  # type: ignore[union-attr]
    assert flow.decide(9.0, 1.0).rate == 0.5  # type: ignore[union-attr]


def test_consumption_is_the_mean_of_the_window() -> None:
    consumption = Consumption(10.0)
    taken = []
    chance = random.Random(1)
    for second in range(60):
        amount = chance.uniform(0, 100)
        taken.append(amount)
        consumption.take(float(second), amount)
    assert consumption.rate(59.0) == pytest.approx(sum(taken[-10:]) / 10)


def film(seed: int, seconds: int) -> list[float]:
    """Bytes a second of a film: scenes of some seconds, some of twice the mean rate."""
    chance = random.Random(seed)
    rates: list[float] = []
    while len(rates) < seconds:
        scene = chance.lognormvariate(0, 0.4)
        length = chance.randint(3, 20)
        rates += [scene * chance.uniform(0.9, 1.1) for _ in range(length)]
    rates = rates[:seconds]
    scale = MEAN / (sum(rates) / len(rates))
    return [min(0.95 * PEAK, rate * scale) for rate in rates]


class Outcome:
    def __init__(self) -> None:
        self.rates: list[float] = []
        self.underflows = self.overflows = self.requests = 0


def through(
    rates: list[float], decide: Callable[[float, float], Rate | None], begin: float
) -> Outcome:
    """Send a film at the rate asked for, a delay after each request, into a buffer."""
    outcome = Outcome()
    level, rate = HIGH / 2, begin
    consumption = Consumption(20.0)
    coming: list[tuple[float, float]] = []
    left = sum(rates)
    for step in range(round(len(rates) / STEP)):
        now = step * STEP
        while coming and coming[0][0] <= now:
            rate = coming.pop(0)[1]
        wanted = rates[int(now)] * STEP
        sent = min(rate * STEP, left)
        left -= sent
        level += sent
        outcome.overflows += level > BUFFER
        level = min(level, BUFFER)
        outcome.underflows += level < wanted and left > 0
        level = max(0.0, level - wanted)
        consumption.take(now, wanted)
        if left > 0:
            outcome.rates.append(rate)
        made = decide(level, consumption.rate(now) or MEAN)
        if made is not None:
            outcome.requests += 1
            coming.append((now + DELAY, made.rate))
    return outcome


@pytest.mark.parametrize("spacing", list(Spacing))
@pytest.mark.parametrize("seed", range(6))
def test_a_film_of_variable_rate_flows_evenly(seed: int, spacing: Spacing) -> None:
    rates = film(seed, 1800)
    pausing = PauseResume(LOW, HIGH, PEAK)
    by_pause = through(rates, lambda level, _: pausing.decide(level), PEAK)
    smooth = MultiThreshold(watermarks(LOW, HIGH, 5, spacing), window=WINDOW, least=0.0, most=PEAK)
    by_marks = through(rates, smooth.decide, MEAN)
    assert (by_marks.underflows, by_marks.overflows) == (0, 0)
    assert (by_pause.underflows, by_pause.overflows) == (0, 0)
    assert pstdev(by_marks.rates) <= 0.5 * pstdev(by_pause.rates)
    # Pausing is one of two rates: its deviation is known in closed form.
    share = sum(rate > 0 for rate in by_pause.rates) / len(by_pause.rates)
    closed = PEAK * math.sqrt(share * (1 - share))
    assert pstdev(by_pause.rates) == pytest.approx(closed)


def test_without_flow_control_the_same_film_overflows_or_starves() -> None:
    """The film is hard enough: neither peak nor mean rate alone carries it."""
    rates = film(0, 1800)
    assert through(rates, lambda *_: None, PEAK).overflows > 0
    wrong = [through(film(seed, 1800), lambda *_: None, MEAN) for seed in range(6)]
    assert any(one.underflows + one.overflows for one in wrong)
