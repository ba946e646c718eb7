"""The files of a disk: a header that says what follows, then the payload. Big-endian.

::

     0  "HELIOBLK"
     8  u8 version = 1 | u8 kind | u8 lengths that follow | u8 member | u32 zero
    16  u64 number: the block's group, the head's serial, the state's version
    24  16 bytes: the object's id, zero in a state
    40  u64 bytes of the payload
    48  32 × u32: payloads of the group's data members, of which a redundant member knows; else zero
   176  zero
   240  xxh3-128 of the 240 bytes before and of the payload
   256  payload

A file is written once, so nothing in it is ever changed in place.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

import xxhash

from heliograph.model.errors import MalformedError, TooLargeError
from heliograph.storage.errors import CorruptError
from heliograph.storage.values import MAX_BLOCK, MAX_WIDTH

MAGIC = b"HELIOBLK"
VERSION = 1
HEADER = 256
DIGEST = 16
#: Bytes of a head or of a volume's state, at most: the manifest of a day of video needs a tenth.
MAX_DOCUMENT = 16 << 20

_FIXED = struct.Struct(">8sBBBBIQ16sQ")
_LENGTHS = struct.Struct(f">{MAX_WIDTH}I")
_SUMMED = HEADER - DIGEST
_ZEROS = bytes(_SUMMED - _FIXED.size - _LENGTHS.size)

Buffer = bytes | bytearray | memoryview


class Kind(IntEnum):
    """What a file holds."""

    BLOCK = 1
    HEAD = 2
    STATE = 3

    @property
    def limit(self) -> int:
        """Bytes of a payload, at most."""
        return MAX_BLOCK if self is Kind.BLOCK else MAX_DOCUMENT


_KINDS = frozenset(int(kind) for kind in Kind)


@dataclass(frozen=True, slots=True)
class Label:
    """What a file says it is."""

    kind: Kind
    object: str = ""
    """Id of the object; empty in a state."""
    number: int = 0
    """Group, serial or version."""
    member: int = 0
    lengths: tuple[int, ...] = ()
    """Of a redundant member: bytes of the data members of its group."""


def seal(label: Label, payload: Buffer) -> bytes:
    """The header for a payload; ``TooLargeError``, ``MalformedError`` when there can be none."""
    size = memoryview(payload).nbytes
    if size > label.kind.limit:
        raise TooLargeError(f"{size} bytes (at most {label.kind.limit})", subject=label.object)
    if len(label.lengths) > MAX_WIDTH:
        raise MalformedError("block", f"lengths of {len(label.lengths)} members (at most 32)")
    try:
        head = _FIXED.pack(
            MAGIC,
            VERSION,
            label.kind,
            len(label.lengths),
            label.member,
            0,
            label.number,
            bytes.fromhex(label.object),
            size,
        )
        lengths = _LENGTHS.pack(*label.lengths, *((0,) * (MAX_WIDTH - len(label.lengths))))
    except (struct.error, ValueError) as error:
        raise MalformedError("block", f"{label} cannot be told in a header") from error
    summed = head + lengths + _ZEROS
    return summed + _digest(summed, payload)


def unseal(header: bytes, payload: Buffer, path: str, disk: str | None = None) -> Label:
    """What a header says of a payload; ``CorruptError`` unless both are as they were written."""
    reason = ""
    if len(header) < HEADER:
        reason = f"cut within its header, at {len(header)}"
    elif not header.startswith(MAGIC):
        reason = "does not begin as a block does"
    elif header[len(MAGIC)] != VERSION:
        reason = f"version {header[len(MAGIC)]} (known: {VERSION})"
    elif _digest(memoryview(header)[:_SUMMED], payload) != header[_SUMMED:]:
        reason = "its digest is wrong"
    if reason:
        raise CorruptError(reason, path=path, subject=disk)
    # From here on the bytes are what somebody sealed; an odd value would be our own fault.
    _, _, kind, count, member, _, number, name, size = _FIXED.unpack_from(header)
    if kind not in _KINDS or count > MAX_WIDTH or size != len(payload):
        raise CorruptError("its header contradicts itself", path=path, subject=disk)
    lengths = _LENGTHS.unpack_from(header, _FIXED.size)[:count] if count else ()
    named = name.hex() if kind != Kind.STATE else ""
    return Label(Kind(kind), named, number, member, lengths)


def _digest(summed: Buffer, payload: Buffer) -> bytes:
    digest = xxhash.xxh3_128(summed)
    digest.update(payload)
    return digest.digest()
