"""AAC over RTP in RFC 6416's ``MP4A-LATM``: LATM's audioMuxElement, one program of one layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from heliograph.model.errors import MalformedError, TooLargeError
from heliograph.protocols.payload.aac import parse_config, read_config
from heliograph.protocols.payload.base import MAX_UNIT_SIZE, PacketUnits
from heliograph.protocols.payload.bits import BitReader
from heliograph.protocols.rtp import RtpPacket


@dataclass(frozen=True, slots=True)
class MuxConfig:
    """A StreamMuxConfig (ISO/IEC 14496-3 §1.7.3.1), as far as it is used."""

    subframes: int
    """Access units in an element, 1–64."""
    config: bytes
    """The AudioSpecificConfig, moved to a byte boundary and filled with zeros."""


def read_mux_config(reader: BitReader) -> MuxConfig:
    """Read a StreamMuxConfig; ``MalformedError`` also for more than AAC in one layer."""
    if reader.flag():
        raise MalformedError("aac-latm", "audioMuxVersion 1")
    if not reader.flag():
        raise MalformedError("aac-latm", "streams of different timing")
    subframes = reader.u(6) + 1
    if reader.u(4) or reader.u(3):
        raise MalformedError("aac-latm", "several programs or layers")
    start = reader.at
    bits = read_config(reader).bits
    reader.at = start
    config = (reader.u(bits) << -bits % 8).to_bytes(-(-bits // 8), "big")
    if reader.u(3):
        raise MalformedError("aac-latm", "frames of constant length")
    reader.u(8)  # latmBufferFullness
    if reader.flag():  # otherDataPresent: its length in bytes of which the first bit goes on
        while reader.flag():
            reader.u(8)
        reader.u(8)
    if reader.flag():
        reader.u(8)  # crcCheckSum
    return MuxConfig(subframes, config)


def mux_config_from_fmtp(fmtp: Mapping[str, str]) -> MuxConfig | None:
    """RFC 6416 §7.3: ``config`` is a StreamMuxConfig; ``None`` if absent."""
    text = fmtp.get("config", "").strip().strip('"')
    if not text:
        return None
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise MalformedError("aac-latm", "config is not hexadecimal") from error
    # GStreamer leaves out what follows the AudioSpecificConfig, where all fields are zero.
    return read_mux_config(BitReader(data + bytes(4), "aac-latm"))


class LatmDepacketizer(PacketUnits):
    """Takes access units out of audioMuxElements; see ``Depacketizer``."""

    protocol = "aac-latm"

    def __init__(self, fmtp: Mapping[str, str], clock_rate: int) -> None:
        super().__init__()
        self._in_band = fmtp.get("cpresent", "1").strip() != "0"
        self._config = mux_config_from_fmtp(fmtp)
        self._clock_rate = clock_rate
        self._partial = bytearray()
        self._timestamp: int | None = None
        self._skipping = False
        self._doubtful = False  # a packet is missing before the element at hand

    @property
    def config(self) -> bytes | None:
        """The AudioSpecificConfig, once known."""
        return None if self._config is None else self._config.config

    def _units(self, packet: RtpPacket, in_order: bool) -> list[tuple[bytes, int]]:
        """An element may span packets of one timestamp; the last is marked (RFC 6416 §6.1)."""
        if self._partial and (not in_order or packet.timestamp != self._timestamp):
            self._partial.clear()
            self._lost = True
        if not in_order:
            # The rest of an element is of no use; whether another's beginning is missing shows
            # in the lengths when it is whole.
            self._skipping = packet.timestamp == self._timestamp
        elif packet.timestamp != self._timestamp:
            self._skipping = False
        if not self._partial:
            self._doubtful = not in_order
        self._timestamp = packet.timestamp
        if self._skipping:
            self._skipping = not packet.marker
            self._lost = True
            return []
        self._partial += packet.payload
        if len(self._partial) > MAX_UNIT_SIZE:
            self._partial.clear()
            self._skipping = True
            raise TooLargeError(f"aac-latm: above {MAX_UNIT_SIZE} bytes", subject=self.protocol)
        if not packet.marker:
            return []
        element = bytes(self._partial)
        self._partial.clear()
        try:
            return self._split(element)
        except MalformedError:
            if not self._doubtful:
                raise
            self._lost = True
            return []

    def _split(self, element: bytes) -> list[tuple[bytes, int]]:
        reader = BitReader(element, self.protocol)
        if self._in_band and not reader.flag():  # useSameStreamMux
            self._config = read_mux_config(reader)
        if self._config is None:
            raise MalformedError(self.protocol, "no configuration yet")
        step = self._duration(self._config)
        units = []
        for index in range(self._config.subframes):
            size = 0
            while (byte := reader.u(8)) == 255:  # PayloadLengthInfo, §1.7.3.1
                size += 255
            size += byte
            data = reader.u(8 * size).to_bytes(size, "big")
            if data:
                units.append((data, index * step))
        if self._doubtful and reader.left >= 8:  # what is taken for a length was none
            raise MalformedError(self.protocol, "lengths do not add up")
        return units

    def _duration(self, config: MuxConfig) -> int:
        parsed = parse_config(config.config)
        rate = parsed.sample_rate or self._clock_rate
        return parsed.frame_samples * max(1, self._clock_rate // max(1, rate))
