"""How commands follow what takes a while: an end is told soon, and not before there is one."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from heliograph.cli import console, disk


class Time:
    """A clock that goes on when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_looks_are_close_at_first_and_then_as_wide_as_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Time()
    monkeypatch.setattr(console, "time", clock)
    for _ in itertools.islice(console.looks(0.5), 7):
        pass
    assert clock.slept == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5]


CHANGE = {"bytes_done": 1, "bytes_total": 2, "waiting": []}


@pytest.mark.parametrize(
    ("begins", "ends", "told"),
    [
        (0.0, 0.0, (1.0, 1.5)),  # there is nothing to do
        (0.0, 7.0, (7.75, 8.5)),
        (0.5, 3.0, (3.75, 4.5)),  # what the server tells is half a second old
    ],
)
def test_a_change_of_disks_is_over_when_there_was_none_for_a_second(
    begins: float, ends: float, told: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Time()
    start = clock.now

    def find(*_: object) -> dict[str, Any]:
        return {"change": CHANGE if begins <= clock.now - start < ends else None}

    monkeypatch.setattr(disk, "time", clock)
    monkeypatch.setattr(disk, "find", find)
    disk._follow("http://server", None, "main")
    assert told[0] <= clock.now - start <= told[1]


def test_a_slow_server_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, asked = Time(), 0

    def find(*_: object) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        clock.now += 5
        return {"change": CHANGE if asked == 2 else None}

    monkeypatch.setattr(disk, "time", clock)
    monkeypatch.setattr(disk, "find", find)
    disk._follow("http://server", None, "main")
    assert asked == 4
