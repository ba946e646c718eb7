"""Streams in synchrony: clocks that drift, and what is done about it; jointly simulated."""

from __future__ import annotations

import random
from statistics import median

import numpy as np
import pytest

from heliograph.player.flow import MultiThreshold, watermarks
from heliograph.player.synchrony import (
    CommonStart,
    Drift,
    Skews,
    Synchroniser,
    common_target,
)

FRAME = 1 / 30
#: ± 100 ppm, as bad as crystals are.
PPM = (100e-6, -100e-6, 60e-6, -30e-6, 0.0)


def test_it_begins_when_all_have_enough() -> None:
    start = CommonStart(range(3), level=1.0, patience=5.0)
    assert not start.ready(100.0)
    for stream, level in ((0, 1.2), (1, 1.0), (2, 0.4)):
        start.report(stream, level, 10.0)
    assert not start.ready(10.5)
    assert start.waiting_for == (2,)
    start.report(2, 1.1, 11.0)
    assert start.ready(11.0)


def test_it_begins_without_a_stream_that_never_comes() -> None:
    start = CommonStart(range(2), level=1.0, patience=5.0)
    start.report(0, 9.0, 10.0)
    assert not start.ready(14.9)
    assert start.ready(15.0)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_buffers_are_steered_to_the_median(count: int) -> None:
    levels = [random.Random(count).uniform(1, 9) for _ in range(count)]
    assert common_target(levels, 0, 10) == pytest.approx(median(levels))
    assert common_target(levels, 9.5, 10) == 9.5


def test_drift_is_the_slope_that_numpy_finds() -> None:
    chance = random.Random(5)
    drift = Drift(40)
    points = [(t, 100e-6 * t + chance.gauss(0, 0.001)) for t in range(100)]
    for now, offset in points:
        drift.update(float(now), offset)
    slope = np.polyfit(*zip(*points[-40:], strict=True), 1)[0]
    assert drift.rate == pytest.approx(slope)


def test_drift_is_not_told_from_too_little() -> None:
    drift = Drift()
    for step in range(4):
        drift.update(step * 10.0, 0.0)
        assert drift.rate is None
    drift.update(40.0, 0.0)
    assert drift.rate == 0.0


def render(seconds: int, *, correct: bool, seed: int = 1) -> list[float]:
    """Skews, each second, of renderers with clocks of their own, reported with some noise."""
    chance = random.Random(seed)
    sync = Synchroniser(dict.fromkeys(range(len(PPM)), FRAME))
    positions = [chance.uniform(-0.01, 0.01) for _ in PPM]  # common start is not exact
    speeds = [1.0] * len(PPM)
    skews = []
    for now in range(seconds):
        for stream, ppm in enumerate(PPM):
            noisy = positions[stream] + chance.gauss(0, 0.001)
            made = sync.report(stream, now, noisy, now)
            if correct:
                speeds[stream] = made.speed
                positions[stream] += made.frames * FRAME
            positions[stream] += (1 + ppm) * speeds[stream]
        skews.append(max(positions) - min(positions))
    return skews


def test_five_streams_that_drift_are_shown_within_a_frame() -> None:
    skews = render(1800, correct=True)
    assert max(skews) <= FRAME
    assert sorted(skews)[-18] <= 0.01


def test_without_correction_they_part() -> None:
    # In closed form: 200 ppm between the extremes, and 20 ms at most at the start.
    assert render(3600, correct=False)[-1] == pytest.approx(3600 * 200e-6, abs=0.02)


def test_skews_are_told_as_they_were() -> None:
    skews = Skews()
    for step in range(100):
        assert skews.add([step, step + step / 10_000]) == pytest.approx(step / 10_000)
    told = skews.statistics()
    assert (told.samples, told.worst) == (100, pytest.approx(0.0099))
    assert (told.median, told.p99) == (pytest.approx(0.005), pytest.approx(0.0098))


def test_a_drift_is_told_as_it_is() -> None:
    chance = random.Random(2)
    sync = Synchroniser({0: FRAME})
    position = 0.0
    for now in range(300):
        made = sync.report(0, now, position + chance.gauss(0, 0.0005), now)
        position += (1 + 100e-6) * made.speed
    assert sync.drift_ppm(0) == pytest.approx(100, abs=10)


@pytest.mark.parametrize(
    ("offset", "frames"), [(0.4, 0), (-0.4, 0), (0.6, -1), (-0.6, 1), (2.2, -2), (-3.0, 3)]
)
def test_more_than_half_a_frame_is_corrected_by_whole_frames(offset: float, frames: int) -> None:
    sync = Synchroniser({0: FRAME})
    made = sync.report(0, 1.0, 10.0 + offset * FRAME, 10.0)
    assert made.frames == frames
    assert sync.left_out == max(0, frames)
    assert sync.repeated == max(0, -frames)


def test_servers_that_drift_keep_their_buffers_alike() -> None:
    """Flow control of five servers with drifting clocks: levels stay together for two hours."""
    levels = [5.0] * len(PPM)
    rates = [1.0] * len(PPM)
    flows = [MultiThreshold(watermarks(1, 9, 9), window=20.0, least=0.5, most=2.0) for _ in PPM]
    spread = 0.0
    for _ in range(7200):
        for stream, ppm in enumerate(PPM):
            levels[stream] += rates[stream] * (1 + 50 * ppm) - 1.0
            flows[stream].target = common_target(levels, 4.0, 6.0)
            made = flows[stream].decide(levels[stream], 1.0)
            if made is not None:
                rates[stream] = made.rate
        spread = max(spread, max(levels) - min(levels))
    assert spread <= 2.5
    assert all(flow.decisions < 400 for flow in flows)
