"""RTP as the twin reads it: headers, starts of keyframes, frames out of payloads."""

from __future__ import annotations

import struct
from dataclasses import dataclass

START_CODE = b"\0\0\0\1"


@dataclass(frozen=True, slots=True)
class Rtp:
    """A parsed RTP packet, RFC 3550 section 5.1."""

    marker: bool
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    header_length: int


def parse_rtp(data: bytes) -> Rtp | None:
    """The packet, or None where the bytes are no RTP packet."""
    if len(data) < 12 or data[0] >> 6 != 2:
        return None
    length = 12 + 4 * (data[0] & 15)
    if data[0] & 0x10:
        if len(data) < length + 4:
            return None
        length += 4 + 4 * int.from_bytes(data[length + 2 : length + 4])
    end = len(data)
    if data[0] & 0x20:
        if not data[-1] or data[-1] > end - length:
            return None
        end -= data[-1]
    if length > end:
        return None
    sequence, timestamp, ssrc = struct.unpack_from("!HII", data, 2)
    return Rtp(
        bool(data[1] & 0x80), data[1] & 0x7F, sequence, timestamp, ssrc, data[length:end], length
    )


def rewrite(data: bytes, payload_type: int, sequence: int, timestamp: int, ssrc: int) -> bytes:
    """The packet with the header fields that readers of a channel see."""
    second = data[1] & 0x80 | payload_type
    return data[:1] + struct.pack("!BHII", second, sequence, timestamp, ssrc) + data[12:]


def starts_keyframe(codec: str, payload: bytes) -> bool:
    """Whether a packet carries a part of a keyframe's start (or parameter sets before it)."""
    match codec:
        case "h264":
            return any(kind in (5, 7) for kind in _h264_types(payload))
        case "h265":
            return any(16 <= kind <= 21 or kind in (32, 33) for kind in _h265_types(payload))
        case "vp8":
            return _vp8_key(payload)
        case _:
            return True


def _h264_types(payload: bytes) -> list[int]:
    """NAL unit types that begin in the packet, RFC 6184 section 5.2."""
    if not payload:
        return []
    kind = payload[0] & 31
    if kind == 24:  # STAP-A
        return [unit[0] & 31 for unit in _aggregated(payload[1:])]
    if kind == 28:  # FU-A; only the one with the start bit begins the unit
        return [payload[1] & 31] if len(payload) > 1 and payload[1] & 0x80 else []
    return [kind]


def _h265_types(payload: bytes) -> list[int]:
    """NAL unit types that begin in the packet, RFC 7798 section 4.4."""
    if len(payload) < 3:
        return []
    kind = payload[0] >> 1 & 63
    if kind == 48:
        return [unit[0] >> 1 & 63 for unit in _aggregated(payload[2:])]
    if kind == 49:
        return [payload[2] & 63] if payload[2] & 0x80 else []
    return [kind]


def _aggregated(data: bytes) -> list[bytes]:
    """Units of an aggregation packet: 16-bit length before each."""
    units = []
    while len(data) > 2:
        size = int.from_bytes(data[:2])
        if size == 0 or size > len(data) - 2:
            break
        units.append(data[2 : 2 + size])
        data = data[2 + size :]
    return units


def _vp8_key(payload: bytes) -> bool:
    """RFC 7741 section 4.2: start of partition 0 and the P bit of the payload header clear."""
    skip = _vp8_descriptor(payload)
    return len(payload) > skip and payload[0] & 0x17 == 0x10 and not payload[skip] & 1


def _vp8_descriptor(payload: bytes) -> int:
    if not payload:
        return 1
    skip = 1
    if payload[0] & 0x80 and len(payload) > 1:
        extension = payload[1]
        skip = 2
        if extension & 0x80:
            skip += 2 if len(payload) > skip and payload[skip] & 0x80 else 1
        skip += bool(extension & 0x40) + bool(extension & 0x30)
    return skip


def assemble(codec: str, payloads: list[bytes], parameter_sets: list[bytes]) -> bytes:
    """An access unit out of the payloads of its packets, in order."""
    match codec:
        case "h264":
            return _annex_b(_h264_units(payloads), 7, 5, 31, 0, parameter_sets)
        case "h265":
            return _annex_b(_h265_units(payloads), 33, 19, 63, 1, parameter_sets)
        case "vp8":
            return b"".join(payload[_vp8_descriptor(payload) :] for payload in payloads)
        case "aac":  # RFC 3640, one access unit a packet with a 16-bit AU header
            return b"".join(payload[4:] for payload in payloads)
        case _:
            return b"".join(payloads)


def _annex_b(
    units: list[bytes], sps: int, idr: int, mask: int, shift: int, parameter_sets: list[bytes]
) -> bytes:
    kinds = [unit[0] >> shift & mask for unit in units]
    if idr in kinds and sps not in kinds:
        units = [*parameter_sets, *units]
    return b"".join(START_CODE + unit for unit in units)


def _h264_units(payloads: list[bytes]) -> list[bytes]:
    units: list[bytes] = []
    fragment = b""
    for payload in payloads:
        kind = payload[0] & 31 if payload else 0
        if kind == 24:
            units += _aggregated(payload[1:])
        elif kind == 28 and len(payload) > 1:
            if payload[1] & 0x80:
                fragment = bytes([payload[0] & 0xE0 | payload[1] & 31])
            fragment += payload[2:]
            if payload[1] & 0x40:
                units.append(fragment)
        elif kind:
            units.append(payload)
    return units


def _h265_units(payloads: list[bytes]) -> list[bytes]:
    units: list[bytes] = []
    fragment = b""
    for payload in payloads:
        kind = payload[0] >> 1 & 63 if len(payload) > 2 else 0
        if kind == 48:
            units += _aggregated(payload[2:])
        elif kind == 49:
            if payload[2] & 0x80:
                fragment = bytes([payload[0] & 0x81 | (payload[2] & 63) << 1, payload[1]])
            fragment += payload[3:]
            if payload[2] & 0x40:
                units.append(fragment)
        elif len(payload) > 2:
            units.append(payload)
    return units


@dataclass(slots=True)
class ReceiverReport:
    """What an RTCP receiver report says of the first source in it."""

    loss_permille: int
    jitter: int
    ssrc: int


def receiver_report(data: bytes) -> ReceiverReport | None:
    """The first report block in a compound RTCP packet, RFC 3550 section 6.4.2."""
    while len(data) >= 8 and data[0] >> 6 == 2:
        size = 4 * (int.from_bytes(data[2:4]) + 1)
        first = {200: 28, 201: 8}.get(data[1])
        if first is not None and data[0] & 31 and len(data) >= first + 24:
            return ReceiverReport(
                data[first + 4] * 1000 // 256,
                int.from_bytes(data[first + 12 : first + 16]),
                int.from_bytes(data[first : first + 4]),
            )
        data = data[size:]
    return None


def wanted_again(data: bytes) -> list[int]:
    """Numbers that a player asks a node for in a compound packet (docs/wire/bipartite.md)."""
    found: list[int] = []
    while len(data) >= 8 and data[0] >> 6 == 2:
        size = 4 * (int.from_bytes(data[2:4]) + 1)
        if data[:2] == b"\x80\xcc" and data[8:12] == b"HBIP" and len(data) >= size <= 12 + 4 * 64:
            found += [int.from_bytes(data[at : at + 4]) for at in range(12, size, 4)]
        data = data[size:]
    return found
