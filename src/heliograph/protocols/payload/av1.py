"""AV1 over RTP (AOMedia, *RTP Payload Format For AV1*, version 1.0)."""

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
from heliograph.protocols.payload.bits import BitReader, read_leb128, write_leb128

# AV1 §6.2.2
SEQUENCE_HEADER, TEMPORAL_DELIMITER, FRAME_HEADER, TILE_LIST = 1, 2, 3, 8
FRAME, REDUNDANT_FRAME_HEADER, PADDING = 6, 7, 15
#: A temporal unit has a few frames of a few tile groups; more is an attack on the memory every
#: object costs.
MAX_OBUS = 1024


class Obu(NamedTuple):
    """One open bitstream unit."""

    type: int
    """0–15."""
    header: bytes
    """One or two bytes, with the flag for a size field cleared."""
    body: bytes
    """What follows header and size."""

    def sized(self) -> bytes:
        """As in a low-overhead byte stream (AV1 §5.2): with its size."""
        first = bytes((self.header[0] | 2,))
        return first + self.header[1:] + write_leb128(len(self.body)) + self.body

    def bare(self) -> bytes:
        """As RTP has it: without its size."""
        return self.header + self.body


def _parse_header(data: bytes, at: int) -> tuple[int, bytes, bool, int]:
    """Type, header without size flag, whether a size follows, where the header ends."""
    if at >= len(data):
        raise MalformedError("av1", "empty unit", offset=at)
    first = data[at]
    end = at + (2 if first & 4 else 1)
    if first & 0x80 or end > len(data):
        raise MalformedError("av1", "ill-formed unit header", offset=at)
    return first >> 3 & 15, bytes((first & 0xFD,)) + data[at + 1 : end], first & 2 != 0, end


def split_stream(data: bytes) -> list[Obu]:
    """Units of a low-overhead byte stream; the last may lack its size."""
    obus = []
    at = 0
    while at < len(data):
        kind, header, sized, start = _parse_header(data, at)
        at = len(data)
        if sized:
            size, start = read_leb128(data, start, "av1")
            at = start + size
            if at > len(data):
                raise MalformedError("av1", "unit reaches beyond the data", offset=start)
        obus.append(Obu(kind, header, data[start:at]))
    return obus


def parse_obu(element: bytes) -> Obu:
    """The unit in an OBU element of RTP, where a size field is allowed but not wanted (§4.4)."""
    kind, header, sized, start = _parse_header(element, 0)
    end = len(element)
    if sized:
        size, start = read_leb128(element, start, "av1")
        end = start + size
        if end > len(element):
            raise MalformedError("av1", "unit reaches beyond its element", offset=start)
    return Obu(kind, header, element[start:end])


def _is_key_frame(obu: Obu) -> bool:
    """Whether a frame (header) is a shown-anew keyframe (AV1 §5.9.2); not of still pictures."""
    return obu.type in (FRAME, FRAME_HEADER) and bool(obu.body) and obu.body[0] & 0xE0 == 0


def codec_string(sequence_header: bytes) -> str:
    """``av01.P.LLT.DD`` of a sequence header's body (AV1 §5.5.1), up to its first level."""
    reader = BitReader(sequence_header, "av1")
    profile = reader.u(3)
    reader.u(1)
    tier = 0
    if reader.flag():  # reduced_still_picture_header
        level = reader.u(5)
    else:
        if reader.flag():  # timing_info_present_flag
            reader.u(64)
            if reader.flag():
                reader.ue()
            if reader.flag():  # decoder_model_info_present_flag
                reader.u(47)
        reader.u(1)  # initial_display_delay_present_flag
        reader.u(5)  # operating_points_cnt_minus_1
        reader.u(12)
        level = reader.u(5)
        if level > 7:
            tier = reader.u(1)
    # The bit depth stands behind fields of variable size; main profile is 8 bits but for HDR.
    return f"av01.{profile}.{level:02}{'H' if tier else 'M'}.08"


def codec_string_of(unit: bytes) -> str | None:
    """``av01.…`` of a temporal unit that has a sequence header; else ``None``."""
    for obu in split_stream(unit):
        if obu.type == SEQUENCE_HEADER:
            return codec_string(obu.body)
    return None


