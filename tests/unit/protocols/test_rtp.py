"""The RTP packet, its extensions, wrapping numbers, loss and jitter."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError
from heliograph.protocols.rtp import (
    HeaderExtension,
    JitterEstimator,
    LossAccount,
    RtpPacket,
    Unwrapper,
    build_extensions,
    is_rtcp,
    sequence_distance,
    timestamp_distance,
)

u16, u32 = st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
PACKET = RtpPacket(96, 1000, 2000, 3000, b"payload", marker=True)


@given(
    st.builds(
        RtpPacket,
        payload_type=st.integers(0, 127),
        sequence_number=u16,
        timestamp=u32,
        ssrc=u32,
        payload=st.binary(max_size=40),
        marker=st.booleans(),
        csrc=st.lists(u32, max_size=15).map(tuple),
        padding_size=st.integers(0, 255),
    ),
    st.one_of(st.none(), u16),
    st.integers(0, 5),
)
def test_a_packet_written_reads_the_same(
    packet: RtpPacket, profile: int | None, words: int
) -> None:
    data = b"" if profile is None else bytes(range(4 * words))
    packet = dataclasses.replace(packet, extension_profile=profile, extension_data=data)
    assert RtpPacket.parse(packet.serialize()) == packet


def test_every_prefix_of_a_header_is_refused() -> None:
    full = RtpPacket(96, 1, 2, 3, csrc=(4, 5), extension_profile=0xBEDE, extension_data=bytes(4))
    data = full.serialize()
    for size in range(len(data)):
        with pytest.raises(MalformedError, match="malformed rtp"):
            RtpPacket.parse(data[:size])
    assert RtpPacket.parse(data) == full


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x40" + bytes(11), "version 1"),
        (b"\xa0" + bytes(11), "padding of 0"),
        (b"\xa0" + bytes(11) + b"\x00", "padding of 0"),
        (b"\xa0" + bytes(11) + b"\x02", "padding of 2"),
        (b"\x90" + bytes(11) + b"\xbe\xde\x00\x02" + bytes(4), "beyond the packet"),
    ],
)
def test_a_wrong_length_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        RtpPacket.parse(data)


@pytest.mark.parametrize(
    ("elements", "profile"),
    [
        ([HeaderExtension(1, b"a"), HeaderExtension(14, bytes(16))], 0xBEDE),
        ([HeaderExtension(1, b""), HeaderExtension(14, bytes(16))], 0x1000),
        ([HeaderExtension(200, b"abc")], 0x1000),
        ([HeaderExtension(3, bytes(255))], 0x1000),
    ],
)
def test_the_shorter_extension_header_is_used_where_it_suffices(
    elements: list[HeaderExtension], profile: int
) -> None:
    chosen, body = build_extensions(elements)
    assert chosen == profile
    assert len(body) % 4 == 0
    packet = RtpPacket(96, 1, 2, 3, extension_profile=chosen, extension_data=body)
    assert RtpPacket.parse(packet.serialize()).extensions == tuple(elements)


def test_reading_stops_at_the_reserved_id_and_skips_padding() -> None:
    body = b"\x00\x10\x07\x00\xf0\x11\x22\x33"
    packet = RtpPacket(96, 1, 2, 3, extension_profile=0xBEDE, extension_data=body)
    assert packet.extensions == (HeaderExtension(1, b"\x07"),)


def test_an_extension_of_another_profile_is_kept_and_not_interpreted() -> None:
    packet = RtpPacket(96, 1, 2, 3, extension_profile=0xABAC, extension_data=bytes(12))
    assert packet.extensions == ()
    assert RtpPacket.parse(packet.serialize()).extension_data == bytes(12)


@pytest.mark.parametrize(("profile", "body"), [(0xBEDE, b"\x1f123"), (0x1000, b"\x01\x09ab")])
def test_an_element_beyond_its_extension_is_refused(profile: int, body: bytes) -> None:
    with pytest.raises(MalformedError, match="beyond the extension"):
        _ = RtpPacket(96, 1, 2, 3, extension_profile=profile, extension_data=body).extensions


def test_rtcp_is_told_apart_on_a_shared_port() -> None:
    assert is_rtcp(b"\x80\xc8\x00\x06")
    assert is_rtcp(b"\x81\xce\x00\x02")
    assert not is_rtcp(PACKET.serialize())
    assert not is_rtcp(b"\x80")


def test_distances_go_the_shorter_way_round() -> None:
    assert sequence_distance(0xFFFF, 0) == 1
    assert sequence_distance(0, 0xFFFF) == -1
    assert sequence_distance(0, 0x8000) == -0x8000
    assert timestamp_distance(0xFFFFFFFF, 5) == 6
    assert timestamp_distance(5, 0xFFFFFFFF) == -6


@given(st.lists(st.integers(-30_000, 30_000), max_size=200), u16)
def test_unwrapped_numbers_follow_the_true_ones(steps: list[int], first: int) -> None:
    unwrapper = Unwrapper.sequence()
    true = newest = unwrapper.extend(first)
    for step in steps:
        true = newest + step
        assert unwrapper.extend(true & 0xFFFF) == true
        newest = max(newest, true)


def test_timestamps_unwrap_over_32_bits() -> None:
    unwrapper = Unwrapper.timestamp()
    assert [unwrapper.extend(t) for t in (0xFFFFFFF0, 5, 0xFFFFFFF8)] == [
        0xFFFFFFF0,
        0x100000005,
        0xFFFFFFF8,
    ]


def test_even_packets_have_no_jitter_and_a_late_one_a_sixteenth_of_its_delay() -> None:
    estimator = JitterEstimator(8000)
    for index in range(50):
        estimator.update(100.0 + index * 0.02, (4294967000 + index * 160) & 0xFFFFFFFF)
    assert estimator.jitter == 0
    estimator.update(100.0 + 50 * 0.02 + 0.1, (4294967000 + 50 * 160) & 0xFFFFFFFF)
    assert estimator.jitter == 50
    assert estimator.seconds == pytest.approx(0.1 / 16, abs=0.001)


def test_loss_is_counted_over_the_wrap() -> None:
    account = LossAccount()
    for number in [65533, 65534, 1, 2]:
        assert account.update(number)
    assert (account.expected, account.received, account.lost) == (6, 4, 2)
    assert account.extended_highest == 0x10002
    assert account.fraction_lost() == 2 * 256 // 6
    assert account.fraction_lost() == 0


def test_a_late_packet_makes_up_for_its_loss_and_a_duplicate_counts_as_more() -> None:
    account = LossAccount()
    for number in [10, 12, 11, 11]:
        account.update(number)
    assert account.lost == -1
    assert account.fraction_lost() == 0


def test_a_restarted_source_is_believed_at_its_second_packet() -> None:
    account = LossAccount()
    for number in range(100):
        account.update(number)
    assert not account.update(30_000)
    assert account.expected == 100
    assert account.update(30_001)
    assert (account.expected, account.lost) == (1, 0)


def test_nothing_seen_is_nothing_lost() -> None:
    account = LossAccount()
    assert (account.expected, account.lost, account.fraction_lost()) == (0, 0, 0)


@pytest.mark.parametrize(
    "packet",
    [
        RtpPacket(96, 1, 2, 3, csrc=tuple(range(16))),
        RtpPacket(96, 1, 2, 3, padding_size=256),
        RtpPacket(96, 1, 2, 3, extension_profile=1, extension_data=b"abc"),
    ],
)
def test_what_no_field_holds_is_not_written(packet: RtpPacket) -> None:
    with pytest.raises(MalformedError):
        packet.serialize()
