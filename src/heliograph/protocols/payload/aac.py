"""AAC over RTP in RFC 3640's ``mpeg4-generic``, and what AAC itself says of a stream.

Modes AAC-hbr and AAC-lbr, and any others made of the same parameters, without interleaving.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload.base import (
    DEFAULT_PAYLOAD_SIZE,
    MAX_UNIT_SIZE,
    AccessUnit,
    PacketUnits,
    Payload,
    check_payload_size,
)
from heliograph.protocols.payload.bits import BitReader
from heliograph.protocols.rtp import RtpPacket

#: ISO/IEC 14496-3 table 1.18, by samplingFrequencyIndex.
RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
#: ISO/IEC 14496-3 §1.5.1.1: spectral band replication, and parametric stereo on top.
SBR, PS = 5, 29
AOT_ESCAPE = 31
#: ISO/IEC 14496-3 table 1.13: syncExtensionType.
SYNC_SBR, SYNC_PS = 0x2B7, 0x548
#: RFC 3640 §4.1: fields of headers are below this many bits.
MAX_FIELD = 32
#: Units in one packet: 65 535 bytes hold no more of the shortest AAC frames (6 bytes).
MAX_UNITS = 10_922


@dataclass(frozen=True, slots=True)
class AudioConfig:
    """An AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1), as far as it is used."""

    object_type: int
    """2 is AAC-LC, 5 HE-AAC, 29 HE-AAC version 2."""
    sample_rate: int
    """Hz, of the core; the output of SBR has twice as much."""
    channels: int
    """0 if the configuration describes them elsewhere."""
    frame_samples: int
    """Samples of the core that a unit lasts: 1 024 or 960."""
    bits: int
    """How long the configuration is."""


def read_config(reader: BitReader) -> AudioConfig:
    """Read an AudioSpecificConfig of an AAC object type. Raises ``MalformedError``."""
    start = reader.at
    kind = core = _object_type(reader)
    rate = _rate(reader)
    channels = (0, 1, 2, 3, 4, 5, 6, 8)[index] if (index := reader.u(4)) < 8 else 0
    if kind in (SBR, PS):
        _rate(reader)
        core = _object_type(reader)
    samples = 1024
    if core in (1, 2, 3, 4, 6, 7):  # GASpecificConfig, §4.4.1
        if reader.flag():
            samples = 960
        if reader.flag():
            reader.u(14)
        reader.u(1)
        if kind not in (SBR, PS):
            kind = _read_extension(reader) or kind
    return AudioConfig(kind, rate, channels, samples, reader.at - start)


def _read_extension(reader: BitReader) -> int:
    """SBR and PS announced behind the core, so that old decoders do not see them (§1.6.6.1)."""
    if not _sync(reader, SYNC_SBR) or _object_type(reader) != SBR or not reader.flag():
        return 0
    _rate(reader)
    return PS if _sync(reader, SYNC_PS) and reader.flag() else SBR


def _sync(reader: BitReader, word: int) -> bool:
    at = reader.at
    if reader.left >= 16 and reader.u(11) == word:
        return True
    reader.at = at
    return False


def _object_type(reader: BitReader) -> int:
    kind = reader.u(5)
    return 32 + reader.u(6) if kind == AOT_ESCAPE else kind


def _rate(reader: BitReader) -> int:
    index = reader.u(4)
    if index == 15:
        return reader.u(24)
    if index >= len(RATES):
        raise MalformedError("aac", f"sampling frequency index {index}")
    return RATES[index]


def parse_config(config: bytes) -> AudioConfig:
    """Read an AudioSpecificConfig. Raises ``MalformedError``."""
    return read_config(BitReader(config, "aac"))


def build_config(object_type: int, sample_rate: int, channels: int) -> bytes:
    """The AudioSpecificConfig of AAC-LC and its kin without SBR, two bytes long."""
    if sample_rate not in RATES or not 1 <= object_type < AOT_ESCAPE or not 0 <= channels <= 7:
        raise MalformedError("aac", f"type {object_type}, {sample_rate} Hz, {channels} channels")
    value = object_type << 11 | RATES.index(sample_rate) << 7 | channels << 3
    return value.to_bytes(2, "big")


def codec_string(config: bytes) -> str:
    """``mp4a.40.N`` (RFC 6381 §3.3) of an AudioSpecificConfig."""
    return f"mp4a.40.{parse_config(config).object_type}"


def config_from_fmtp(fmtp: Mapping[str, str]) -> bytes | None:
    """The AudioSpecificConfig of RFC 3640's ``config`` (§4.1); ``None`` if absent."""
    text = fmtp.get("config", "").strip().strip('"')
    try:
        return bytes.fromhex(text) or None
    except ValueError as error:
        raise MalformedError("aac", "config is not hexadecimal") from error


