"""The buffer: order, limits, what is told; against a naive one that keeps everything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.player.buffer import CircularBuffer, Put


def small(**named: float) -> CircularBuffer[int]:
    given = {"seconds": 10.0, "max_bytes": 10_000, "slots": 64, **named}
    return CircularBuffer(
        seconds=given["seconds"], max_bytes=int(given["max_bytes"]), slots=int(given["slots"])
    )


def put(buffer: CircularBuffer[int], *numbers: int, size: int = 10) -> list[Put]:
    return [buffer.put(n, n / 10, size, n) for n in numbers]


def test_packets_come_out_in_order_whatever_order_they_came_in() -> None:
    buffer = small()
    put(buffer, 3, 1, 2, 5, 4)
    assert buffer.take(0.45) == [1, 2, 3, 4]
    assert buffer.counters.reordered == 3
    assert buffer.take(1.0) == [5]


def test_what_is_missing_is_waited_for_until_what_follows_is_due() -> None:
    buffer = small()
    put(buffer, 1, 3)
    assert buffer.take(0.25) == [1]
    assert put(buffer, 2) == [Put.KEPT]
    assert buffer.take(0.25) == [2]
    put(buffer, 5)
    assert buffer.take(0.5) == [3, 5]
    assert buffer.counters.missing == 1
    assert put(buffer, 4) == [Put.LATE]


def test_the_same_packet_is_kept_once() -> None:
    buffer = small()
    assert put(buffer, 1, 1) == [Put.KEPT, Put.REPEATED]
    assert buffer.bytes == 10


@pytest.mark.parametrize(
    ("limit", "fits"), [({"seconds": 1.0}, 11), ({"max_bytes": 105}, 10), ({"slots": 8}, 8)]
)
def test_each_limit_refuses_what_is_beyond_it_and_tells(limit: dict[str, float], fits: int) -> None:
    buffer = small(**limit)
    made = put(buffer, *range(20))
    assert made == [Put.KEPT] * fits + [Put.OVERFLOW] * (20 - fits)
    assert buffer.counters.overflows == 20 - fits
    assert buffer.take(10) == list(range(fits))
    assert buffer.bytes == 0


def test_running_empty_is_told_once_until_something_comes() -> None:
    buffer = small()
    assert buffer.take(5.0) == []
    assert buffer.counters.underflows == 0  # it never began
    buffer = small()
    put(buffer, 1, 2)
    buffer.take(0.2)
    assert not buffer.starving
    buffer.take(0.3)
    buffer.take(0.4)
    assert buffer.starving
    assert buffer.counters.underflows == 1
    buffer.put(3, 0.5, 10, 3)
    assert not buffer.starving
    buffer.take(0.6)
    assert buffer.counters.underflows == 2


def test_the_end_is_no_underflow() -> None:
    buffer = small()
    put(buffer, 1)
    buffer.ended = True
    buffer.take(9.0)
    assert not buffer.starving
    assert buffer.counters.underflows == 0


def test_the_level_is_what_lies_ahead_of_the_playout() -> None:
    buffer = small()
    put(buffer, *range(11))
    assert buffer.level_ms == 1000
    buffer.take(0.4)
    assert buffer.level_ms == 600
    buffer.take(2.0)
    assert buffer.level_ms == 0


def test_an_outage_longer_than_the_ring_does_not_close_it_for_ever() -> None:
    buffer = small(slots=8)
    put(buffer, 1)
    buffer.take(0.1)
    assert put(buffer, 1000) == [Put.KEPT]
    assert buffer.take(100.0) == [1000]
    assert buffer.counters.missing == 998


def test_after_a_seek_earlier_numbers_are_welcome() -> None:
    buffer = small()
    put(buffer, 100, 101)
    buffer.take(10.1)
    buffer.clear()
    assert put(buffer, 5) == [Put.KEPT]
    assert buffer.take(0.5) == [5]


@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0, 0.3))
def test_it_gives_what_a_naive_one_gives(seed: int, disorder: int, loss: float) -> None:
    chance = random.Random(seed)
    sent = [n for n in range(300) if chance.random() >= loss]
    order = sorted(sent, key=lambda n: n + chance.uniform(0, disorder))
    buffer: CircularBuffer[int] = CircularBuffer(seconds=1e9, max_bytes=1 << 30, slots=1024)
    # Naively: everything ever put, of which what is due and behind what was given is given.
    ever: list[int] = []
    given_last = -1
    out: list[int] = []
    naive: list[int] = []
    for step, number in enumerate(order):
        buffer.put(number, float(number), 1, number)
        ever.append(number)
        if step % 7 == 0:
            until = float(step - disorder)
            out += buffer.take(until)
            due = sorted({n for n in ever if given_last < n <= until})
            naive += due
            given_last = max([given_last, *due])
    out += buffer.take(1e6)
    naive += sorted({n for n in ever if n > given_last})
    assert out == naive
    assert buffer.counters.taken + buffer.counters.late == len(sent)


def test_what_somebody_owes_is_waited_for_beyond_its_time() -> None:
    buffer = small()
    buffer.tolerates = 2
    put(buffer, 1, 4, 8)
    assert buffer.take(1.0) == [1, 4]
    assert buffer.held_up
    assert buffer.take(1.0) == []
    put(buffer, 6)  # two alone are missing now, one after the other
    assert buffer.take(1.0) == [6, 8]
    assert not buffer.held_up
    assert buffer.counters.missing == 4
    # What is waited for in vain is given up, and nothing is awaited behind the end.
    put(buffer, 13)
    assert (buffer.take(2.0), buffer.held_up) == ([], True)
    buffer.pass_over()
    assert (buffer.take(2.0), buffer.held_up) == ([13], False)
    assert put(buffer, 12) == [Put.LATE]
    put(buffer, 20)
    buffer.ended = True
    assert buffer.take(2.0) == [20]
    assert buffer.counters.missing == 4 + 4 + 6


def test_what_there_was_no_room_for_is_owed_by_nobody() -> None:
    buffer = small(max_bytes=100)
    buffer.tolerates = 2
    put(buffer, *range(10))
    assert put(buffer, *range(10, 20)) == [Put.OVERFLOW] * 10
    assert buffer.take(0.85) == list(range(9))
    put(buffer, 20)
    assert buffer.whole_time == 2.0
    assert (buffer.take(2.0), buffer.held_up) == ([9, 20], False)
    assert buffer.counters.missing == 10
    # Some of what is missing was dropped, more of it never came.
    put(buffer, *range(21, 31))
    assert put(buffer, 31, 32) == [Put.OVERFLOW] * 2
    buffer.take(3.0)
    put(buffer, 36)
    assert buffer.whole_time is None
    assert (buffer.take(4.0), buffer.held_up) == ([], True)
    put(buffer, 33)
    assert buffer.whole_time == 3.6
    assert (buffer.take(4.0), buffer.held_up) == ([33, 36], False)
    # It comes again when there is room.
    put(buffer, *range(37, 47))
    assert put(buffer, 47) == [Put.OVERFLOW]
    buffer.take(4.55)
    assert put(buffer, 48, 47) == [Put.KEPT] * 2
    assert buffer.take(5.0) == [46, 47, 48]
    assert not buffer._dropped


def test_a_stream_is_whole_up_to_what_is_owed() -> None:
    buffer = small()
    assert buffer.whole_time is None
    put(buffer, 9)
    assert buffer.whole_time == 0.9  # with whatever comes first
    buffer.tolerates = 1
    put(buffer, 11)
    assert buffer.whole_time == 1.1
    put(buffer, 14)
    assert (buffer.whole_time, buffer.newest_time) == (1.1, 1.4)
    buffer.shift(0.5)
    assert buffer.whole_time == pytest.approx(1.6)
    put(buffer, 5)  # it begins earlier
    assert buffer.whole_time == 0.5
    # It is known what it begins with.
    buffer.clear()
    buffer.expect(3)
    put(buffer, 6, 7)
    assert buffer.whole_time is None
    assert (buffer.take(1.0), buffer.held_up) == ([], True)
    put(buffer, 3, 4)
    assert buffer.whole_time == 0.7
    assert buffer.take(0.65) == [3, 4, 6]
    assert buffer.whole_time == 0.7
    buffer.take(1.0)
    assert buffer.whole_time is None


def naive_whole_time(buffer: CircularBuffer[int]) -> float | None:
    """The same by looking at all that is held."""
    if buffer.tolerates is None or buffer._next is None or not len(buffer):
        return buffer.newest_time if len(buffer) else None
    times, missing = [], 0
    for number in range(buffer._next, buffer._highest + 1):
        entry = buffer._ring[number % len(buffer._ring)]
        if entry is not None:
            missing = 0
            times.append(entry.time)
        elif (missing := missing + (number not in buffer._dropped)) > buffer.tolerates:
            break
    return max(times, default=None)


@given(st.integers(0, 1 << 32))
def test_how_far_it_is_whole_is_what_a_naive_scan_finds(seed: int) -> None:
    chance = random.Random(seed)
    buffer = small(slots=chance.choice([16, 64]), max_bytes=chance.choice([200, 10_000]))
    buffer.tolerates = 2
    sent, position = 0, 0.0
    for _ in range(200):
        match chance.choice("pppppppptawse"):
            case "p":
                sent += chance.choice([1, 1, 1, 1, 2, 4])
                number = sent - chance.choice([0, 0, 0, 1, 3, 7])
                buffer.put(number, number / 10 + chance.choice([0, 0, 0.25]), 10, number)
            case "t":
                position = sent / 10 - chance.uniform(0, 1.5)
                buffer.take(position)
            case "a":
                buffer.tolerates = chance.choice([None, 0, 1, 2, 3, 8])
            case "w":
                buffer.pass_over()
            case "s" if chance.random() < 0.3:
                buffer.shift(chance.uniform(0, 0.2))
            case "e" if chance.random() < 0.3:
                buffer.clear()
                sent = chance.choice([0, sent, sent + 100])
                buffer.expect(chance.choice([None, sent, sent + 3]))
        assert buffer.whole_time == naive_whole_time(buffer)


class Watched(list[object]):
    """A ring that counts how often one of its places is looked at."""

    looks = 0

    def __getitem__(self, place: object) -> object:
        self.looks += 1
        return super().__getitem__(place)  # type: ignore[index]


def test_what_was_found_whole_is_not_looked_at_again() -> None:
    buffer = small(slots=1024, seconds=100.0)
    buffer.tolerates = 8
    put(buffer, *(n for n in range(900) if n != 5 and not 700 <= n < 720))
    ring = Watched(buffer._ring)
    buffer._ring = ring  # type: ignore[assignment]
    assert buffer.whole_time == 69.9
    assert ring.looks <= 720
    ring.looks = 0
    assert buffer.whole_time == 69.9
    assert ring.looks == 0
    # What fills a gap changes nothing for the rest; what ends one is seen.
    put(buffer, 5)
    ring.looks = 0
    assert buffer.whole_time == 69.9
    assert ring.looks == 0
    put(buffer, 704, 712)
    assert buffer.whole_time == 89.9
    assert ring.looks < 250
