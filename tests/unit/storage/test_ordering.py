"""Which of those that wait for a disk goes next."""

from __future__ import annotations

import math
import random

import pytest

from heliograph.model.errors import BusyError
from heliograph.storage.ordering import HOPELESS, STARVED, Order, Rank


def order(*deadlines: float, limit: int = 100, rate: float | None = None) -> Order[float]:
    made: Order[float] = Order(limit, rate)
    for deadline in deadlines:
        made.add(Rank.URGENT, deadline, deadline, 0.0)
    return made


def taken(from_: Order[float], now: float = 0.0, background: bool = True) -> list[float]:
    found = []
    while (entry := from_.next(now, background)) is not None:
        found.append(entry.work)
    return found


def test_the_earliest_deadline_goes_first() -> None:
    deadlines = random.Random(3).sample(range(1000), 90)
    assert taken(order(*deadlines)) == sorted(deadlines)


def test_what_has_no_deadline_waits_for_what_has_one_and_background_for_both() -> None:
    queue = order()
    queue.add(Rank.BACKGROUND, math.inf, 3.0, 0.0)
    queue.add(Rank.PLAIN, math.inf, 2.0, 0.0)
    queue.add(Rank.PLAIN, math.inf, 2.5, 0.0)
    queue.add(Rank.URGENT, 9.0, 1.0, 0.0)
    assert taken(queue, background=False) == [1.0, 2.0, 2.5]
    assert taken(queue) == [3.0]


def test_each_rank_has_its_bound() -> None:
    queue = order(*range(5), limit=5)
    with pytest.raises(BusyError):
        queue.add(Rank.URGENT, 0.0, 9.0, 0.0)
    queue.add(Rank.PLAIN, math.inf, 9.0, 0.0)
    assert len(queue) == 6
    assert len(queue.everything()) == 6
    queue.add(Rank.URGENT, 0.0, 9.0, 0.0)
    assert taken(queue) == [9.0]


def test_what_is_wanted_sooner_by_now_goes_sooner_and_never_later() -> None:
    queue = order(1.0, 2.0)
    third = queue.add(Rank.BACKGROUND, math.inf, 3.0, 0.0)
    queue.hasten(third, Rank.URGENT, 1.5)
    queue.hasten(third, Rank.PLAIN, math.inf)
    queue.hasten(third, Rank.URGENT, 1.8)
    assert taken(queue) == [1.0, 3.0, 2.0]
    queue.hasten(third, Rank.URGENT, 0.0)  # has gone already
    assert not queue.drop(third)
    assert taken(queue) == []


def test_what_is_dropped_goes_never_and_takes_no_room() -> None:
    queue = order(limit=10)
    kept = queue.add(Rank.URGENT, 50.0, 50.0, 0.0)
    for turn in range(10_000):
        assert queue.drop(queue.add(Rank.URGENT, float(turn), turn, 0.0))
    assert len(queue) == 1
    assert len(queue._heap) < 200
    assert taken(queue) == [kept.work]


def test_what_is_hopelessly_late_lets_others_be_in_time() -> None:
    queue = order(1.0, 2.0, 10.0, 11.0)
    assert taken(queue, now=2.0 + HOPELESS / 2) == [2.0, 10.0, 11.0, 1.0]
    assert queue.overdue == 1


def test_background_keeps_to_its_rate() -> None:
    queue = order(rate=1000.0)
    now, spent = 100.0, 0
    for turn in range(2000):
        queue.add(Rank.BACKGROUND, math.inf, turn, now)
        if len(queue) == 100:
            queue.everything()
        if queue.next(now, True) is not None:
            queue.spend(50, now)
            spent += 50
        now += 0.01
    assert spent == pytest.approx(1000 * 20, rel=0.02)
    queue.rate = 0.0
    assert queue.pause(now) == math.inf
    queue.rate = None
    assert queue.pause(now) == 0


def test_nobody_starves() -> None:
    """With reads that never end, the others get one turn a second."""
    queue = order(limit=1000)
    for _ in range(100):
        queue.add(Rank.BACKGROUND, math.inf, -1.0, 0.0)
        queue.add(Rank.PLAIN, math.inf, -2.0, 0.0)
    went: list[float] = []
    now = 0.0
    for turn in range(2000):
        now = turn * 0.01
        queue.add(Rank.URGENT, now + 1, now, now)
        entry = queue.next(now, True)
        assert entry is not None
        went.append(entry.work)
    assert went.count(-1.0) == pytest.approx(now / STARVED, abs=2)
    assert went.count(-2.0) == pytest.approx(now / STARVED, abs=2)
