"""What packets of several nodes carry, and how a node is asked again."""

from __future__ import annotations

import pytest

from heliograph.model.errors import MalformedError
from heliograph.protocols import rtcp
from heliograph.protocols.bipartite import (
    MAX_ASKED,
    Mark,
    ask_again,
    asked_again,
    extension_ids,
    mark_of,
)
from heliograph.protocols.rtp import HeaderExtension, RtpPacket, build_extensions
from heliograph.protocols.sdp import parse_sdp


def packet(*elements: HeaderExtension) -> RtpPacket:
    profile, data = build_extensions(elements)
    return RtpPacket(96, 1, 2, 3, b"x", extension_profile=profile, extension_data=data)


def test_a_mark_is_read_as_the_wire_has_it() -> None:
    # 0xBEDE, three words; id 5, ten bytes: title 0x01020304, node 0x0506, packet 0x0708090A
    raw = bytes.fromhex("90600001 00000002 00000003 bede0003 59 01020304 0506 0708090a 00 78")
    read = RtpPacket.parse(raw)
    assert mark_of(read, 5) == Mark(0x01020304, 0x0506, 0x0708090A)
    assert mark_of(read, 5).serialize() == raw[17:27]
    assert read.payload == b"x"


def test_a_packet_without_a_good_mark_is_malformed() -> None:
    good = HeaderExtension(5, Mark(1, 2, 3).serialize())
    other = HeaderExtension(4, b"abc")
    assert mark_of(packet(other, good), 5) == Mark(1, 2, 3)
    for bad in (packet(other), packet(HeaderExtension(5, b"short")), RtpPacket(96, 1, 2, 3)):
        with pytest.raises(MalformedError):
            mark_of(bad, 5)


def test_asking_again_crosses_the_wire() -> None:
    asked = ask_again(7, [1, 0xFFFFFFFF, 1 << 32])
    wire = rtcp.serialize((rtcp.ReceiverReport(7), asked))
    assert wire[8:] == bytes.fromhex("80cc0005 00000007 48424950 00000001 ffffffff 00000000")
    _, app = rtcp.parse(wire)
    assert isinstance(app, rtcp.App)
    assert asked_again(app) == (1, 0xFFFFFFFF, 0)


def test_other_packets_of_applications_are_not_for_us_and_bad_ones_are_told() -> None:
    assert asked_again(rtcp.App(0, 7, b"NONE", b"1234")) is None
    assert asked_again(rtcp.App(1, 7, b"HBIP", b"1234")) is None
    for data in (b"", b"12", bytes(4 * MAX_ASKED + 4)):
        with pytest.raises(MalformedError):
            asked_again(rtcp.App(0, 7, b"HBIP", data))
    for counts in ([], [0] * (MAX_ASKED + 1)):
        with pytest.raises(MalformedError):
            ask_again(7, counts)


def test_the_description_tells_the_extension_s_id_of_each_track() -> None:
    head = "v=0\r\ns=x\r\nt=0 0\r\n"
    offers = {
        "5 urn:heliograph:bipartite": 5,
        "14/sendonly urn:heliograph:bipartite": 14,
        "15 urn:heliograph:bipartite": None,
        "0 urn:heliograph:bipartite": None,
        "x urn:heliograph:bipartite": None,
        "5 urn:heliograph:other": None,
        "5": None,
    }
    for offer, identity in offers.items():
        media = f"m=audio 0 RTP/AVP 0\r\na=extmap:{offer}\r\nm=video 0 RTP/AVP 32\r\n"
        assert extension_ids(parse_sdp(head + media)) == (identity, None), offer
