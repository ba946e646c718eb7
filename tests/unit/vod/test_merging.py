"""One order out of several tracks, within bounds, whatever a file does."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from heliograph.vod.importing.merging import Merger


class Unit(NamedTuple):
    due_us: int
    data: bytes = b"x"


def merged(tracks: list[list[int]], apart: float = 10.0, waiting: int = 1 << 20) -> list[int]:
    """Feed what is asked for, one at a time."""
    merger = Merger(len(tracks), apart=apart, waiting=waiting)
    rest = [list(track) for track in tracks]
    got = []
    while True:
        hungry = merger.hungry()
        if hungry is not None:
            if rest[hungry]:
                merger.push(hungry, Unit(rest[hungry].pop(0)))
            else:
                merger.end(hungry)
            continue
        popped = merger.pop()
        if popped is None:
            return got
        got.append(popped[1].due_us)


times = st.lists(st.integers(0, 1000), max_size=30).map(sorted)


@given(st.lists(times, min_size=1, max_size=5))
def test_units_come_in_the_order_in_which_they_are_due(tracks: list[list[int]]) -> None:
    assert merged(tracks) == sorted(due for track in tracks for due in track)


def test_a_track_that_is_silent_for_long_holds_nothing_up_for_ever() -> None:
    merger = Merger(2, apart=10.0)
    for second in range(10):
        merger.push(0, Unit(second * 1_000_000))
        assert merger.hungry() == 1
        # the file goes on with the first track
    for second in range(10, 30):
        merger.push(0, Unit(second * 1_000_000))
        while merger.hungry() is None:
            assert merger.pop()
    # what waits never spans more than ten seconds
    merger.push(1, Unit(20_000_000))
    popped = merger.pop()
    assert popped is not None
    assert popped[1].due_us == 19_000_000


def test_what_waits_is_bounded_in_bytes_too() -> None:
    merger = Merger(2, apart=1e6, waiting=1000)
    for number in range(10):
        merger.push(0, Unit(number, bytes(100)))
    assert merger.hungry() == 1
    merger.push(0, Unit(10, bytes(100)))
    assert merger.hungry() is None
