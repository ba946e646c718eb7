"""From access units to RTP packets and sender reports. Pure: numbers and times are passed in."""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.model.errors import MalformedError
from heliograph.model.media import Track
from heliograph.protocols import payload, rtcp
from heliograph.protocols.rtp import RtpPacket

#: Seconds between sender reports (RFC 3550 §6.2: 5 s is the usual least).
REPORT_INTERVAL = 5.0


@dataclass(frozen=True, slots=True)
class Numbers:
    """Where a stream begins; random, as RFC 3550 §5.1 asks."""

    ssrc: int
    """32 bits."""
    sequence: int
    """16 bits."""
    timestamp: int
    """32 bits: of media time 0."""


class RtpStream:
    """One track on its way out; numbering goes on over reconnections."""

    def __init__(self, track: Track, numbers: Numbers, cname: str) -> None:
        self.track = track
        self.ssrc = numbers.ssrc
        """The stream's source."""
        self.packets = 0
        """Packets made."""
        self.octets = 0
        """Payload bytes in them."""
        self.lost = 0
        """Packets lost so far, as the receiver reports."""
        self.loss: float | None = None
        """Share of packets lost lately, 0–1; ``None`` before the first receiver report."""
        self.malformed = 0
        """Units left out since they are not of the codec."""
        self._sequence, self._zero = numbers.sequence, numbers.timestamp
        self._cname = cname.encode()[:255]
        self._packetizer = payload.packetizer(track.codec, channels=track.channels)

    def packetize(self, unit: payload.AccessUnit, shifted: float = 0.0) -> list[bytes]:
        """The unit's packets. Its timestamp counts from media time 0 and need not be wrapped;
        ``shifted``: seconds by which media time was moved by stalls.
        """
        timestamp = self._timestamp(unit.timestamp, shifted)
        try:
            payloads = self._packetizer.packetize(unit)
        except MalformedError:
            self.malformed += 1
            return []
        made = []
        for piece in payloads:
            packet = RtpPacket(
                self.track.payload_type,
                self._sequence,
                (timestamp + piece.timestamp_offset) & 0xFFFFFFFF,
                self.ssrc,
                piece.data,
                marker=piece.marker,
            )
            made.append(packet.serialize())
            self._sequence = (self._sequence + 1) & 0xFFFF
            self.octets += len(piece.data)
        self.packets += len(made)
        return made

    def report(self, unix_us: int, media_time: float) -> bytes:
        """SR and SDES: the wall clock ``unix_us`` is ``media_time`` (stalls included)."""
        return rtcp.serialize(
            (
                rtcp.SenderReport(
                    self.ssrc,
                    rtcp.ntp_from_unix_us(unix_us),
                    self._timestamp(0, media_time),
                    self.packets & 0xFFFFFFFF,
                    self.octets & 0xFFFFFFFF,
                ),
                rtcp.SourceDescription(
                    (rtcp.SdesChunk(self.ssrc, (rtcp.SdesItem(rtcp.CNAME, self._cname),)),)
                ),
            )
        )

    def goodbye(self) -> bytes:
        """BYE, after an empty report as a compound has to begin (RFC 3550 §6.6)."""
        return rtcp.serialize((rtcp.ReceiverReport(self.ssrc), rtcp.Bye((self.ssrc,))))

    def take_rtcp(self, data: bytes) -> None:
        """Remember what the receiver reports on this stream."""
        try:
            packets = rtcp.parse(data)
        except MalformedError:
            return
        for packet in packets:
            if isinstance(packet, rtcp.ReceiverReport | rtcp.SenderReport):
                for block in packet.reports:
                    if block.ssrc == self.ssrc:
                        self.lost, self.loss = block.lost, block.fraction_lost / 256

    def _timestamp(self, units: int, seconds: float) -> int:
        return (self._zero + units + round(seconds * self.track.clock_rate)) & 0xFFFFFFFF
