"""What is counted of a track, and what its sender is told."""

from __future__ import annotations

from heliograph.player.reception import Reception
from heliograph.protocols import rtcp
from heliograph.protocols.rtp import RtpPacket

NOON = 1_767_614_400_000_000


def packet(sequence: int) -> RtpPacket:
    return RtpPacket(96, sequence & 0xFFFF, 90 * sequence, 7, b"12345")


def test_the_sender_is_told_of_its_loss_and_of_its_last_report() -> None:
    reception = Reception(90_000)
    for sequence in range(65_530, 65_630):
        if sequence % 10:
            reception.take(packet(sequence), sequence / 1000)
    sent = rtcp.SenderReport(7, rtcp.ntp_from_unix_us(NOON), 900, 90, 450)
    assert reception.take_rtcp(rtcp.serialize((sent,)), NOON + 5000) == (sent, False)
    (report,) = rtcp.parse(reception.report(99, NOON + 505_000))
    assert isinstance(report, rtcp.ReceiverReport)
    (block,) = report.reports
    assert (block.ssrc, block.lost, block.highest_sequence) == (7, 9, 65_629)
    assert block.last_sr == rtcp.ntp_middle(sent.ntp)
    assert block.delay_since_last_sr == 32_768  # half a second
    assert (reception.packets, reception.lost, reception.bytes) == (90, 9, 450)


def test_the_end_is_the_own_sender_s() -> None:
    reception = Reception(90_000)
    reception.take(packet(1), 0.0)
    other, own = (rtcp.serialize((rtcp.ReceiverReport(n), rtcp.Bye((n,)))) for n in (8, 7))
    assert not reception.take_rtcp(other, NOON).goodbye
    assert reception.take_rtcp(own, NOON).goodbye


def test_nonsense_is_counted() -> None:
    reception = Reception(90_000)
    assert reception.take_rtcp(b"\x80\xc8\xff\xff", NOON) == (None, False)
    assert reception.malformed == 1
    assert rtcp.parse(reception.report(99, NOON)) == [rtcp.ReceiverReport(99)]
