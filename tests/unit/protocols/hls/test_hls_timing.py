"""Decoding times: rising, never after presentation, and steady where the source is."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.protocols.hls import Timing, gaps_of, reorder_depth

FRAME = 40_000  # µs, 25 pictures a second
#: Order in which the pictures of a group are decoded, by how they are shown, and the depth.
ORDERS = {
    "none": ([0, 1, 2, 3], 0),
    "one": ([0, 2, 1, 4, 3], 1),
    "three": ([0, 4, 2, 1, 3, 8, 6, 5, 7], 2),
}


def shown(order: list[int], groups: int = 6) -> list[int]:
    """Presentation times in µs of groups in decoding order."""
    size = len(order) if order == sorted(order) else len(order) - 1
    times = [0] if size < len(order) else []
    for group in range(groups):
        own = order if size == len(order) else order[1:]
        times += [(group * size + place) * FRAME for place in own]
    return times


@pytest.mark.parametrize(("order", "depth"), ORDERS.values(), ids=ORDERS)
def test_reordered_pictures_are_decoded_steadily_and_in_time(order: list[int], depth: int) -> None:
    times = shown(order)
    assert reorder_depth(times) == depth
    timing = Timing(90_000, -10_000_000, times[0], gap=3600, depth=depth)
    found = [timing.times(time) for time in times]
    assert all(decoded <= presented for decoded, presented in found)
    assert set(gaps_of([decoded for decoded, _ in found])) == {3600}
    assert [presented for _, presented in found] == [900_000 + t * 9 // 100 for t in times]
    assert timing.late == 0


def test_depth_that_was_not_learnt_grows_once() -> None:
    times = shown(ORDERS["one"][0], groups=20)
    timing = Timing(90_000, 0, times[0], gap=3600, depth=0)
    found = [timing.times(time) for time in times]
    assert (timing.depth, timing.late) == (1, 1)
    assert all(decoded <= presented for decoded, presented in found[3:])


def test_rounding_makes_no_steady_sound_unsteady() -> None:
    # 1 024 samples of 48 kHz in whole microseconds, from an instant between two samples
    times = [7_000_010 + round(number * 1024e6 / 48_000) for number in range(1000)]
    timing = Timing(48_000, 0, times[0], gap=960)
    decoded = [timing.times(time)[0] for time in times]
    assert set(gaps_of(decoded)) == {1024}


@given(st.lists(st.integers(-900_000, 900_000), min_size=1, max_size=80))
def test_decoding_times_rise_whatever_comes(steps: list[int]) -> None:
    timing = Timing(90_000, 0, 50_000_000, gap=3600, depth=0)
    times = [timing.times(time)[0] for time in (50_000_000 + step // 2 for step in steps)]
    assert all(before < after for before, after in itertools.pairwise(times))


def test_clock_set_back_far_begins_anew() -> None:
    timing = Timing(90_000, 0, 50_000_000, gap=3600, depth=0)
    timing.times(50_000_000)
    assert timing.times(20_000_000) == (1_800_000, 1_800_000)
