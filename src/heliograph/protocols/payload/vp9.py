"""VP9 over RTP (RFC 9628)."""

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
from heliograph.protocols.payload.bits import BitReader

#: RFC 9628 §4.2: a P_DIFF list ends after three.
MAX_REFERENCES = 3


class Descriptor(NamedTuple):
    """What the payload descriptor says (RFC 9628 §4.2), as far as it is used."""

    predicted: bool
    """The layer frame refers to earlier pictures."""
    begin: bool
    """A layer frame begins here."""
    end: bool
    """A layer frame ends here."""
    spatial: int
    """Spatial layer, 0–7; 0 without layers."""
    picture_id: int | None
    """7 or 15 bits, one more for every picture."""
    size: int
    """Bytes of the descriptor."""


def parse_descriptor(payload: bytes) -> Descriptor:
    """Read the descriptor. Raises ``MalformedError``."""
    reader = BitReader(payload[:64], "vp9")  # 64 bytes hold all but absurd group descriptions
    has_id, predicted, layers, flexible, begin, end, structure, _ = (
        reader.flag() for _ in range(8)
    )
    picture_id = None
    if has_id:
        picture_id = reader.u(15) if reader.flag() else reader.u(7)
    spatial = 0
    if layers:
        reader.u(4)
        spatial = reader.u(3)
        reader.u(1)
        if not flexible:
            reader.u(8)  # TL0PICIDX
    if flexible and predicted:
        for left in range(MAX_REFERENCES, -1, -1):
            if not left:
                raise MalformedError("vp9", "more than three references")
            reader.u(7)
            if not reader.flag():
                break
    size = reader.at >> 3
    if structure:
        size = _skip_structure(payload, size)
    if size >= len(payload):
        raise MalformedError("vp9", "no data behind the descriptor")
    return Descriptor(predicted, begin, end, spatial, picture_id, size)


def _skip_structure(payload: bytes, at: int) -> int:
    """Where the scalability structure (§4.2.1) that starts at ``at`` ends."""

    def byte(index: int) -> int:
        if index >= len(payload):
            raise MalformedError("vp9", "truncated scalability structure")
        return payload[index]

    head = byte(at)
    at += 1
    if head & 0x10:  # Y: width and height of each layer
        at += 4 * ((head >> 5) + 1)
    if head & 0x08:  # G: the pictures of a group
        count = byte(at)
        at += 1
        for _ in range(count):
            at += 1 + (byte(at) >> 2 & 3)
    return at


def _frame_header(frame: bytes) -> tuple[int, bool]:
    """Profile and whether it is a keyframe (VP9 bitstream §6.2)."""
    reader = BitReader(frame[:4], "vp9")
    if reader.u(2) != 2:
        raise MalformedError("vp9", "frame marker")
    profile = reader.u(1) | reader.u(1) << 1
    if profile == 3:
        reader.u(1)
    shows_existing = reader.flag()
    return profile, not shows_existing and not reader.flag()


def is_key(frame: bytes) -> bool:
    """Whether a frame is a keyframe."""
    try:
        return _frame_header(frame)[1]
    except MalformedError:
        return False


def codec_string(frame: bytes = b"") -> str:
    """``vp09.PP.LL.DD``: the keyframe's profile; level 1.0 and 8 or 10 bits are best guesses."""
    try:
        profile = _frame_header(frame)[0]
    except MalformedError:
        profile = 0
    return f"vp09.{profile:02}.10.{'10' if profile >= 2 else '08'}"


class Vp9Depacketizer(FrameAssembler):
    """Rebuilds pictures; the frames of spatial layers stand one after another in the unit."""

    protocol = "vp9"

    def __init__(self) -> None:
        super().__init__()
        self._frame = bytearray()
        self._key = False
        self._open = False  # a layer frame has begun and not ended

    def _begins(self, payload: bytes) -> bool:
        descriptor = parse_descriptor(payload)
        return descriptor.begin and descriptor.spatial == 0

    def _add(self, payload: bytes) -> bool:
        descriptor = parse_descriptor(payload)
        if descriptor.begin == self._open:
            return False
        if not self._frame:
            self._key = not descriptor.predicted
        self._open = not descriptor.end
        self._frame += payload[descriptor.size :]
        return True

    def _finish(self) -> tuple[bytes, bool] | None:
        frame = bytes(self._frame)
        return None if self._open else (frame, self._key and is_key(frame))

    def _size(self) -> int:
        return len(self._frame)

    def _reset(self) -> None:
        self._frame = bytearray()
        self._key = False
        self._open = False


class Vp9Packetizer:
    """Makes payloads of one layer in non-flexible mode; see ``Packetizer``."""

    def __init__(self, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._max_size = check_payload_size(max_size)
        self._picture_id = 0

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """Each packet carries the 15-bit picture id, by which receivers tell pictures apart."""
        if not unit.data:
            return []
        picture = (0x8000 | self._picture_id).to_bytes(2, "big")
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        parts = pieces(unit.data, self._max_size - 3)
        packets = []
        for index, part in enumerate(parts):
            last = index == len(parts) - 1
            flags = 0x81 | (0 if unit.key else 0x40)  # I, Z; P unless key
            flags |= (0x08 if index == 0 else 0) | (0x04 if last else 0)  # B, E
            packets.append(Payload(bytes((flags,)) + picture + part, last))
        return packets


def starts_keyframe(payload: bytes) -> bool:
    """Whether a keyframe begins in this payload."""
    try:
        descriptor = parse_descriptor(payload)
    except MalformedError:
        return False
    if not descriptor.begin or descriptor.spatial or descriptor.predicted:
        return False
    return is_key(payload[descriptor.size :])  # FFmpeg never says that a picture is predicted
