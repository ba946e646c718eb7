"""What a process spends and may, as the system tells it."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from heliograph.live.seats import Spend
from heliograph.manager.meter import (
    EVEN,
    SHARE,
    SOME_MEMORY,
    Meter,
    cpu_limit,
    cpu_used,
    memory_limit,
    memory_used,
)
from heliograph.plane import PlaneTotals


def test_what_was_spent_is_told_for_a_second() -> None:
    now, totals, links, cpu = [100.0], [PlaneTotals()], [0], [5.0]
    meter = Meter(
        lambda: totals[0],
        lambda: links[0],
        cpu=lambda: cpu[0],
        memory=lambda: 77,
        clock=lambda: now[0],
    )
    now[0], cpu[0], links[0] = 102.0, 5.5, 1000
    totals[0] = PlaneTotals(packets_out=100, bytes_out=5000, send_errors=3, events_lost=1)
    look = meter.look()
    assert look.spent == Spend(24_000, int(250_000 * (1 - math.exp(-2 / EVEN))), 77)
    assert (look.sent, look.lost, look.events_lost) == (100, 3, 1)
    now[0], links[0] = 103.0, 0  # the link has ended
    assert meter.look().spent[0] == 0


def test_a_moment_of_work_is_not_taken_for_load() -> None:
    now, cpu = [100.0], [5.0]
    meter = Meter(
        PlaneTotals, lambda: 0, cpu=lambda: cpu[0], memory=lambda: 77, clock=lambda: now[0]
    )
    now[0], cpu[0] = 100.001, 5.01  # two ticks of the system's clock, one after the other
    assert meter.look().spent == Spend(0, 0, 77)
    now[0], cpu[0] = 101.0, 7.0  # all of two cores, as at a start
    assert meter.look().spent.cpu < 700_000
    for _ in range(20):
        now[0], cpu[0] = now[0] + 1, cpu[0] + 2
        seen = meter.look()
    assert seen.spent.cpu > 1_900_000


def test_this_process_takes_memory_and_cpu() -> None:
    assert 1 << 20 < memory_used() < 1 << 36
    before = cpu_used()
    deadline = time.monotonic() + 10
    while cpu_used() == before and time.monotonic() < deadline:
        sum(range(100_000))
    assert cpu_used() > before
    assert cpu_limit() >= 1_000_000 * SHARE


@pytest.mark.parametrize(
    ("meminfo", "group", "bytes"),
    [
        ("MemFree: 1 kB\nMemTotal:       1000 kB\n", None, 1_024_000),
        ("MemTotal:       1000 kB\n", "max\n", 1_024_000),
        ("MemTotal:       1000 kB\n", "500000\n", 500_000),
        ("MemTotal:       1000 kB\n", "9223372036854771712\n", 1_024_000),
        ("nothing of use", None, SOME_MEMORY / SHARE),
        (None, None, SOME_MEMORY / SHARE),
    ],
)
def test_memory_is_the_machines_or_the_control_groups(
    tmp_path: Path, meminfo: str | None, group: str | None, bytes: float
) -> None:
    if meminfo is not None:
        (tmp_path / "meminfo").write_text(meminfo)
    if group is not None:
        (tmp_path / "memory.max").write_text(group)
    assert memory_limit(tmp_path, tmp_path) == int(bytes * SHARE)
