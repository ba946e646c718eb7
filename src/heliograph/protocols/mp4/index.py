"""Segment indexes (ISO/IEC 14496-12 §8.16.3): where in a file which time is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heliograph.protocols.mp4.boxes import full_box, numbers

#: References of one index: their number has 16 bits.
MAX_REFERENCES = 0xFFFF
#: Bytes of a reference, and of the box without any.
REFERENCE_SIZE, INDEX_SIZE = 12, 40


@dataclass(frozen=True, slots=True)
class Reference:
    """One run of fragments."""

    size: int
    """Bytes, below 2 GiB."""
    duration: int
    """In units of the index's timescale, below 2³²."""
    entry: int | None
    """After how long decoding can begin, below 2²⁸ of the same units; None: nowhere."""


def segment_index(track: int, timescale: int, references: Sequence[Reference]) -> bytes:
    """The ``sidx`` box; what it names begins right behind it, at time 0.

    ``track``: number of the track by which times are meant, as files count them. Raises
    ``ValueError`` for more than ``MAX_REFERENCES``.
    """
    if len(references) > MAX_REFERENCES:
        raise ValueError(f"{len(references)} references")
    rows = bytearray()
    for one in references:
        access = 0
        if one.entry is not None:
            access = 1 << 28 | min(one.entry, (1 << 28) - 1)
            access |= 1 << 31 if one.entry == 0 else 0
        rows += numbers(4, one.size & 0x7FFFFFFF, min(one.duration, 0xFFFFFFFF), access)
    head = numbers(4, track, timescale) + numbers(8, 0, 0) + numbers(2, 0, len(references))
    return full_box("sidx", 1, 0, head, bytes(rows))
