"""Compound packets, reports, feedback messages and NTP time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError
from heliograph.protocols import rtcp
from heliograph.protocols.rtcp import (
    App,
    Bye,
    FullIntraRequest,
    Nack,
    PictureLossIndication,
    ReceiverReport,
    Remb,
    ReportBlock,
    SdesChunk,
    SdesItem,
    SenderReport,
    SourceDescription,
    TransportFeedback,
    UnknownPacket,
)

BLOCK = ReportBlock(0x11223344, 25, -3, 0x1FFFF, 77, 0xAABBCCDD, 65536)
ALL = [
    SenderReport(1, 0xE8_0000_0080_0000_00, 90_000, 10, 1000, (BLOCK, BLOCK)),
    ReceiverReport(2, (BLOCK,), b"\x00\x01\x02\x03"),
    SourceDescription((SdesChunk(3, (SdesItem(1, b"a@b"), SdesItem(6, b""))), SdesChunk(4, ()))),
    Bye((5, 6), b"leaving"),
    Bye((7,)),
    App(3, 8, b"name", b"data"),
    Nack(1, 2, (65535, 0, 5, 500)),
    TransportFeedback(1, 2, 100, -5, 9, (0, None, 300, -1, *([None] * 30), *([4] * 9), 255)),
    PictureLossIndication(1, 2),
    FullIntraRequest(1, 0, ((9, 1), (10, 255))),
    Remb(1, 0, 2_500_000, (7, 8)),
    UnknownPacket(207, 5, b"\x00\x00\x00\x01"),
    UnknownPacket(206, 9, bytes(12)),
]


@pytest.mark.parametrize("packet", ALL, ids=lambda packet: type(packet).__name__)
def test_each_packet_written_reads_the_same(packet: rtcp.RtcpPacket) -> None:
    data = rtcp.serialize([packet])
    assert len(data) % 4 == 0
    assert rtcp.parse(data) == [packet]


def test_a_compound_keeps_its_order() -> None:
    assert rtcp.parse(rtcp.serialize(ALL)) == ALL


@pytest.mark.parametrize("packet", ALL, ids=lambda packet: type(packet).__name__)
def test_a_truncated_packet_is_refused_at_every_length(packet: rtcp.RtcpPacket) -> None:
    data = rtcp.serialize([packet])
    for size in range(len(data)):
        with pytest.raises(MalformedError, match="malformed rtcp"):
            rtcp.parse(data[:size])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("40c80000", "version 1"),
        ("80c80006", "beyond the datagram"),
        ("81c90001 00000001", "RR of 4 bytes"),
        ("80c80001 00000001", "SR of 4 bytes"),
        ("81ca0001 00000001", "without an end"),
        ("81ca0002 00000001 01ff0000", "beyond the packet"),
        ("81cb0002 00000001 09410000", "reason reaches"),
        ("81cd0001 00000001", "feedback of 4 bytes"),
        ("84ce0003 00000001 00000002 00000003", "FIR of 4"),
        ("8fce0004 00000001 00000002 52454d42 02000001", "REMB of 8"),
        ("a0c90001 00000001", "padding of 1"),
        ("a0c90002 00000001 00000004 80c90001 00000001", "padding of 4"),
        ("8fcd0003 00000001 00000002 00000001", "transport feedback: 4 bytes"),
        ("8fcd0004 00000001 00000002 00000001 00000000", "within the status chunks"),
        ("8fcd0005 00000001 00000002 00000001 00000000 60010000", "reserved status"),
        ("8fcd0005 00000001 00000002 00000001 00000000 00000000", "run of no packets"),
        ("8fcd0005 00000001 00000002 0000000a 00000000 200a0000", "within the deltas"),
    ],
)
def test_lengths_that_do_not_add_up_are_named(text: str, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        rtcp.parse(bytes.fromhex(text.replace(" ", "")))


def test_padding_of_the_last_packet_is_taken_off() -> None:
    data = bytes.fromhex("a0c900020000000100000004")
    assert rtcp.parse(data) == [ReceiverReport(1)]


def test_a_nack_packs_neighbours_together() -> None:
    data = rtcp.serialize([Nack(1, 2, (100, 101, 116, 117))])
    assert data[12:].hex() == "00648001" + "00750000"


@given(st.lists(st.integers(0, 0xFFFF), unique=True, max_size=100))
def test_a_nack_keeps_every_number(lost: list[int]) -> None:
    assert rtcp.parse(rtcp.serialize([Nack(1, 2, tuple(lost))])) == [Nack(1, 2, tuple(lost))]


@given(st.lists(st.one_of(st.none(), st.integers(-0x8000, 0x7FFF), st.just(3)), max_size=200))
def test_transport_feedback_keeps_every_arrival(deltas: list[int | None]) -> None:
    packet = TransportFeedback(1, 2, 65_530, 0x7FFFFF, 255, tuple(deltas))
    assert rtcp.parse(rtcp.serialize([packet])) == [packet]


def test_arrivals_count_from_the_reference_time() -> None:
    packet = TransportFeedback(1, 2, 0, 10, 0, (4, None, -2))
    assert packet.arrivals_us() == [641_000, None, 640_500]


def test_one_bit_status_vectors_are_read() -> None:
    body = "0000000e" + "00000100" + "a001" + "0102"  # 14 packets: the first and the last came
    data = bytes.fromhex("8fcd0005" + "00000001" + "00000002" + body)
    (packet,) = rtcp.parse(data)
    assert packet == TransportFeedback(1, 2, 0, 1, 0, (1, *([None] * 12), 2))


def test_a_large_remb_loses_its_last_bits_only() -> None:
    (packet,) = rtcp.parse(rtcp.serialize([Remb(1, 0, 123_456_789_012, ())]))
    assert isinstance(packet, Remb)
    assert packet.bitrate == pytest.approx(123_456_789_012, rel=1 / (1 << 17))


@pytest.mark.parametrize(
    "packet",
    [
        Bye(tuple(range(32))),
        App(0, 1, b"abc", b""),
        App(0, 1, b"abcd", b"x"),
        SourceDescription((SdesChunk(1, (SdesItem(1, bytes(256)),)),)),
        Remb(1, 0, 1 << 90, ()),
        TransportFeedback(1, 2, 0, 0, 0, (40_000,)),
    ],
)
def test_what_no_field_holds_is_not_written(packet: rtcp.RtcpPacket) -> None:
    with pytest.raises(MalformedError):
        rtcp.serialize([packet])


@given(st.integers(0, 4_000_000_000_000_000))
def test_unix_time_goes_through_ntp_and_back(unix_us: int) -> None:
    # Beyond 2036 NTP's seconds wrap; they are taken for the era that began then.
    assert rtcp.unix_us_from_ntp(rtcp.ntp_from_unix_us(unix_us)) == unix_us


def test_the_unix_epoch_has_its_known_ntp_time() -> None:
    assert rtcp.ntp_from_unix_us(500_000) == 2_208_988_800 << 32 | 1 << 31


def test_the_round_trip_is_what_the_receiver_did_not_wait() -> None:
    sent = rtcp.ntp_from_unix_us(1_700_000_000_000_000)
    now = rtcp.ntp_from_unix_us(1_700_000_001_250_000)
    block = ReportBlock(1, 0, 0, 0, 0, rtcp.ntp_middle(sent), 65536)
    assert rtcp.round_trip(now, block) == pytest.approx(0.25, abs=0.001)
    assert rtcp.round_trip(now, ReportBlock(1, 0, 0, 0, 0, 0, 0)) is None
    assert rtcp.round_trip(sent, block) == 0.0
