"""What is kept of titles that several watch."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass

import pytest

from heliograph.storage.caching import LEFT, VIEWERS, Cache
from heliograph.storage.values import ObjectId

FILM = ObjectId("f1" * 16)
BLOCK = bytes(1000)


class Recency:
    """Plain LRU, to compare with."""

    def __init__(self, limit: int) -> None:
        self._room = limit // len(BLOCK)
        self._kept: OrderedDict[tuple[ObjectId, int], bytes] = OrderedDict()

    def get(self, object: ObjectId, number: int, now: float) -> bytes | None:
        if (object, number) in self._kept:
            self._kept.move_to_end((object, number))
        return self._kept.get((object, number))

    def put(self, object: ObjectId, number: int, payload: bytes, now: float) -> bool:
        self._kept[object, number] = payload
        if len(self._kept) > self._room:
            self._kept.popitem(last=False)
        return True


@dataclass
class Watching:
    """Somebody who watches a title from a block on."""

    title: ObjectId
    at: int
    since: float
    end: int
    pace: float = 1.0


def play(cache: Cache | Recency, watching: list[Watching]) -> float:
    """Share of requests that the cache answers."""
    asks = sorted(
        (one.since + (number - one.at) * one.pace, index, number)
        for index, one in enumerate(watching)
        for number in range(one.at, one.end)
    )
    hits = 0
    for now, index, number in asks:
        title = watching[index].title
        if cache.get(title, number, now) is not None:
            hits += 1
        else:
            cache.put(title, number, BLOCK, now)
    if isinstance(cache, Cache):
        assert cache.counters.hits == hits
        assert cache.counters.misses == len(asks) - hits
        assert cache.used <= cache.limit
    return hits / len(asks)


def room(blocks: int) -> int:
    return blocks * len(BLOCK)


def test_the_interval_between_two_viewers_is_kept_until_the_second_has_passed() -> None:
    pair = [Watching(FILM, 0, 0.0, 500), Watching(FILM, 0, 10.5, 500)]
    assert play(Cache(room(14)), pair) > 0.48  # all that the second asks for, but his start
    assert play(Cache(room(4)), pair) > 0.15  # and a part of it where there is room for a part
    assert play(Recency(room(4)), pair) == 0


def test_a_chain_of_viewers_costs_one_read() -> None:
    chain = [Watching(FILM, 0, 5.2 * place, 400) for place in range(8)]
    assert play(Cache(room(45)), chain) > 0.85


def test_short_intervals_go_before_long_ones() -> None:
    far, near = ObjectId("fa" * 16), ObjectId("ea" * 16)
    cache = Cache(room(20))
    watching = [Watching(far, 0, 0.0, 300), Watching(far, 0, 100.5, 300)]
    watching += [Watching(near, 0, 110.0, 200), Watching(near, 0, 118.5, 200)]
    play(cache, watching)
    alone = Cache(room(20))
    share = play(alone, watching[2:])
    assert share > 0.45
    assert cache.counters.hits >= alone.counters.hits + 20  # the long one has what is left


@pytest.mark.parametrize("seed", range(2))
def test_with_many_viewers_of_many_titles_more_is_found_than_by_recency(seed: int) -> None:
    """Popularity by Zipf, arrivals by chance, some leave, some are faster than others."""
    chance = random.Random(seed)
    titles = [ObjectId(f"{n:032x}") for n in range(30)]
    weights = [1 / (rank + 1) for rank in range(30)]
    watching = []
    now = 0.0
    for _ in range(100):
        now += chance.expovariate(1 / 9)
        (title,) = chance.choices(titles, weights)
        end = 300 if chance.random() < 0.7 else chance.randrange(20, 300)
        watching.append(Watching(title, 0, now, end, chance.uniform(0.9, 1.1)))
    for blocks in (50, 400):
        ours, plain = play(Cache(room(blocks)), watching), play(Recency(room(blocks)), watching)
        assert ours > 1.15 * plain, blocks
        assert ours > plain + 0.03, blocks


def test_beginnings_asked_for_again_and_again_stay() -> None:
    cache = Cache(room(40))
    other = ObjectId("0f" * 16)
    now = 0.0
    found = 0
    for turn in range(12):
        for number in range(5):  # somebody looks in for a moment
            now += 1.0
            found += cache.get(FILM, number, now) is not None
            cache.put(FILM, number, BLOCK, now)
        now += LEFT + 1
        for number in range(30):  # and one watches something else, alone
            now += 1.0
            assert cache.get(other, turn * 100 + number, now) is None
            cache.put(other, turn * 100 + number, BLOCK, now)
    assert found == 11 * 5


def test_who_has_left_keeps_nothing() -> None:
    cache = Cache(room(10))
    for number in range(3):  # follows, and leaves
        cache.get(FILM, number, number)
    for number in range(5, 15):
        cache.get(FILM, number, 2.0)
        assert cache.put(FILM, number, BLOCK, 2.0)
    later = 2.0 + LEFT + 1
    other = ObjectId("0f" * 16)
    for number in range(10):
        cache.get(other, number, later)
        assert cache.put(other, number, BLOCK, later)
    assert len(cache) == 10
    assert cache.get(other, 9, later) == BLOCK


def test_what_is_wanted_later_than_all_that_is_there_is_not_kept() -> None:
    cache = Cache(room(3))
    for number in (0, 1):
        cache.get(FILM, number, number)
    for number in (10, 11, 12):
        cache.get(FILM, number, 2.0)
        assert cache.put(FILM, number, BLOCK, 2.0)
    cache.get(FILM, 13, 3.0)
    assert not cache.put(FILM, 13, BLOCK, 3.0)
    assert cache.put(FILM, 5, BLOCK, 3.0)
    assert cache.get(FILM, 12, 3.0) is None
    assert cache.counters.passed == 1


def test_viewers_are_told_apart_by_what_they_ask() -> None:
    cache = Cache(room(10))
    for step in range(5):
        cache.get(FILM, step, float(step))
        cache.get(FILM, 20 + step, float(step))
    cache.get(FILM, 6, 5.0)  # read ahead, in another order
    cache.get(FILM, 5, 5.0)
    cache.get(FILM, 7, 6.0)
    assert [at for at in cache.viewers(FILM) if at < 20] == [7]
    cache.get(FILM, 90, 6.0)  # one who asks once may never come back
    assert cache.viewers(FILM)[-1] == 24


def test_deleted_titles_are_forgotten_and_limits_hold() -> None:
    cache = Cache(room(2))
    assert not Cache(0).put(FILM, 0, BLOCK, 0.0)
    assert not cache.put(FILM, 0, bytes(5000), 0.0)
    assert cache.put(FILM, 0, BLOCK, 0.0)
    assert cache.put(FILM, 0, BLOCK, 0.0)
    assert (len(cache), cache.used) == (1, 1000)
    cache.forget(FILM)
    cache.forget(FILM)
    assert (len(cache), cache.used) == (0, 0)
    for number in range(5000):  # titles and positions that nobody goes on from
        cache.get(ObjectId(f"{number:032x}"), 0, number * 1.0)
        cache.get(FILM, number * 100, 0.0)
    assert len(cache._titles) < 1000
    assert len(cache._titles[FILM].viewers) <= VIEWERS
