"""What all of storage speaks of: objects, their blocks, and how a volume protects them."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

from heliograph.model.errors import MalformedError

ObjectId = NewType("ObjectId", str)
"""What a volume keeps under one name: 32 hexadecimal digits, drawn at random."""
DiskId = NewType("DiskId", str)
"""A physical disk, that is a directory: 16 hexadecimal digits, drawn when it is added."""

_OBJECT = re.compile(r"[0-9a-f]{32}")
#: Bytes of a block's payload, at most: half a second at 64 Mbit/s, and what one read of a disk that
#: turns should be.
MAX_BLOCK = 4 << 20
DEFAULT_BLOCK = 1 << 20
#: Members of a parity group, at most.
MAX_WIDTH = 32


def new_object() -> ObjectId:
    """An id that no other object has."""
    return ObjectId(secrets.token_hex(16))


def check_object(value: str) -> ObjectId:
    """``value`` as an id, or ``MalformedError``."""
    if not _OBJECT.fullmatch(value):
        raise MalformedError("object id", f"{value[:80]!r} (32 hexadecimal digits)")
    return ObjectId(value)


class Code(StrEnum):
    """How the redundant members of a group are made."""

    XOR = "xor"
    """One member more, the sum of all."""
    REED_SOLOMON = "rs"
    COPIES = "copies"
    """``data`` is 1, and each further member is the same."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a volume protects its blocks."""

    data: int
    """Members of a group with data (k), 1 to 31."""
    parity: int
    """Members that may be lost (m), 0 to 4; 0 protects nothing."""
    code: Code
    block: int = DEFAULT_BLOCK
    """Bytes of a block, at most."""

    def __post_init__(self) -> None:
        """Refuse with ``MalformedError`` what cannot be."""
        if not 1 <= self.data < MAX_WIDTH or not 0 <= self.parity <= 4 or self.width > MAX_WIDTH:
            raise MalformedError("scheme", f"{self.data}+{self.parity} (1–31 data, 0–4 parity)")
        if self.code is Code.XOR and self.parity > 1:
            raise MalformedError("scheme", "XOR makes one parity block, not more")
        if self.code is Code.COPIES and self.data != 1:
            raise MalformedError("scheme", "copies are of one block, not of several")
        if not 4096 <= self.block <= MAX_BLOCK:
            raise MalformedError("scheme", f"blocks of {self.block} bytes (4096 to {MAX_BLOCK})")

    @property
    def width(self) -> int:
        """Members of a group, k + m."""
        return self.data + self.parity


@dataclass(frozen=True, slots=True, order=True)
class BlockKey:
    """One stored block: a member of a parity group of an object."""

    object: ObjectId
    group: int
    """From 0; block ``n`` of an object is in group ``n // data``."""
    member: int
    """0 to ``data`` - 1 are the object's blocks in order, the others are redundant."""
