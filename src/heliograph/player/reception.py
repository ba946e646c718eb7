"""What is told of one track's reception, to the server and to people. Pure."""

from __future__ import annotations

from typing import NamedTuple

from heliograph.model.errors import MalformedError
from heliograph.protocols import rtcp
from heliograph.protocols.rtp import MAX_MISORDER, JitterEstimator, LossAccount, RtpPacket


class Heard(NamedTuple):
    """What a compound of the sender's told."""

    report: rtcp.SenderReport | None
    goodbye: bool
    """Nothing more comes from who sent it (BYE)."""


class Reception:
    """Counts the packets of one track."""

    def __init__(self, clock_rate: int, *, misorder: int = MAX_MISORDER) -> None:
        """``misorder``: packets that one may come behind others without being of a new count."""
        self.packets = 0
        self.bytes = 0
        """Payload received."""
        self.malformed = 0
        """Datagrams that are not what they should be."""
        self.ssrc: int | None = None
        self._misorder = misorder
        self._account = LossAccount(misorder)
        self._jitter = JitterEstimator(clock_rate)
        self._heard: tuple[int, int] | None = None  # middle of the last report's NTP, when it came

    def take(self, packet: RtpPacket, now: float) -> None:
        """A packet came."""
        self.packets += 1
        self.bytes += len(packet.payload)
        self.ssrc = packet.ssrc
        self._account.update(packet.sequence_number)
        self._jitter.update(now, packet.timestamp)

    def take_rtcp(self, data: bytes, unix_us: int) -> Heard:
        """A compound came."""
        try:
            packets = rtcp.parse(data)
        except MalformedError:
            self.malformed += 1
            return Heard(None, False)
        found, goodbye = None, False
        for packet in packets:
            if isinstance(packet, rtcp.SenderReport):
                found = packet
                self._heard = (rtcp.ntp_middle(packet.ntp), unix_us)
            elif isinstance(packet, rtcp.Bye):
                goodbye |= self.ssrc is None or self.ssrc in packet.sources
        return Heard(found, goodbye)

    @property
    def lost(self) -> int:
        """Packets that did not come, or not yet."""
        return max(0, self._account.lost)

    @property
    def expected(self) -> int:
        """Packets there should have been."""
        return self._account.expected

    @property
    def jitter_ms(self) -> float:
        """RFC 3550's interarrival jitter."""
        return 1000 * self._jitter.seconds

    def report(self, own: int, unix_us: int) -> bytes:
        """A receiver report (RFC 3550 §6.4.2); also the sign of life some servers want."""
        last, since = 0, 0
        if self._heard is not None:
            last = self._heard[0]
            since = max(0, unix_us - self._heard[1]) * 65_536 // 1_000_000
        if self.ssrc is None:
            return rtcp.serialize((rtcp.ReceiverReport(own),))
        block = rtcp.ReportBlock(
            self.ssrc,
            self._account.fraction_lost(),
            self._account.lost,
            self._account.extended_highest & 0xFFFFFFFF,
            self._jitter.jitter,
            last,
            min(since, 0xFFFFFFFF),
        )
        return rtcp.serialize((rtcp.ReceiverReport(own, (block,)),))

    def restart(self) -> None:
        """Numbers begin elsewhere: after a seek."""
        self._account = LossAccount(self._misorder)
