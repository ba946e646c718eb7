"""Cutting and reading: bounded, whatever comes and however it is cut."""

import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError
from heliograph.protocols.rtsp import Headers, InterleavedFrame, MessageParser, Request, headers
from heliograph.protocols.rtsp.auth import Answerer, Authenticator, Verdict, parse_challenges

TESTS = Path(__file__).parents[3]


def target(name):
    spec = importlib.util.spec_from_file_location(name, TESTS / "fuzz" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.one_input


@pytest.mark.parametrize("name", ["sdp", "rtsp"])
def test_the_fuzz_corpus_breaks_nothing(name):
    one_input = target(f"fuzz_{name}")
    paths = sorted((TESTS / "data" / "fuzz" / name).iterdir())
    assert paths
    for path in paths:
        one_input(path.read_bytes())


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_or_malformed(data):
    target("fuzz_rtsp")(data)


def parse(data):
    parser = MessageParser()
    parser.feed(data)
    return parser.next_message()


def test_requests_responses_and_frames_mix_on_one_connection():
    request = Request("PLAY", "rtsp://h/x", Headers([("CSeq", "1")]), b"body")
    frame = InterleavedFrame(3, b"$" * 9)
    parser = MessageParser()
    found = []
    for byte in frame.serialize() + b"\r\n" + request.serialize() + frame.serialize():
        parser.feed(bytes((byte,)))
        found += [m] if (m := parser.next_message()) is not None else []
    assert found == [frame, request, frame]


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x60",
        b"GET / HTTP/1.1\r\n\r\n",
        b"OPTIONS * RTSP/3.0\r\n\r\n",
        b"OPTIONS *\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\n folded\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"OPTIONS * RTSP/1.0\r\nContent-Length: 999999\r\n\r\n",
        b"OPTIONS " + b"x" * 9000,
        b"OPTIONS * RTSP/1.0\r\n" + b"a: b\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_not_rtsp_is_malformed_for_good(data):
    parser = MessageParser()
    parser.feed(data)
    for _ in range(2):
        with pytest.raises(MalformedError):
            parser.next_message()


def test_a_line_end_cannot_be_smuggled_into_a_header():
    with pytest.raises(MalformedError):
        Request("OPTIONS", "*", Headers([("A", "b\r\nC: d")])).serialize()


@pytest.mark.parametrize(
    "text",
    [
        "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record",
        "RTP/AVP;multicast;destination=239.1.1.1;ttl=3;port=5000-5001",
        'RTP/AVP/UDP;unicast;dest_addr=":3456"/":3457";mode="PLAY,RECORD", RTP/AVP;unicast',
        "RAW/RAW/UDP;unicast;client_port=1-2,x-real-rdt/tcp;mode=play",
    ],
)
def test_transports_read_back_as_written(text):
    once = headers.parse_transports(text)
    assert headers.parse_transports(headers.serialize_transports(once)) == once


def test_transport_of_version_two_and_single_ports():
    first, second = headers.parse_transports(
        'RTP/AVP/UDP;unicast;dest_addr="10.0.0.1:3456"/"10.0.0.1:3457",RTP/AVP;client_port=4000'
    )
    assert (first.destination, first.client_port) == ("10.0.0.1", (3456, 3457))
    assert second.client_port == (4000, 4001)


@pytest.mark.parametrize(
    "text", ["npt=now-", "npt=1:02:03.5-", "clock=20260101T000000Z-", "smpte=0:00:01-"]
)
def test_ranges_read_back_as_written(text):
    assert headers.parse_range(text).serialize() == text


def test_rtp_info_with_commas_in_urls_and_version_two():
    one, two = headers.parse_rtp_info("url=rtsp://h/a,b/1;seq=70000;rtptime=5,url=2;seq=1")
    assert (one.url, one.seq, one.rtptime) == ("rtsp://h/a,b/1", 70000 & 0xFFFF, 5)
    assert (two.url, two.rtptime) == ("2", None)
    (three,) = headers.parse_rtp_info('url="rtsp://h/x" ssrc=0A13C760:seq=45102;rtptime=12')
    assert (three.url, three.seq, three.rtptime) == ("rtsp://h/x", 45102, 12)


@pytest.mark.parametrize("algorithms", [("MD5",), ("SHA-256",), ("SHA-256", "MD5")])
@pytest.mark.parametrize("password", ["secret", "wrong"])
def test_digest_of_client_and_server_agree(algorithms, password):
    server = Authenticator("r", b"s" * 16, algorithms=algorithms, methods=("digest",))
    client = Answerer("any", password, cnonce="12345678")
    assert client.take(parse_challenges([c.serialize() for c in server.challenges(5.0)]))
    shown = client.authorization("PLAY", "rtsp://h/x/")
    wanted = Verdict.GOOD if password == "secret" else Verdict.WRONG
    assert server.verify(shown, "PLAY", "rtsp://h/x", ["a", "secret"], 6.0) is wanted
    again = Verdict.STALE if wanted is Verdict.GOOD else wanted
    assert server.verify(shown, "PLAY", "rtsp://h/x", ["secret"], 6.0) is again
    assert server.verify(shown, "PLAY", "rtsp://h/y", ["secret"], 6.0) is Verdict.WRONG
    assert server.verify(shown, "PAUSE", "rtsp://h/x", ["secret"], 6.0) is Verdict.WRONG
