"""VP8 over RTP (RFC 7741)."""

from __future__ import annotations

from typing import NamedTuple

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload.base import (
    DEFAULT_PAYLOAD_SIZE,
    AccessUnit,
    FrameAssembler,
    Payload,
    check_payload_size,
    pieces,
)


class Descriptor(NamedTuple):
    """What the payload descriptor says (RFC 7741 §4.2), as far as it is used."""

    start: bool
    """A partition begins here."""
    partition: int
    """Which one, 0–7."""
    picture_id: int | None
    """7 or 15 bits, one more for every frame."""
    size: int
    """Bytes of the descriptor."""


def parse_descriptor(payload: bytes) -> Descriptor:
    """Read the descriptor. Raises ``MalformedError``."""
    if not payload:
        raise MalformedError("vp8", "empty payload")
    first = payload[0]
    at = 1
    picture_id: int | None = None
    if first & 0x80:
        if len(payload) < 2:
            raise MalformedError("vp8", "truncated descriptor")
        present = payload[1]
        at = 2
        if present & 0x80:
            wide = len(payload) > 2 and payload[2] & 0x80 != 0
            raw = payload[2 : 4 if wide else 3]
            picture_id = int.from_bytes(raw, "big") & (0x7FFF if wide else 0x7F)
            at += 2 if wide else 1
        at += present >> 6 & 1  # TL0PICIDX
        at += 1 if present & 0x30 else 0  # TID, Y, KEYIDX
    if at >= len(payload):
        raise MalformedError("vp8", "no data behind the descriptor")
    return Descriptor(first & 0x10 != 0, first & 7, picture_id, at)


def is_key(frame: bytes) -> bool:
    """Whether a frame is a keyframe (RFC 6386 §9.1: bit 0 of the frame tag is 0)."""
    return len(frame) > 0 and frame[0] & 1 == 0


class Vp8Depacketizer(FrameAssembler):
    """Rebuilds frames; see ``Depacketizer``."""

    protocol = "vp8"

    def __init__(self) -> None:
        super().__init__()
        self._frame = bytearray()

    def _begins(self, payload: bytes) -> bool:
        descriptor = parse_descriptor(payload)
        return descriptor.start and descriptor.partition == 0

    def _add(self, payload: bytes) -> bool:
        descriptor = parse_descriptor(payload)
        if not self._frame and not (descriptor.start and descriptor.partition == 0):
            return False
        self._frame += payload[descriptor.size :]
        return True

    def _finish(self) -> tuple[bytes, bool] | None:
        frame = bytes(self._frame)
        return frame, is_key(frame)

    def _size(self) -> int:
        return len(self._frame)

    def _reset(self) -> None:
        self._frame = bytearray()


class Vp8Packetizer:
    """Cuts frames regardless of partitions, which §4.4 allows; see ``Packetizer``."""

    def __init__(self, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._max_size = check_payload_size(max_size)
        self._picture_id = 0

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """Each packet carries the 15-bit picture id, by which receivers tell frames apart."""
        if not unit.data:
            return []
        picture = (0x8000 | self._picture_id).to_bytes(2, "big")
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        parts = pieces(unit.data, self._max_size - 4)
        return [
            Payload(
                bytes((0x80 | (0x10 if index == 0 else 0), 0x80)) + picture + part,
                index == len(parts) - 1,
            )
            for index, part in enumerate(parts)
        ]


def starts_keyframe(payload: bytes) -> bool:
    """Whether a keyframe begins in this payload."""
    try:
        descriptor = parse_descriptor(payload)
    except MalformedError:
        return False
    return descriptor.start and descriptor.partition == 0 and is_key(payload[descriptor.size :])
