"""H.264 over RTP (RFC 6184), packetization mode 0 and 1: single NAL units, STAP-A, FU-A."""

from __future__ import annotations

import base64
import binascii
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
from heliograph.protocols.payload.nal import (
    NalAssembler,
    join_annexb,
    looks_like_annexb,
    split_annexb,
    split_lengths,
)

# ITU-T H.264 table 7-1
SLICE, PARTITION_A, IDR, SEI, SPS, PPS, DELIMITER = 1, 2, 5, 6, 7, 8, 9
# RFC 6184 §5.2
STAP_A, FU_A = 24, 28
#: F and NRI, which an aggregate inherits from what it holds (RFC 6184 §5.3).
NRI_MASK = 0x60


def nal_type(nal: bytes) -> int:
    """The type of a NAL unit, 0–31."""
    return nal[0] & 0x1F


def unescape(nal: bytes) -> bytes:
    """The RBSP: emulation prevention bytes taken out (H.264 §7.4.1)."""
    return nal.replace(b"\x00\x00\x03", b"\x00\x00")


def _reader(nal: bytes, skip: int) -> BitReader:
    # Slice and parameter set heads are short; 32 bytes hold every field read here.
    return BitReader(unescape(nal[:32])[skip:], "h264")


def codec_string(sps: bytes) -> str:
    """``avc1.PPCCLL`` (RFC 6381 §3.3) of a sequence parameter set."""
    if len(sps) < 4 or nal_type(sps) != SPS:
        raise MalformedError("h264", "not a sequence parameter set")
    return f"avc1.{sps[1:4].hex()}"


class H264Depacketizer(NalAssembler):
    """Rebuilds access units; see ``Depacketizer``."""

    protocol = "h264"
    set_types = (SPS, PPS)
    delimiter_type = DELIMITER

    def _type(self, nal: bytes) -> int:
        return nal_type(nal)

    def _set_id(self, nal: bytes) -> int:
        # §7.3.2.1.1: behind profile, constraints and level; §7.3.2.2: first of all
        number = _reader(nal, 4 if nal_type(nal) == SPS else 1).ue()
        if number > (31 if nal_type(nal) == SPS else 255):
            raise self._malformed(f"parameter set id {number}")
        return number

    def _is_slice(self, nal: bytes) -> bool:
        return SLICE <= nal_type(nal) <= IDR

    def _is_first_slice(self, nal: bytes) -> bool:
        return len(nal) > 1 and nal[1] & 0x80 != 0  # §7.3.3: first_mb_in_slice is 0

    def _is_key(self, nals: list[bytes]) -> bool:
        types = {nal_type(nal) for nal in nals}
        if IDR in types:
            return True
        if SPS not in types:
            return False
        # Encoders with open GOPs repeat the parameter sets before I pictures to join at.
        first = next((nal for nal in nals if nal_type(nal) in (SLICE, PARTITION_A)), None)
        if first is None:
            return False
        reader = _reader(first, 1)
        try:
            reader.ue()
            return reader.ue() % 5 == 2  # §7.4.3: slice_type I is 2 or 7
        except MalformedError:
            return False

    def _add(self, payload: bytes) -> bool:
        kind = nal_type(payload)
        if 1 <= kind <= 23:
            self._append(payload)
        elif kind == STAP_A:
            for nal in _split_stap(payload):
                self._append(nal)
        elif kind == FU_A:
            if len(payload) < 3:
                raise self._malformed("fragment without data")
            head = payload[1]
            if not 1 <= head & 0x1F <= 23:
                raise self._malformed(f"fragment of a unit of type {head & 0x1F}")
            header = bytes((payload[0] & 0xE0 | head & 0x1F,))
            return self._fragment(header, payload[2:], start=head & 0x80 != 0, end=head & 0x40 != 0)
        else:  # §5.4: 25–27 and 29 belong to the interleaved mode, the rest is reserved
            raise self._malformed(f"packet of type {kind}")
        if self._partial is not None:
            raise self._malformed("a NAL unit begins within another")
        return True


def _split_stap(payload: bytes) -> list[bytes]:
    """NAL units of a STAP-A (RFC 6184 §5.7.1)."""
    nals = []
    at = 1
    while at < len(payload):
        end = at + 2 + int.from_bytes(payload[at : at + 2], "big")
        if at + 2 >= end or end > len(payload):
            raise MalformedError("h264", "aggregate with a unit of wrong size", offset=at)
        if not 1 <= nal_type(payload[at + 2 :]) <= 23:
            raise MalformedError("h264", "an aggregate within an aggregate", offset=at + 2)
        nals.append(payload[at + 2 : end])
        at = end
    if not nals:
        raise MalformedError("h264", "empty aggregate")
    return nals