@dataclass(frozen=True, slots=True)
class HeaderFields:
    """Widths of the fields before each unit (RFC 3640 §4.1), in bits."""

    size: int = 0
    index: int = 0
    index_delta: int = 0
    cts_delta: int = 0
    dts_delta: int = 0
    random_access: int = 0
    stream_state: int = 0
    auxiliary_size: int = 0
    constant_size: int = 0
    """Bytes of every unit where the header has no size."""

    @classmethod
    def from_fmtp(cls, fmtp: Mapping[str, str]) -> HeaderFields:
        """Read SDP's parameters; what is absent is 0. Raises ``MalformedError``."""

        def number(name: str, limit: int = MAX_FIELD) -> int:
            text = fmtp.get(name, "0").strip()
            value = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else -1
            if not 0 <= value <= limit:
                raise MalformedError("aac", f"{name}={text[:20]}")
            return value

        return cls(
            size=number("sizelength"),
            index=number("indexlength"),
            index_delta=number("indexdeltalength"),
            cts_delta=number("ctsdeltalength"),
            dts_delta=number("dtsdeltalength"),
            random_access=number("randomaccessindication", 1),
            stream_state=number("streamstateindication"),
            auxiliary_size=number("auxiliarydatasizelength"),
            constant_size=number("constantsize", MAX_UNIT_SIZE),
        )

    @property
    def has_section(self) -> bool:
        """Whether there is an AU header section (§3.2.1: none if no field is present)."""
        widths = self.size + self.index + self.index_delta + self.cts_delta
        return widths + self.dts_delta + self.random_access + self.stream_state > 0

    def read_sizes(self, reader: BitReader, end: int) -> list[int]:
        """Sizes of the units whose headers end at bit ``end``."""
        sizes: list[int] = []
        while reader.at < end and len(sizes) < MAX_UNITS:
            before = reader.at
            size = reader.u(self.size) if self.size else self.constant_size
            if reader.u(self.index_delta if sizes else self.index) and sizes:
                raise MalformedError("aac", "interleaved units")
            if self.cts_delta and reader.flag():
                reader.u(self.cts_delta)
            if self.dts_delta and reader.flag():
                reader.u(self.dts_delta)
            reader.u(self.random_access + self.stream_state)
            if reader.at == before:
                break
            sizes.append(size)
        if reader.at != end:
            raise MalformedError("aac", "unit headers do not fill their section")
        return sizes