def split_elements(payload: bytes) -> list[bytes]:
    """OBU elements of a payload behind its aggregation header (§4.3). Raises ``MalformedError``."""
    count = payload[0] >> 4 & 3
    elements: list[bytes] = []
    at = 1
    while at < len(payload):
        if count and len(elements) == count - 1:
            size = len(payload) - at  # W: the last one has no size
        else:
            size, at = read_leb128(payload, at, "av1")
        if at + size > len(payload):
            raise MalformedError("av1", "element reaches beyond the payload", offset=at)
        elements.append(payload[at : at + size])
        at += size
        if count and len(elements) == count:
            break
    if not elements or (count and len(elements) != count):
        raise MalformedError("av1", f"{len(elements)} elements where {count} were announced")
    return elements


class Av1Depacketizer(FrameAssembler):
    """Rebuilds temporal units; see ``Depacketizer``."""

    protocol = "av1"

    def __init__(self) -> None:
        super().__init__()
        self._obus: list[Obu] = []
        self._bytes = 0
        self._partial: bytearray | None = None
        self._sequence_header: Obu | None = None

    def _begins(self, payload: bytes) -> bool:
        # Only these are sure to be first. Where the packet lost was the last of the unit before,
        # this one is given up too; it would have referred to the lost one.
        return starts_keyframe(payload)

    def _add(self, payload: bytes) -> bool:
        continues, goes_on = payload[0] & 0x80 != 0, payload[0] & 0x40 != 0  # Z, Y
        elements = split_elements(payload)
        if continues != (self._partial is not None):
            return False
        for index, element in enumerate(elements):
            last = index == len(elements) - 1
            if index == 0 and self._partial is not None:
                self._partial += element
                if last and goes_on:
                    break
                element = bytes(self._partial)
                self._partial = None
            elif last and goes_on:
                self._partial = bytearray(element)
                break
            self._keep(element)
        return True

    def _keep(self, element: bytes) -> None:
        if not element:
            return  # §4.3 allows elements of no bytes
        obu = parse_obu(element)
        if obu.type in (TEMPORAL_DELIMITER, TILE_LIST):  # §5: to be ignored
            return
        if obu.type == SEQUENCE_HEADER:
            self._sequence_header = obu
        if len(self._obus) >= MAX_OBUS:
            raise self._malformed(f"more than {MAX_OBUS} units in a temporal unit")
        self._obus.append(obu)
        self._bytes += len(obu.body)

    def _finish(self) -> tuple[bytes, bool] | None:
        if self._partial is not None:
            return None
        obus = self._obus
        key = any(_is_key_frame(obu) for obu in obus)
        headed = any(obu.type == SEQUENCE_HEADER for obu in obus)
        if key and not headed and self._sequence_header is not None:
            obus = [self._sequence_header, *obus]
        return b"".join(obu.sized() for obu in obus), key

    def _size(self) -> int:
        return self._bytes + len(self._partial or b"")

    def _reset(self) -> None:
        self._obus = []
        self._bytes = 0
        self._partial = None


class Av1Packetizer:
    """Makes payloads of temporal units; see ``Packetizer``."""

    def __init__(self, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._max_size = check_payload_size(max_size)

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """Units that fit share a packet, each with its size; one too large is cut on its own."""
        elements = [
            obu.bare()
            for obu in split_stream(unit.data)
            if obu.type not in (TEMPORAL_DELIMITER, TILE_LIST, PADDING)
        ]
        bodies: list[tuple[int, bytes]] = []  # aggregation header, elements
        waiting = b""
        for element in elements:
            sized = write_leb128(len(element)) + element
            if waiting and 1 + len(waiting) + len(sized) > self._max_size:
                bodies.append((0, waiting))
                waiting = b""
            if 1 + len(sized) <= self._max_size:
                waiting += sized
                continue
            if waiting:
                bodies.append((0, waiting))
                waiting = b""
            parts = pieces(element, self._max_size - 1)
            for index, part in enumerate(parts):
                flags = (0x80 if index else 0) | (0x40 if index < len(parts) - 1 else 0)
                bodies.append((flags | 0x10, part))  # W = 1: the one element has no size
        if waiting:
            bodies.append((0, waiting))
        new_sequence = 0x08 if unit.key else 0  # N
        return [
            Payload(
                bytes((flags | (new_sequence if index == 0 else 0),)) + body,
                index == len(bodies) - 1,
            )
            for index, (flags, body) in enumerate(bodies)
        ]


def starts_keyframe(payload: bytes) -> bool:
    """Whether a coded video sequence begins in this payload: N, or a sequence header in front."""
    if not payload or payload[0] & 0x80:
        return False
    if payload[0] & 0x08:
        return True
    try:
        first = next((element for element in split_elements(payload) if element), b"")
    except MalformedError:
        return False
    return bool(first) and first[0] >> 3 & 15 == SEQUENCE_HEADER
