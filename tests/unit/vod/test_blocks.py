"""Blocks: what is written is read again, within their limits; what is wrong is named."""

from __future__ import annotations

import itertools
import struct

import pytest
from tests.unit.vod.made_titles import written

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload.base import Payload
from heliograph.vod import blocks
from heliograph.vod.blocks import FIRST, KEY, LAST, MARKER, BlockWriter


def test_the_packets_that_go_in_come_out_numbered_in_order() -> None:
    _, made = written(10)
    counts = [0, 0]
    due = -1
    video = bytearray()
    for one in made:
        block = blocks.read(one.data)
        assert block.header.first == tuple(counts) == one.entry.first
        assert block.header.before == sum(counts)
        for record in block:
            assert record.number == counts[record.track]
            assert record.due_us >= due
            due = record.due_us
            counts[record.track] += 1
            if record.track == 0:
                video += record.payload
                tick = record.due_us // 20_000
                assert record.timestamp == record.due_us * 9 // 100
                assert bool(record.flags & KEY) == (tick % 50 == 0)
                assert bool(record.flags & LAST) == bool(record.flags & MARKER)
    assert counts == [3 * 250, 500]
    assert video == b"".join(bytes([tick & 255]) * 3000 for tick in range(0, 500, 2))


def test_blocks_follow_each_other_without_a_gap_and_within_limits() -> None:
    _, made = written(10, limit=64 << 10)
    assert [one.number for one in made] == list(range(len(made)))
    assert len(made) > 5
    for one, following in itertools.pairwise(made):
        assert one.entry.end_us == following.entry.due_us
        full = one.entry.bytes > (64 << 10) - 3300
        assert full or blocks.read(following.data).records[0].flags & KEY
        assert one.entry.bytes == len(one.data) <= 64 << 10
        records = blocks.read(one.data).records
        assert records[0].flags & FIRST
        assert records[-1].flags & LAST
    assert made[-1].entry.end_us == 10_000_000


def test_a_title_of_few_bits_still_has_blocks_of_two_seconds() -> None:
    writer = BlockWriter(1)
    made = []
    for tick in range(500):
        due = tick * 20_000
        made += writer.add(0, due, due, tick, True, [Payload(b"s", False)])
    made += writer.finish(10_000_000)
    assert [one.entry.due_us for one in made] == [0, 2_020_000, 4_040_000, 6_060_000, 8_080_000]


def test_blocks_begin_with_key_units_where_that_leaves_none_small() -> None:
    _, made = written(10, size=10, limit=1 << 20)
    assert [one.entry.due_us for one in made] == [n * 1_000_000 for n in range(10)]
    assert [key.due_us for one in made for key in one.keys] == [n * 1_000_000 for n in range(10)]


def test_a_unit_above_the_limit_is_spread_over_blocks() -> None:
    writer = BlockWriter(1, pictures=[0], limit=4096)
    made = writer.add(0, 0, 0, 0, True, [Payload(b"a" * 100, True)])
    made += writer.add(0, 5, 5, 9, True, [Payload(b"%04d" % n * 250, n == 9) for n in range(10)])
    made += writer.finish(10)
    assert all(len(one.data) <= 4096 for one in made)
    records = [record for one in made for record in blocks.read(one.data)][1:]
    assert b"".join(record.payload for record in records) == b"".join(
        b"%04d" % n * 250 for n in range(10)
    )
    assert [record.flags for record in records] == [KEY | FIRST, *[KEY] * 8, KEY | MARKER | LAST]
    assert [record.number for record in records] == list(range(1, 11))
    keys = [key for one in made for key in one.keys]
    assert [(key.due_us, key.block) for key in keys] == [(0, 0), (5, 1)]
    assert made[1].keys[0].block == 1


def test_key_points_name_block_and_time_of_pictures_only() -> None:
    _, made = written(3)
    keys = [key for one in made for key in one.keys]
    assert [(key.due_us, key.pts_us, key.track) for key in keys] == [
        (0, 80_000, 0),
        (1_000_000, 1_080_000, 0),
        (2_000_000, 2_080_000, 0),
    ]
    for key in keys:
        records = blocks.read(made[key.block].data).records
        assert any(
            r.due_us == key.due_us and r.track == 0 and r.flags & (KEY | FIRST) == KEY | FIRST
            for r in records
        )


def test_the_peak_is_that_of_the_fullest_second() -> None:
    writer = BlockWriter(1)
    for tick in range(40):
        size = 1000 if 13 <= tick < 23 else 100
        writer.add(0, tick * 100_000, 0, 0, True, [Payload(b"a" * size, True)])
    assert writer.peak_bits == 10 * 8 * 1012


def test_a_writer_goes_on_where_another_ended() -> None:
    first, made = written(2)
    writer = BlockWriter(2, number=first.number, written=first.written)
    writer.add(1, 2_000_000, 0, 7, True, [Payload(b"x", False)])
    (block,) = writer.finish(2_100_000)
    assert block.number == len(made)
    assert blocks.read(block.data).header.first == (150, 100)


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"HGB2", "malformed block at 0: not a block"),
        (4, b"\x02", "at 4: version 2"),
        (5, b"\x00", "at 5: 0 tracks"),
        (5, b"\x21", "at 5: 33 tracks"),
        (6, b"\x00\x01", "at 6: reserved"),
        (8, b"\x00\x00\x00\x00", "at 8: no packets"),
        (8, b"\xff\xff\xff\xff", "at 8: 4294967295 packets do not fit"),
        (8, struct.pack(">I", 1), "bytes after the last record"),
        (12, b"\xff" * 8, "at 12: due from"),
        (20, b"\x00" * 8, "malformed block"),
        (28, b"\x00" * 7 + b"\x01", "at 28: 1 packets before"),
        (52, b"\x00\x00\x00\x01", "at 52: due at 1"),
        (56, b"\x02", "at 52: record of track 2"),
        (57, b"\x10", "at 52: record of track 0, flags 16"),
        (58, b"\x00\x00", "0 bytes"),
        (58, b"\xff\xff", "malformed block at"),
    ],
)
def test_a_block_that_is_wrong_is_refused_with_the_place(
    at: int, value: bytes, reason: str
) -> None:
    _, made = written(0.1)
    data = bytearray(made[0].data)
    data[at : at + len(value)] = value
    with pytest.raises(MalformedError, match=reason):
        blocks.read(bytes(data))


def test_every_truncated_block_is_refused() -> None:
    _, made = written(0.1)
    data = made[0].data
    assert blocks.read(data).header.packets == 14
    for end in range(len(data)):
        with pytest.raises(MalformedError):
            blocks.read(data[:end])
    with pytest.raises(MalformedError, match="1 bytes after"):
        blocks.read(data + b"\0")


def test_what_cannot_be_written_is_refused_at_once() -> None:
    writer = BlockWriter(1)
    writer.add(0, 10, 10, 0, True, [Payload(b"x", True)])
    with pytest.raises(ValueError, match="due at 9"):
        writer.add(0, 9, 9, 0, True, [Payload(b"x", True)])
    for payload in (b"", b"x" * 65_536):
        with pytest.raises(ValueError, match="payload of"):
            writer.add(0, 10, 10, 0, True, [Payload(payload, True)])
    with pytest.raises(ValueError, match="33 tracks"):
        BlockWriter(33)
