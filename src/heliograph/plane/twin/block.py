"""Blocks of titles as the twin reads them (docs/wire/blocks.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

_HEAD = struct.Struct("!4sBBHIQQQ")
_RECORD = struct.Struct("!IBBHI")
KEY, FIRST, MARKER, LAST = 1, 2, 4, 8
#: Media times beyond it, some 36 years, are nonsense.
MAX_US = 1 << 50
MAX_TRACKS = 32
#: With RTP's header and an extension it still is a datagram.
MAX_PAYLOAD = 65_400


@dataclass(frozen=True, slots=True)
class Record:
    """One RTP packet of a title."""

    due_us: int
    """When it is to be sent, µs of media time."""
    track: int
    flags: int
    timestamp: int
    """Units of the track's clock since the title's start, mod 2³²."""
    number: int
    """Packets of its track before it."""
    total: int
    """Packets of all tracks before it."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """A block that was checked."""

    due_us: int
    end_us: int
    size: int
    records: tuple[Record, ...]


def parse(data: bytes) -> Block:
    """Read a whole block; ``ValueError`` says what is wrong."""
    if len(data) < _HEAD.size:
        raise ValueError("truncated header")
    magic, version, tracks, zero, packets, due, end, total = _HEAD.unpack_from(data)
    if magic != b"HGB1" or version != 1 or zero:
        raise ValueError("not a block of version 1")
    at = _HEAD.size + 8 * tracks
    if len(data) < at:
        raise ValueError("truncated header")
    numbers = list(struct.unpack_from(f"!{tracks}Q", data, _HEAD.size))
    if not (packets and 1 <= tracks <= MAX_TRACKS and sum(numbers) == total):
        raise ValueError("counts of the header")
    if not due <= end <= MAX_US:
        raise ValueError("times of the header")
    records: list[Record] = []
    last = 0
    for index in range(packets):
        if len(data) < at + _RECORD.size:
            raise ValueError("truncated record")
        after, track, flags, length, timestamp = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if track >= tracks or flags & ~15 or not 0 < length <= MAX_PAYLOAD:
            raise ValueError("track, flags or length of a record")
        if after < last or (after and not records) or due + after > end:
            raise ValueError("due time of a record")
        if len(data) < at + length:
            raise ValueError("truncated payload")
        payload = data[at : at + length]
        number = numbers[track]
        records.append(Record(due + after, track, flags, timestamp, number, total + index, payload))
        numbers[track], last, at = number + 1, after, at + length
    if at != len(data):
        raise ValueError("bytes after the last record")
    return Block(due, end, len(data), tuple(records))
