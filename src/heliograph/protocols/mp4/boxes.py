"""Boxes (ISO/IEC 14496-12 §4.2)."""

from __future__ import annotations

from collections.abc import Iterator

from heliograph.model.errors import MalformedError


def box(kind: str, *parts: bytes) -> bytes:
    """A box of a four-character type."""
    body = b"".join(parts)
    return (8 + len(body)).to_bytes(4, "big") + kind.encode("ascii") + body


def full_box(kind: str, version: int, flags: int, *parts: bytes) -> bytes:
    """A box with version and flags."""
    return box(kind, bytes((version,)) + flags.to_bytes(3, "big"), *parts)


def numbers(size: int, *values: int) -> bytes:
    """Unsigned numbers of ``size`` bytes each."""
    return b"".join(value.to_bytes(size, "big") for value in values)


def walk(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Type and body of the boxes in ``data``, in order. Raises ``MalformedError``."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size < 8 or at + size > len(data):
            raise MalformedError("mp4", f"a box of {size} bytes", offset=at)
        yield data[at + 4 : at + 8].decode("latin-1"), data[at + 8 : at + size]
        at += size
