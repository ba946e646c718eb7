"""Opus over RTP (RFC 7587): a packet of the codec is the payload."""

from __future__ import annotations

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload.base import AccessUnit, PacketUnits, Payload
from heliograph.protocols.rtp import RtpPacket

#: RFC 7587 §4.1: whatever the audio was sampled at.
CLOCK_RATE = 48_000
#: RFC 6716 §3.2 and §3.4: 48 frames of at most 1 275 bytes, with their lengths, rounded up.
MAX_PACKET = 64_000


class OpusDepacketizer(PacketUnits):
    """One packet, one unit; see ``Depacketizer``."""

    protocol = "opus"

    def _units(self, packet: RtpPacket, in_order: bool) -> list[tuple[bytes, int]]:
        return [(packet.payload, 0)]


class OpusPacketizer:
    """An Opus packet cannot be cut: it is sent whole, whatever its size; see ``Packetizer``."""

    def packetize(self, unit: AccessUnit) -> list[Payload]:
        """At most one payload; the marker stays clear, as no silence is suppressed here."""
        if len(unit.data) > MAX_PACKET:
            raise MalformedError("opus", f"packet of {len(unit.data)} bytes")
        return [Payload(unit.data, False)] if unit.data else []


def duration(packet: bytes) -> int:
    """Samples at 48 kHz that a packet lasts (RFC 6716 §3.1); 0 if it is not to be told."""
    if not packet:
        return 0
    configuration, code = packet[0] >> 3, packet[0] & 3
    if configuration < 12:  # SILK: 10, 20, 40, 60 ms
        samples = (480, 960, 1920, 2880)[configuration & 3]
    elif configuration < 16:  # hybrid: 10, 20 ms
        samples = (480, 960)[configuration & 1]
    else:  # CELT: 2.5, 5, 10, 20 ms
        samples = (120, 240, 480, 960)[configuration & 3]
    if code == 3:
        return samples * (packet[1] & 63) if len(packet) > 1 else 0
    return samples * (2 if code else 1)


def fmtp_for(channels: int) -> dict[str, str]:
    """Format parameters for SDP (RFC 7587 §6.1); the rtpmap always says two channels."""
    return {"sprop-stereo": "1"} if channels >= 2 else {}