class H264Packetizer:
    """Makes payloads in packetization mode 1; see ``Packetizer``."""

    def __init__(self, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._max_size = check_payload_size(max_size)

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """Small NAL units that follow each other share a packet, large ones are cut."""
        packets: list[bytes] = []
        waiting: list[bytes] = []
        size = 1
        for nal in split_annexb(unit.data):
            if not 1 <= nal_type(nal) <= 23:
                raise MalformedError("h264", f"NAL unit of type {nal_type(nal)}")
            if waiting and size + 2 + len(nal) > self._max_size:
                packets.append(_aggregate(waiting))
                waiting, size = [], 1
            if len(nal) > self._max_size:
                packets += self._cut(nal)
            else:
                waiting.append(nal)
                size += 2 + len(nal)
        if waiting:
            packets.append(_aggregate(waiting))
        return [Payload(data, data is packets[-1]) for data in packets]

    def _cut(self, nal: bytes) -> list[bytes]:
        parts = pieces(nal[1:], self._max_size - 2)
        indicator = nal[0] & 0xE0 | FU_A
        packets = []
        for index, part in enumerate(parts):
            flags = (0x80 if index == 0 else 0) | (0x40 if index == len(parts) - 1 else 0)
            packets.append(bytes((indicator, flags | nal_type(nal))) + part)
        return packets


def _aggregate(nals: list[bytes]) -> bytes:
    if len(nals) == 1:
        return nals[0]
    forbidden = 0x80 if any(nal[0] & 0x80 for nal in nals) else 0
    importance = max(nal[0] & NRI_MASK for nal in nals)
    head = bytes((forbidden | importance | STAP_A,))
    return head + b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)


def starts_keyframe(payload: bytes) -> bool:
    """Whether a keyframe, or the parameter sets before one, begin in this payload."""
    if not payload:
        return False
    kind = nal_type(payload)
    if kind == FU_A:
        return len(payload) > 1 and payload[1] & 0x9F == 0x80 | IDR
    if kind != STAP_A:
        return kind in (IDR, SPS)
    try:
        return any(nal_type(nal) in (IDR, SPS) for nal in _split_stap(payload))
    except MalformedError:
        return False


class AvcConfig(NamedTuple):
    """An AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1)."""

    length_size: int
    """Bytes of the length before each NAL unit, 1–4; 0 means that units are an Annex B stream."""
    parameter_sets: list[bytes]
    """Sequence parameter sets, then picture parameter sets."""


def parse_extradata(extradata: bytes) -> AvcConfig:
    """Read a container's extradata: an avcC record, or an Annex B stream, or nothing."""
    if not extradata or looks_like_annexb(extradata):
        nals = split_annexb(extradata)
        return AvcConfig(0, [nal for nal in nals if nal_type(nal) in (SPS, PPS)])
    if len(extradata) < 7 or extradata[0] != 1:
        raise MalformedError("h264", "not an avcC record")
    nals = []
    at = 5
    for mask in (0x1F, 0xFF):
        if at >= len(extradata):
            raise MalformedError("h264", "avcC record ends too soon", offset=at)
        count = extradata[at] & mask
        at += 1
        for _ in range(count):
            end = at + 2 + int.from_bytes(extradata[at : at + 2], "big")
            if at + 2 >= end or end > len(extradata):
                raise MalformedError("h264", "avcC record ends too soon", offset=at)
            nals.append(extradata[at + 2 : end])
            at = end
    return AvcConfig((extradata[4] & 3) + 1, nals)


def to_annexb(data: bytes, length_size: int) -> bytes:
    """A sample of a container as a byte stream; ``length_size`` 0 leaves it as it is."""
    return join_annexb(split_lengths(data, length_size, "h264")) if length_size else data


def parse_sprop(value: str, protocol: str = "h264") -> list[bytes]:
    """NAL units of a comma-separated base64 list (RFC 6184 §8.1, RFC 7798 §7.1)."""
    try:
        nals = [base64.b64decode(part.strip(), validate=True) for part in value.split(",")]
    except (binascii.Error, ValueError) as error:
        raise MalformedError(protocol, "parameter sets that are not base64") from error
    return [nal for nal in nals if nal]


def parameter_sets(fmtp: Mapping[str, str]) -> list[bytes]:
    """Parameter sets given in SDP, without start codes; raises ``MalformedError``."""
    return parse_sprop(fmtp.get("sprop-parameter-sets", ""))


def fmtp_for(sets: Iterable[bytes]) -> dict[str, str]:
    """Format parameters for SDP of the stream's parameter sets (RFC 6184 §8.2.1)."""
    sets = list(sets)
    fmtp = {"packetization-mode": "1"}
    sps = next((nal for nal in sets if nal and nal_type(nal) == SPS and len(nal) >= 4), None)
    if sps is not None:
        fmtp["profile-level-id"] = sps[1:4].hex()
        fmtp["sprop-parameter-sets"] = ",".join(base64.b64encode(nal).decode() for nal in sets)
    return fmtp