class AacDepacketizer(PacketUnits):
    """Splits packets into units and joins units that span packets; see ``Depacketizer``."""

    protocol = "aac"

    def __init__(self, fmtp: Mapping[str, str], clock_rate: int) -> None:
        super().__init__()
        self._fields = HeaderFields.from_fmtp(fmtp)
        self._duration = unit_duration(fmtp, clock_rate)
        self._partial = bytearray()
        self._wanted = 0  # bytes of the unit that spans packets
        self._timestamp = 0

    def _units(self, packet: RtpPacket, in_order: bool) -> list[tuple[bytes, int]]:
        partial, self._partial = self._partial, bytearray()
        sizes, data = self._split(packet.payload)
        if partial and in_order and packet.timestamp == self._timestamp:
            if sizes != [self._wanted] or len(partial) + len(data) > self._wanted:
                raise self._malformed("a fragment of another unit")
            partial += data
            return self._joined(partial, packet)
        self._lost |= bool(partial)
        if len(sizes) == 1 and sizes[0] > len(data):
            return self._first_fragment(sizes[0], data, packet, in_order)
        if sum(sizes) > len(data):
            raise self._malformed("units reach beyond the packet")
        units = []
        at = 0
        for index, size in enumerate(sizes):
            if size:
                units.append((data[at : at + size], index * self._duration))
            at += size
        return units

    def _first_fragment(
        self, size: int, data: bytes, packet: RtpPacket, in_order: bool
    ) -> list[tuple[bytes, int]]:
        if size > MAX_UNIT_SIZE:
            raise self._malformed(f"a unit of {size} bytes")
        if packet.marker or (not in_order and packet.timestamp == self._timestamp):
            self._lost = True  # the tail of a unit whose beginning did not come
            return []
        self._wanted, self._timestamp = size, packet.timestamp
        self._partial += data
        return []

    def _joined(self, partial: bytearray, packet: RtpPacket) -> list[tuple[bytes, int]]:
        if len(partial) == self._wanted:
            return [(bytes(partial), 0)]
        if packet.marker:
            self._lost = True  # the first fragments did not come
            return []
        self._partial = partial
        return []

    def _split(self, payload: bytes) -> tuple[list[int], bytes]:
        """Sizes of the units and the bytes they share (RFC 3640 §3.2)."""
        fields = self._fields
        reader = BitReader(payload, "aac")
        sizes: list[int] | None = None
        if fields.has_section:
            sizes = fields.read_sizes(reader, 16 + (bits := reader.u(16))) if payload else []
            reader.at = 16 + (bits + 7 & ~7)
        if fields.auxiliary_size:
            length = reader.u(fields.auxiliary_size)
            reader.at = reader.at + length + 7 & ~7
        if reader.left < 0:
            raise self._malformed("headers reach beyond the packet")
        data = payload[reader.at >> 3 :]
        if sizes is None:
            each = fields.constant_size or len(data)
            count = max(1, len(data) // each) if each else 0
            sizes = [each] * count
        elif not fields.size and not fields.constant_size and len(sizes) == 1:
            sizes = [len(data)]
        return sizes, data

    def _malformed(self, reason: str) -> MalformedError:
        return MalformedError(self.protocol, reason)


def unit_duration(fmtp: Mapping[str, str], clock_rate: int) -> int:
    """Timestamp units from one access unit to the next."""
    given = fmtp.get("constantduration", "")
    if given.isascii() and given.isdigit() and len(given) < 9:
        return int(given)
    try:
        config = config_from_fmtp(fmtp)
        parsed = parse_config(config) if config else None
    except MalformedError:
        return 1024
    if parsed is None or not parsed.sample_rate:
        return 1024
    # With SBR the clock may run at twice the rate of the core.
    return parsed.frame_samples * max(1, clock_rate // parsed.sample_rate)


class AacPacketizer:
    """Makes payloads in mode AAC-hbr, one unit in each packet; see ``Packetizer``."""

    def __init__(self, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._room = check_payload_size(max_size) - 4

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """A unit above the limit is cut; every fragment repeats its size (RFC 3640 §3.2.3)."""
        if len(unit.data) >= 1 << 13:
            raise MalformedError("aac", f"unit of {len(unit.data)} bytes")
        if not unit.data:
            return []
        head = (16 << 16 | len(unit.data) << 3).to_bytes(4, "big")
        parts = [unit.data[at : at + self._room] for at in range(0, len(unit.data), self._room)]
        return [Payload(head + part, index == len(parts) - 1) for index, part in enumerate(parts)]


def split_adts(data: bytes) -> list[bytes]:
    """Raw access units of an ADTS stream (ISO/IEC 14496-3 §1.A.2.2), as MPEG-TS carries it."""
    units = []
    at = 0
    while at < len(data):
        if at + 7 > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
            raise MalformedError("aac", "not an ADTS header", offset=at)
        header = 7 if data[at + 1] & 1 else 9
        end = at + ((data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5)
        if end <= at + header or end > len(data):
            raise MalformedError("aac", "ADTS frame of wrong size", offset=at)
        if data[at + 6] & 3:
            raise MalformedError("aac", "several blocks in an ADTS frame", offset=at)
        units.append(data[at + header : end])
        at = end
    return units


def config_from_adts(data: bytes) -> bytes:
    """The AudioSpecificConfig an ADTS header amounts to."""
    if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0:
        raise MalformedError("aac", "not an ADTS header")
    index = data[2] >> 2 & 15
    if index >= len(RATES):
        raise MalformedError("aac", f"sampling frequency index {index}")
    channels = (data[2] & 1) << 2 | data[3] >> 6
    return build_config((data[2] >> 6) + 1, RATES[index], channels)


def fmtp_for(config: bytes) -> dict[str, str]:
    """Format parameters for SDP of AAC-hbr (RFC 3640 §3.3.6)."""
    return {
        "streamtype": "5",
        "profile-level-id": "1",
        "mode": "AAC-hbr",
        "sizelength": "13",
        "indexlength": "3",
        "indexdeltalength": "3",
        "config": config.hex(),
    }
