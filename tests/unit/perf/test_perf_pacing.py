"""What the measurement of paced streams sends, and how it reads what comes."""

from __future__ import annotations

import struct

import pytest
from tests.perf.arrivals import lateness
from tests.perf.pacer import BLOCK_US, block
from tests.perf.pacing import a_picture, bare_cost

from heliograph.plane.twin.block import parse


def test_stream_is_of_the_rate_that_is_claimed() -> None:
    before = [0, 0]
    blocks = [parse(block(number, before)) for number in range(20)]
    assert [one.end_us for one in blocks[:-1]] == [one.due_us for one in blocks[1:]]
    size = sum(len(record.payload) + 12 for one in blocks for record in one.records)
    assert size * 8 / (20 * BLOCK_US / 1e6) == pytest.approx(5.3e6, rel=0.05)
    assert sum(before) == sum(len(one.records) for one in blocks)


def test_lateness_is_told_by_the_timestamp() -> None:
    second = struct.pack("!BBHII", 0x80, 97, 1, 48_000, 2)
    assert lateness(second, 5_000_000 + 1_000_700, 5_000_000) == pytest.approx(700)
    picture = struct.pack("!BBHII", 0x80, 0x80 | 96, 1, 90_000, 1)
    assert lateness(picture, 5_000_000 + 999_900, 5_000_000) == pytest.approx(-100)


def test_cost_of_the_bare_loop_adds_pictures_and_sound() -> None:
    assert a_picture() == pytest.approx(21.28)
    assert bare_cost(1e6, 1e6) == pytest.approx(25 * 21.28 + 46.88, rel=0.001)
