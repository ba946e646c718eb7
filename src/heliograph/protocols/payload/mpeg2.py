"""MPEG-1 and MPEG-2 video over RTP (RFC 2250 §3): a header, then pieces cut at slices."""

from __future__ import annotations

import re
from itertools import pairwise
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

# ISO/IEC 13818-2 table 6-1
PICTURE, LAST_SLICE, SEQUENCE, GROUP = 0x00, 0xAF, 0xB3, 0xB8
_START = re.compile(rb"\x00\x00\x01")
#: picture_coding_type of a picture that refers to no other.
INTRA = 1


class Header(NamedTuple):
    """The video-specific header (RFC 2250 §3.4), as far as it is used."""

    sequence: bool
    """A sequence header is in the packet."""
    begins_slice: bool
    """The payload begins with a slice, or with headers and a slice."""
    ends_slice: bool
    """The payload ends with a slice."""
    picture_type: int
    """1 I, 2 P, 3 B, 4 D."""
    size: int
    """4, or 8 with the MPEG-2 extension."""


def parse_header(payload: bytes) -> Header:
    """Read the header. Raises ``MalformedError``."""
    size = 8 if payload and payload[0] & 0x04 else 4
    if size >= len(payload):
        raise MalformedError("mpeg2", "no data behind the header")
    flags = payload[2]
    return Header(flags & 0x20 != 0, flags & 0x10 != 0, flags & 0x08 != 0, flags & 7, size)


def _start_codes(data: bytes) -> list[tuple[int, int]]:
    """(where, which) of all start codes."""
    return [
        (match.start(), data[match.end()])
        for match in _START.finditer(data)
        if match.end() < len(data)
    ]


def _picture_type(data: bytes) -> int:
    """Coding type of the first picture; 0 if there is none."""
    at = data.find(b"\x00\x00\x01\x00")
    return data[at + 5] >> 3 & 7 if at >= 0 and at + 5 < len(data) else 0


class Mpeg2Depacketizer(FrameAssembler):
    """Rebuilds pictures with the headers before them; see ``Depacketizer``."""

    protocol = "mpeg2"

    def __init__(self) -> None:
        super().__init__()
        self._picture = bytearray()

    def _begins(self, payload: bytes) -> bool:
        start = payload[parse_header(payload).size :][:4]
        return start[:3] == b"\x00\x00\x01" and start[3:] in (b"\x00", b"\xb3", b"\xb8")

    def _add(self, payload: bytes) -> bool:
        self._picture += payload[parse_header(payload).size :]
        return True

    def _finish(self) -> tuple[bytes, bool] | None:
        picture = bytes(self._picture)
        return picture, _picture_type(picture) == INTRA

    def _size(self) -> int:
        return len(self._picture)

    def _reset(self) -> None:
        self._picture = bytearray()


class Mpeg2Packetizer:
    """Cuts pictures at slices where they fit; see ``Packetizer``."""

    def __init__(self, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._max_size = check_payload_size(max_size) - 4

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """Headers stand in front of the first slice (§3.1), several slices share a packet."""
        data = unit.data
        if not data:
            return []
        codes = _start_codes(data)
        head = _PictureHead.parse(data, codes)
        slices = [at for at, code in codes if 1 <= code <= LAST_SLICE]
        # What is to stay together: headers with the first slice, then each slice.
        bounds = [0, *slices[1:], len(data)]
        packets: list[tuple[bytes, bool, bool]] = []  # data, begins, ends a slice
        waiting = b""
        for start, end in pairwise(bounds):
            part = data[start:end]
            if waiting and len(waiting) + len(part) > self._max_size:
                packets.append((waiting, True, True))
                waiting = b""
            if len(part) <= self._max_size:
                waiting += part
                continue
            cut = pieces(part, self._max_size)
            packets += [
                (piece, index == 0, index == len(cut) - 1) for index, piece in enumerate(cut)
            ]
        if waiting:
            packets.append((waiting, True, True))
        last = len(packets) - 1
        return [
            Payload(head.build(piece, begins=begins, ends=ends) + piece, index == last)
            for index, (piece, begins, ends) in enumerate(packets)
        ]


class _PictureHead(NamedTuple):
    """What every packet of a picture repeats of its header (RFC 2250 §3.4)."""

    temporal_reference: int
    picture_type: int
    vectors: int
    """FBV, BFC, FFV, FFC: 0 for an I picture, and for MPEG-2, which has them elsewhere."""

    @classmethod
    def parse(cls, data: bytes, codes: list[tuple[int, int]]) -> _PictureHead:
        at = next((at for at, code in codes if code == PICTURE), None)
        if at is None or at + 8 > len(data):
            raise MalformedError("mpeg2", "no picture header")
        fields = int.from_bytes(data[at + 4 : at + 9].ljust(5, b"\x00"), "big")
        kind = fields >> 27 & 7
        vectors = 0
        if kind in (2, 3):  # ISO/IEC 13818-2 §6.2.3: full_pel_forward, forward_f_code
            vectors |= fields >> 7 & 15
        if kind == 3:
            vectors |= (fields >> 3 & 15) << 4
        return cls(fields >> 30, kind, vectors)

    def build(self, piece: bytes, *, begins: bool, ends: bool) -> bytes:
        sequence = 0x20 if b"\x00\x00\x01\xb3" in piece else 0
        flags = sequence | (0x10 if begins else 0) | (0x08 if ends else 0) | self.picture_type
        return self.temporal_reference.to_bytes(2, "big") + bytes((flags, self.vectors))


def starts_keyframe(payload: bytes) -> bool:
    """Whether a keyframe, or the sequence header before one, begins in this payload."""
    try:
        header = parse_header(payload)
    except MalformedError:
        return False
    start = payload[header.size : header.size + 4]
    if start == b"\x00\x00\x01\xb3":
        return True
    return header.picture_type == INTRA and start in (b"\x00\x00\x01\x00", b"\x00\x00\x01\xb8")
