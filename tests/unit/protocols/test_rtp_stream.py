"""Packets and reports of what is published."""

import pytest

from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import rtcp
from heliograph.protocols.payload import AccessUnit
from heliograph.protocols.rtp import RtpPacket
from heliograph.protocols.rtp_stream import Numbers, RtpStream

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96)
AUDIO = Track(1, Kind.AUDIO, Codec.OPUS, 48_000, 97, channels=2)
FRAME = b"\x00\x00\x00\x01\x65\x88" + bytes(range(1, 255)) * 12


def stream(track=VIDEO, timestamp=0xFFFFFF00, sequence=65_535):
    return RtpStream(track, Numbers(0xABCD, sequence, timestamp), "me@here")


def test_packets_are_numbered_on_and_wrap():
    made = stream()
    packets = [RtpPacket.parse(p) for p in made.packetize(AccessUnit(FRAME, 0x200, True))]
    assert [p.sequence_number for p in packets] == [65_535, 0, 1]
    assert {p.timestamp for p in packets} == {0x100}
    assert [p.marker for p in packets] == [False, False, True]
    assert made.packets == 3
    assert made.octets == sum(len(p.payload) for p in packets)


def test_a_stall_moves_timestamps():
    made = stream(timestamp=0)
    (packet,) = made.packetize(AccessUnit(FRAME[:100], 90_000, True), shifted=2.5)
    assert RtpPacket.parse(packet).timestamp == 90_000 + 225_000


def test_reports_of_all_tracks_tell_the_same_instant():
    now = 1_767_614_400_000_000
    for track in (VIDEO, AUDIO):
        made = stream(track, timestamp=1000)
        report, described = rtcp.parse(made.report(now, 2.0))
        assert isinstance(report, rtcp.SenderReport)
        assert rtcp.unix_us_from_ntp(report.ntp) == now
        assert report.rtp_timestamp == 1000 + 2 * track.clock_rate
        assert described.chunks[0].items[0].value == b"me@here"


def test_loss_is_taken_from_the_receivers_report():
    made = stream()
    block = rtcp.ReportBlock(0xABCD, 64, 12, 0, 0, 0, 0)
    other = rtcp.ReportBlock(0x1234, 255, 999, 0, 0, 0, 0)
    made.take_rtcp(rtcp.serialize([rtcp.ReceiverReport(1, (other, block))]))
    assert (made.loss, made.lost) == (0.25, 12)
    made.take_rtcp(b"\x80")
    assert made.lost == 12


def test_what_is_not_of_the_codec_is_counted_and_left_out():
    made = stream()
    assert made.packetize(AccessUnit(b"\x00\x00\x00\x01\x1f\x00\x01", 0, True)) == []
    assert made.malformed == 1


def test_goodbye_names_the_source():
    _, bye = rtcp.parse(stream().goodbye())
    assert bye == rtcp.Bye((0xABCD,))


@pytest.mark.parametrize("track", [VIDEO, AUDIO])
def test_units_come_back_from_their_packets(track):
    from heliograph.protocols.payload import depacketizer

    made, reader = stream(track), depacketizer(track)
    units = []
    for n in range(3):
        for packet in made.packetize(AccessUnit(FRAME[: 300 + n], n * 900, True)):
            units += reader.push(RtpPacket.parse(packet))
    assert [unit.data for unit in units] == [FRAME[: 300 + n] for n in range(3)]
