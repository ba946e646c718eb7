"""G.711, L16 and L24 over RTP (RFC 3551 §4.5, RFC 3190): samples as they are, big endian."""

from __future__ import annotations

from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec
from heliograph.protocols.payload.base import (
    DEFAULT_PAYLOAD_SIZE,
    AccessUnit,
    PacketUnits,
    Payload,
    check_payload_size,
)
from heliograph.protocols.rtp import RtpPacket

#: Bytes a sample.
WIDTH = {Codec.PCMU: 1, Codec.PCMA: 1, Codec.L16: 2, Codec.L24: 3}
#: RFC 3551 §4.1 counts channels up to six; 32 is more than any mixer sends in one stream.
MAX_CHANNELS = 32


def frame_size(codec: Codec, channels: int) -> int:
    """Bytes of one sample of every channel."""
    if not 0 <= channels <= MAX_CHANNELS:
        raise MalformedError(codec.value, f"{channels} channels")
    return WIDTH[codec] * max(1, channels)


class SampledDepacketizer(PacketUnits):
    """One packet, one unit; see ``Depacketizer``."""

    def __init__(self, codec: Codec, channels: int) -> None:
        super().__init__()
        self.protocol = codec.value
        self._frame = frame_size(codec, channels)

    def _units(self, packet: RtpPacket, in_order: bool) -> list[tuple[bytes, int]]:
        if len(packet.payload) % self._frame:
            raise MalformedError(
                self.protocol, f"{len(packet.payload)} bytes are not whole samples"
            )
        return [(packet.payload, 0)]


class SampledPacketizer:
    """Cuts between samples; later packets say how far they are on; see ``Packetizer``."""

    def __init__(self, codec: Codec, channels: int, max_size: int = DEFAULT_PAYLOAD_SIZE) -> None:
        self._codec = codec
        self._frame = frame_size(codec, channels)
        self._step = check_payload_size(max_size) // self._frame * self._frame or self._frame

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """Packets of whole samples; the marker stays clear, as no silence is suppressed here."""
        if len(unit.data) % self._frame:
            raise MalformedError(self._codec.value, f"{len(unit.data)} bytes are not whole samples")
        return [
            Payload(unit.data[at : at + self._step], False, at // self._frame)
            for at in range(0, len(unit.data), self._step)
        ]


def swap_bytes(samples: bytes, width: int) -> bytes:
    """Little-endian samples of ``width`` bytes (as WAV has them) as RTP wants them, or back."""
    whole = len(samples) // width * width
    swapped = bytearray(whole)
    for byte in range(width):
        swapped[byte::width] = samples[width - 1 - byte : whole : width]
    return bytes(swapped)
