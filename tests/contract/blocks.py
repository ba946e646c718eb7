"""Blocks of titles made by hand for the contract suites (docs/wire/blocks.md)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

KEY, FIRST, MARKER, LAST = 1, 2, 4, 8

#: µs between two pictures, and between two packets of sound.
PICTURE_US, SOUND_US = 40_000, 20_000
#: Pictures from one key unit to the next.
GROUP = 5


@dataclass(frozen=True)
class Packet:
    """One packet of a title."""

    due_us: int
    track: int
    flags: int
    timestamp: int
    payload: bytes


def block(packets: list[Packet], end_us: int, before: list[int]) -> bytes:
    """A block as the importer writes it; ``before``: by track, packets before it."""
    due = packets[0].due_us if packets else end_us
    out = struct.pack(
        f"!4sBBHIQQQ{len(before)}Q",
        b"HGB1",
        1,
        len(before),
        0,
        len(packets),
        due,
        end_us,
        sum(before),
        *before,
    )
    for one in packets:
        out += struct.pack(
            "!IBBHI", one.due_us - due, one.track, one.flags, len(one.payload), one.timestamp
        )
        out += one.payload
    return out


def title(duration_us: int) -> list[Packet]:
    """Pictures (track 0, two packets each, every fifth a key unit) and sound (track 1)."""
    packets = []
    for number, due in enumerate(range(0, duration_us, PICTURE_US)):
        key = KEY if number % GROUP == 0 else 0
        stamp = due * 90 // 1000 & 0xFFFFFFFF
        name = f"picture {number} ".encode()
        packets.append(Packet(due, 0, key | FIRST, stamp, name + b"a" * 500))
        packets.append(Packet(due, 0, key | MARKER | LAST, stamp, name + b"b" * 200))
    for number, due in enumerate(range(0, duration_us, SOUND_US)):
        flags = KEY | FIRST | MARKER | LAST
        stamp = due * 48 // 1000 & 0xFFFFFFFF
        packets.append(Packet(due, 1, flags, stamp, f"sound {number}".encode()))
    return sorted(packets, key=lambda one: (one.due_us, one.track))


def blocks(packets: list[Packet], duration_us: int, each_us: int) -> list[bytes]:
    """The title cut into blocks of so much media time."""
    before = [0, 0]
    out = []
    for begin in range(0, duration_us, each_us):
        end = min(begin + each_us, duration_us)
        mine = [one for one in packets if begin <= one.due_us < end]
        out.append(block(mine, end, list(before)))
        for one in mine:
            before[one.track] += 1
    return out
