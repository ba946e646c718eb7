"""Popularity that fades, compared with a naive sum over all uses."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from heliograph.dispatcher.statistics.popularity import Popularity
from heliograph.dispatcher.statistics.ranks import Ranks

HALF = 3600.0


def naive(uses: list[tuple[str, float, float]], name: str, now: float) -> float:
    return sum(n * 0.5 ** ((now - at) / HALF) for one, at, n in uses if one == name)


@pytest.mark.parametrize("span", [5 * HALF, 500 * HALF])
def test_scores_agree_with_the_sum_over_all_uses(span: float) -> None:
    rng = random.Random(3)
    popularity = Popularity(HALF)
    uses: list[tuple[str, float, float]] = []
    for _ in range(3000):
        name, at = f"t{min(int(rng.expovariate(0.5)), 9)}", 1.7e9 + rng.uniform(0, span)
        uses.append((name, at, rng.randint(1, 5)))
        popularity.add(*uses[-1])
    now = 1.7e9 + span + 2 * HALF
    wanted = {name: naive(uses, name, now) for name in {name for name, _, _ in uses}}
    for name, score in wanted.items():
        assert popularity.score(name, now) == pytest.approx(score, rel=1e-9, abs=1e-12)
    top = popularity.top(3, now)
    assert [one.name for one in top] == sorted(wanted, key=lambda n: -wanted[n])[:3]
    assert popularity.scores(now) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


def test_a_score_halves_with_each_half_life() -> None:
    popularity = Popularity(HALF)
    assert popularity.score("film", 0.0) == 0
    popularity.add("film", 100.0, 8)
    assert popularity.score("film", 100.0) == 8
    assert popularity.score("film", 100.0 + 3 * HALF) == pytest.approx(1)


def test_of_too_many_titles_the_least_popular_are_forgotten() -> None:
    popularity = Popularity(HALF, max_titles=100)
    for number in range(1000):
        popularity.add(f"once-{number}", float(number))
        popularity.add("often", float(number))
    assert len(popularity) <= 100
    assert popularity.forgotten == 1001 - len(popularity)
    assert popularity.top(1, 1000.0)[0].name == "often"


async def test_ranks_are_asked_for_once_a_minute() -> None:
    now = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    asked: list[datetime] = []

    class Source:
        async def uses(self, since: datetime):
            asked.append(since)
            yield "new", now.replace(minute=0), 3
            yield "old", now.replace(minute=0) - timedelta(hours=10), 100

    time = [now]
    ranks = Ranks(Source(), HALF, now=lambda: time[0])
    found = await ranks.current()
    assert [one.name for one in found.top(2, now.timestamp())] == ["new", "old"]
    assert await ranks.current() is found
    time[0] += timedelta(seconds=61)
    await ranks.current()
    assert len(asked) == 2
    assert asked[0] == now - timedelta(hours=10)
