"""What two servers that are fed in turns say about each other."""

from __future__ import annotations

import os

from tests.perf import proc
from tests.perf.turns import Cost
from tests.perf.webrtc import _in_turns


def pair(ours: float, floor: float) -> tuple[Cost, Cost]:
    return Cost("heliograph", 10, 0, ours), Cost("floor", 10, 0, floor)


def test_the_ratio_is_of_what_was_measured_together() -> None:
    # The machine was twice as slow in the second run: for both.
    done = [pair(1.5, 1.0), pair(3.2, 2.0), pair(1.7, 1.0)]
    ours, floor = _in_turns("CPU a packet", done)
    assert (ours.value, floor.value) == (1.7, 1.0)
    assert ours.ratio == 1.6
    assert ours.verdict == "met"
    (missed, _) = _in_turns("CPU a packet", [pair(2.1, 1.0)])
    assert missed.verdict == "missed"


def test_nothing_measured_gives_no_figure() -> None:
    assert _in_turns("CPU a packet", []) == []


def test_a_process_used_time() -> None:
    before = proc.cpu_us(os.getpid())
    while proc.cpu_us(os.getpid()) - before < 2 * proc.TICK_US:
        sum(range(10_000))
    assert proc.cpu_us(os.getpid()) > before
