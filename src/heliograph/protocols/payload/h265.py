"""H.265 over RTP (RFC 7798): single NAL units, aggregation and fragmentation packets."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload.base import (
    DEFAULT_PAYLOAD_SIZE,
    AccessUnit,
    Payload,
    check_payload_size,
    pieces,
)
from heliograph.protocols.payload.bits import BitReader
from heliograph.protocols.payload.h264 import parse_sprop, unescape
from heliograph.protocols.payload.nal import (
    NalAssembler,
    join_annexb,
    looks_like_annexb,
    split_annexb,
    split_lengths,
)

# ITU-T H.265 table 7-1: 0–31 carry slices, 16–23 those of pictures to begin at
FIRST_IRAP, LAST_IRAP, LAST_SLICE = 16, 23, 31
VPS, SPS, PPS, DELIMITER = 32, 33, 34, 35
# RFC 7798 §4.4
AGGREGATE, FRAGMENT, PACI = 48, 49, 50


def nal_type(nal: bytes) -> int:
    """The type of a NAL unit, 0–63."""
    return nal[0] >> 1 & 0x3F


def _skip_profile(reader: BitReader, sub_layers: int) -> None:
    """profile_tier_level (H.265 §7.3.3): 96 bits, and those of the sub-layers."""
    reader.u(96)
    present = [(reader.flag(), reader.flag()) for _ in range(sub_layers)]
    if sub_layers:
        reader.u(2 * (8 - sub_layers))
    for profile, level in present:
        reader.u((88 if profile else 0) + (8 if level else 0))


def codec_string(sps: bytes) -> str:
    """``hev1.…`` (ISO/IEC 14496-15 annex E.3) of a sequence parameter set."""
    if len(sps) < 3 or nal_type(sps) != SPS:
        raise MalformedError("h265", "not a sequence parameter set")
    reader = BitReader(unescape(sps[:64])[2:], "h265")
    reader.u(8)
    space, tier, profile = reader.u(2), reader.flag(), reader.u(5)
    compatible = int(f"{reader.u(32):032b}"[::-1], 2)  # written from the last flag to the first
    constraints = reader.u(48).to_bytes(6, "big").rstrip(b"\x00")
    level = reader.u(8)
    parts = [
        "hev1",
        f"{('', 'A', 'B', 'C')[space]}{profile}",
        f"{compatible:X}",
        f"{'H' if tier else 'L'}{level}",
        *(f"{byte:X}" for byte in constraints),
    ]
    return ".".join(parts)


class H265Depacketizer(NalAssembler):
    """Rebuilds access units; see ``Depacketizer``."""

    protocol = "h265"
    set_types = (VPS, SPS, PPS)
    delimiter_type = DELIMITER

    def _type(self, nal: bytes) -> int:
        return nal_type(nal)

    def _set_id(self, nal: bytes) -> int:
        kind = nal_type(nal)
        reader = BitReader(unescape(nal[:128])[2:], "h265")
        if kind == VPS:
            return reader.u(4)
        if kind == SPS:  # §7.3.2.2: behind the profile
            reader.u(4)
            sub_layers = reader.u(3)
            reader.u(1)
            _skip_profile(reader, sub_layers)
        number = reader.ue()
        if number > (15 if kind == SPS else 63):
            raise self._malformed(f"parameter set id {number}")
        return number

    def _is_slice(self, nal: bytes) -> bool:
        return nal_type(nal) <= LAST_SLICE

    def _is_first_slice(self, nal: bytes) -> bool:
        return len(nal) > 2 and nal[2] & 0x80 != 0  # §7.3.6.1: first_slice_segment_in_pic_flag

    def _is_key(self, nals: list[bytes]) -> bool:
        return any(FIRST_IRAP <= nal_type(nal) <= LAST_IRAP for nal in nals)

    def _append(self, nal: bytes) -> None:
        if len(nal) < 2:
            raise self._malformed("NAL unit without its header")
        super()._append(nal)

    def _add(self, payload: bytes) -> bool:
        if len(payload) < 2:
            raise self._malformed("payload without its header")
        kind = nal_type(payload)
        if kind < AGGREGATE:
            self._append(payload)
        elif kind == AGGREGATE:
            for nal in _split_aggregate(payload):
                self._append(nal)
        elif kind == FRAGMENT:
            if len(payload) < 4:
                raise self._malformed("fragment without data")
            head = payload[2]
            if head & 0x3F >= AGGREGATE:
                raise self._malformed(f"fragment of a unit of type {head & 0x3F}")
            header = bytes((payload[0] & 0x81 | (head & 0x3F) << 1, payload[1]))
            return self._fragment(header, payload[3:], start=head & 0x80 != 0, end=head & 0x40 != 0)
        else:  # PACI and reserved types carry nothing that any sender met here uses
            raise self._malformed(f"packet of type {kind}")
        if self._partial is not None:
            raise self._malformed("a NAL unit begins within another")
        return True


def _split_aggregate(payload: bytes) -> list[bytes]:
    """NAL units of an aggregation packet without DONL (RFC 7798 §4.4.2)."""
    nals = []
    at = 2
    while at < len(payload):
        end = at + 2 + int.from_bytes(payload[at : at + 2], "big")
        if end < at + 4 or end > len(payload):
            raise MalformedError("h265", "aggregate with a unit of wrong size", offset=at)
        if nal_type(payload[at + 2 :]) >= AGGREGATE:
            raise MalformedError("h265", "an aggregate within an aggregate", offset=at + 2)
        nals.append(payload[at + 2 : end])
        at = end
    if not nals:
        raise MalformedError("h265", "empty aggregate")
    return nals


class H265Packetizer:
    """Makes payloads without DONL; see ``Packetizer``."""

    def __init__(self, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._max_size = check_payload_size(max_size)

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """Small NAL units that follow each other share a packet, large ones are cut."""
        packets: list[bytes] = []
        waiting: list[bytes] = []
        size = 2
        for nal in split_annexb(unit.data):
            if len(nal) < 2 or nal_type(nal) >= AGGREGATE:
                raise MalformedError("h265", f"NAL unit of type {nal_type(nal)}")
            if waiting and size + 2 + len(nal) > self._max_size:
                packets.append(_aggregate(waiting))
                waiting, size = [], 2
            if len(nal) > self._max_size:
                packets += self._cut(nal)
            else:
                waiting.append(nal)
                size += 2 + len(nal)
        if waiting:
            packets.append(_aggregate(waiting))
        return [Payload(data, data is packets[-1]) for data in packets]

    def _cut(self, nal: bytes) -> list[bytes]:
        parts = pieces(nal[2:], self._max_size - 3)
        packets = []
        for index, part in enumerate(parts):
            flags = (0x80 if index == 0 else 0) | (0x40 if index == len(parts) - 1 else 0)
            head = bytes((nal[0] & 0x81 | FRAGMENT << 1, nal[1], flags | nal_type(nal)))
            packets.append(head + part)
        return packets


def _aggregate(nals: list[bytes]) -> bytes:
    """RFC 7798 §4.4.2: the lowest layer and temporal ids, F if any has it."""
    if len(nals) == 1:
        return nals[0]
    forbidden = 0x80 if any(nal[0] & 0x80 for nal in nals) else 0
    layer = min((nal[0] & 1) << 5 | nal[1] >> 3 for nal in nals)
    temporal = min(nal[1] & 7 for nal in nals)
    head = bytes((forbidden | AGGREGATE << 1 | layer >> 5, (layer & 31) << 3 | temporal))
    return head + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def _begins_keyframe(kind: int) -> bool:
    return FIRST_IRAP <= kind <= LAST_IRAP or kind in (VPS, SPS)


def starts_keyframe(payload: bytes) -> bool:
    """Whether a keyframe, or the parameter sets before one, begin in this payload."""
    if len(payload) < 3:
        return False
    kind = nal_type(payload)
    if kind == FRAGMENT:
        return payload[2] & 0x80 != 0 and _begins_keyframe(payload[2] & 0x3F)
    if kind != AGGREGATE:
        return _begins_keyframe(kind)
    try:
        return any(_begins_keyframe(nal_type(nal)) for nal in _split_aggregate(payload))
    except MalformedError:
        return False


class HevcConfig(NamedTuple):
    """An HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 §8.3.3.1)."""

    length_size: int
    """Bytes of the length before each NAL unit, 1–4; 0 means that units are an Annex B stream."""
    parameter_sets: list[bytes]
    """Video, sequence and picture parameter sets."""


def parse_extradata(extradata: bytes) -> HevcConfig:
    """Read a container's extradata: an hvcC record, or an Annex B stream, or nothing."""
    if not extradata or looks_like_annexb(extradata):
        nals = split_annexb(extradata)
        return HevcConfig(0, [nal for nal in nals if nal_type(nal) in (VPS, SPS, PPS)])
    if len(extradata) < 23:
        raise MalformedError("h265", "not an hvcC record")
    nals = []
    at = 23
    for _ in range(extradata[22]):
        if at + 3 > len(extradata):
            raise MalformedError("h265", "hvcC record ends too soon", offset=at)
        count = int.from_bytes(extradata[at + 1 : at + 3], "big")
        at += 3
        for _ in range(count):
            end = at + 2 + int.from_bytes(extradata[at : at + 2], "big")
            if at + 4 > end or end > len(extradata):
                raise MalformedError("h265", "hvcC record ends too soon", offset=at)
            nals.append(extradata[at + 2 : end])
            at = end
    sets = [nal for nal in nals if nal_type(nal) in (VPS, SPS, PPS)]
    return HevcConfig((extradata[21] & 3) + 1, sets)


def to_annexb(data: bytes, length_size: int) -> bytes:
    """A sample of a container as a byte stream; ``length_size`` 0 leaves it as it is."""
    return join_annexb(split_lengths(data, length_size, "h265")) if length_size else data


_SPROPS = (("sprop-vps", VPS), ("sprop-sps", SPS), ("sprop-pps", PPS))


def parameter_sets(fmtp: Mapping[str, str]) -> list[bytes]:
    """Parameter sets given in SDP, without start codes; raises ``MalformedError``."""
    return [nal for name, _ in _SPROPS for nal in parse_sprop(fmtp.get(name, ""), "h265")]


def fmtp_for(sets: Iterable[bytes]) -> dict[str, str]:
    """Format parameters for SDP of the stream's parameter sets (RFC 7798 §7.2.1)."""
    fmtp = {}
    sets = list(sets)
    for name, kind in _SPROPS:
        of_kind = [base64.b64encode(nal).decode() for nal in sets if nal and nal_type(nal) == kind]
        if of_kind:
            fmtp[name] = ",".join(of_kind)
    return fmtp
