"""An object's head: what a volume has to know of the object, then its owner's document. Pure.

::

    0  "HGVH"
    4  u8 version = 1 | u8 flags: 1 still growing | u16 zero
    8  u64 blocks | u64 bytes of all blocks
   24  the document, opaque here

A serial of 0 says no more than that somebody writes the object (``claims``).

A deleted object leaves a head of this form without a document behind, whose serial is above all
others (``DELETED``): a disk that was away must not bring the object back.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from heliograph.model.errors import MalformedError, TooLargeError

MAGIC = b"HGVH"
VERSION = 1
#: Bytes of a head with its document: what a disk takes.
MAX_HEAD = 16 << 20
#: Set in the serial of what was deleted.
DELETED = 1 << 62
#: Blocks of one object: a day of 4 MiB blocks at 64 Mbit/s has 165 000.
MAX_BLOCKS = 1 << 32

_FIXED = struct.Struct(">4sBBHQQ")
_OPEN = 1


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of an object."""

    serial: int
    """Grows with each head of the object."""
    blocks: int
    """It has blocks 0 to ``blocks`` - 1."""
    size: int
    """Bytes of all blocks, without redundancy."""
    open: bool
    """Whether it still grows: its last group is not protected before it is full."""
    document: bytes
    """Its owner's; a title's manifest."""

    @property
    def exists(self) -> bool:
        """Whether it is of an object that has begun, and is not deleted."""
        return exists(self.serial)


def exists(serial: int) -> bool:
    """Whether there is an object whose newest head has that serial: it has begun, and is not
    deleted."""
    return serial > 0 and not serial & DELETED


def encode(head: Head) -> bytes:
    """A head as bytes; ``TooLargeError`` above 16 MiB."""
    size = _FIXED.size + len(head.document)
    if size > MAX_HEAD:
        raise TooLargeError(f"a head of {size} bytes (at most {MAX_HEAD})")
    flags = _OPEN if head.open else 0
    return _FIXED.pack(MAGIC, VERSION, flags, 0, head.blocks, head.size) + head.document


def decode(serial: int, data: bytes) -> Head:
    """The head that bytes say, or ``MalformedError``."""
    if len(data) < _FIXED.size:
        raise MalformedError("head", f"{len(data)} bytes are too few")
    magic, version, flags, zero, blocks, size = _FIXED.unpack_from(data)
    if magic != MAGIC or version != VERSION or zero or flags & ~_OPEN:
        raise MalformedError("head", "not a head, or of another version")
    if blocks > MAX_BLOCKS:
        raise MalformedError("head", f"{blocks} blocks (at most {MAX_BLOCKS})")
    return Head(serial, blocks, size, bool(flags & _OPEN), data[_FIXED.size :])
