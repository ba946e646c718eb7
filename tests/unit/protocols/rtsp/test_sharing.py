"""Sessions of several nodes as the client's machine sees them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from heliograph.model.errors import MalformedError, RemoteError, WrongStateError
from heliograph.protocols.rtsp import (
    ClientSession,
    Headers,
    MessageParser,
    Request,
    Response,
    State,
    Transport,
)
from heliograph.protocols.rtsp import events as e
from heliograph.protocols.rtsp.client import SHARED_KEEPALIVE, SHARED_TIMEOUT
from heliograph.protocols.rtsp.sharing import (
    AHEAD_US,
    MAX_NODES,
    TAG,
    Line,
    Node,
    Nodes,
    parse_ahead,
    parse_nodes,
)

VALUE = 'clock=1767614400000000, nodes="0=10.1.1.1:8554/8000-8001;7=[fd00::2]:554/9000-9001"'
NODES = Nodes(
    1_767_614_400_000_000,
    (Node(0, "10.1.1.1", 8554, 8000, 8001), Node(7, "fd00::2", 554, 9000, 9001)),
)
SDP = (
    "v=0\r\ns=x\r\nt=0 0\r\na=control:*\r\n"
    "m=audio 0 RTP/AVP 0\r\na=extmap:1 urn:heliograph:bipartite\r\na=control:track0\r\n"
    "m=audio 0 RTP/AVP 0\r\na=extmap:1 urn:heliograph:bipartite\r\na=control:track1\r\n"
)
UDP = [(0, Transport(client_port=(5000, 5001))), (1, Transport(client_port=(5002, 5003)))]
TCP = [(0, Transport(lower="TCP", interleaved=(0, 1)))]
SUPPORTED = ("Supported", TAG)
BIPARTITE = ("Bipartite", VALUE)


def test_the_header_tells_who_sends() -> None:
    assert parse_nodes(VALUE) == NODES
    assert parse_nodes(NODES.serialize()) == NODES
    line = replace(NODES, ahead=3_000_000, line=Line(7_000_000, 1_767_614_400_200_000, 1.5))
    assert parse_nodes(line.serialize()) == line
    assert line.line is not None
    assert line.line.position(line.clock) == 7_000_000  # it has not begun to move
    assert line.line.position(line.clock + 1_200_000) == 8_500_000
    assert parse_nodes("x=1, " + VALUE.replace("clock", "Clock")) == NODES


@pytest.mark.parametrize(
    "value",
    [
        "",
        "clock=1",
        'nodes="0=10.1.1.1:8554/8000-8001"',
        'clock=x, nodes="0=10.1.1.1:8554/8000-8001"',
        'clock=1, nodes="0=10.1.1.1:8554/8000"',
        'clock=1, nodes="0=10.1.1.1:0/8000-8001"',
        'clock=1, nodes="0=10.1.1.1:8554/8000-65536"',
        'clock=1, nodes="65536=10.1.1.1:8554/8000-8001"',
        'clock=1, nodes="0=host:8554/8000-8001"',
        'clock=1, nodes="0=10.1.1.256:8554/8000-8001"',
        'clock=1, nodes="0=224.1.1.1:8554/8000-8001"',
        'clock=1, nodes="0=0.0.0.0:8554/8000-8001"',
        'clock=1, nodes="0=10.1.1.1:1/2-3;0=10.1.1.2:1/2-3"',
        'clock=1, nodes="0=10.1.1.1:1/2-3", ahead=-1',
        'clock=1, nodes="0=10.1.1.1:1/2-3", line="1@2"',
        'clock=1, nodes="0=10.1.1.1:1/2-3", line="1@2*nan"',
        'clock=1, nodes="' + ";".join(f"{n}=10.1.1.1:1/2-3" for n in range(MAX_NODES + 1)) + '"',
    ],
)
def test_a_header_that_does_not_tell_it_is_malformed(value: str) -> None:
    with pytest.raises(MalformedError):
        parse_nodes(value)


def test_a_request_says_what_is_taken_before_it_is_due() -> None:
    assert parse_ahead(f"ahead={AHEAD_US}") == AHEAD_US
    assert parse_ahead("") == parse_ahead("other=5") == 0
    with pytest.raises(MalformedError):
        parse_ahead("ahead=much")


class Dialogue:
    """A client, and what is answered to it by hand."""

    def __init__(self, url: str = "rtsp://h/film", *, share: bool = True) -> None:
        self.client = ClientSession(url, cnonce="0" * 16, share=share)
        self.now = 0.0
        self._parser = MessageParser()

    def asked(self) -> Request:
        self._parser.feed(self.client.data_to_send())
        message = self._parser.next_message()
        assert isinstance(message, Request)
        return message

    def answer(self, *headers: tuple[str, str], status: int = 200, body: str = "") -> Request:
        request = self.asked()
        fields = [("CSeq", request.headers.get("cseq") or ""), *headers]
        made = Response(status, "x", Headers(fields), body.encode())
        self.client.receive_data(made.serialize(), self.now)
        return request

    def events(self) -> list[Any]:
        found = []
        while (event := self.client.next_event()) is not None:
            found.append(event)
        return found

    def set_up(self, sdp: str = SDP, *, agreed: bool = True) -> list[Request]:
        client, more = self.client, (SUPPORTED, BIPARTITE) if agreed else ()
        client.describe(0.0)
        requests = [self.answer(("Content-Type", "application/sdp"), body=sdp)]
        client.setup(UDP, 0.0)
        for _, transport in UDP:
            shown = ("Transport", transport.serialize())
            requests.append(self.answer(("Session", "ab" * 16), shown, *more))
        return requests

    def play(self) -> None:
        self.client.play(0.0)
        self.answer(BIPARTITE)


def test_it_is_asked_for_and_the_answer_tells_who_sends() -> None:
    dialogue = Dialogue()
    requests = dialogue.set_up()
    assert [request.headers.get("supported") for request in requests] == [TAG] * 3
    assert dialogue.client.sharing.agreed
    assert dialogue.client.sharing.nodes == NODES
    told = [event for event in dialogue.events() if isinstance(event, e.NodesTold)]
    assert told == [e.NodesTold(NODES)] * 2
    dialogue.play()
    assert [type(one) for one in dialogue.events()] == [e.NodesTold, e.Playing]


def test_it_is_not_asked_for_by_tcp_nor_where_it_is_not_offered_or_not_wanted() -> None:
    plain = SDP.replace("extmap:1", "extmap:2", 1).replace("urn:heliograph:bipartite", "urn:x", 1)
    for dialogue, sdp in ((Dialogue(share=False), SDP), (Dialogue(), plain)):
        requests = dialogue.set_up(sdp, agreed=True)
        assert [r.headers.get("supported") for r in requests[1:]] == [None, None]
        assert not dialogue.client.sharing.agreed
        assert not [one for one in dialogue.events() if isinstance(one, e.NodesTold)]
    dialogue = Dialogue()
    dialogue.client.describe(0.0)
    dialogue.answer(body=SDP)
    dialogue.client.setup(TCP, 0.0)
    assert dialogue.asked().headers.get("supported") is None


def test_a_server_that_does_not_agree_serves_as_ever() -> None:
    dialogue = Dialogue()
    dialogue.set_up(agreed=False)
    dialogue.client.play(0.0)
    dialogue.answer()
    assert isinstance(dialogue.events()[-1], e.Playing)
    assert not dialogue.client.sharing.agreed


def test_answers_that_contradict_each_other_end_the_session() -> None:
    dialogue = Dialogue()
    client = dialogue.client
    client.describe(0.0)
    dialogue.answer(body=SDP)
    client.setup(UDP, 0.0)
    dialogue.answer(("Session", "1"), SUPPORTED)
    dialogue.answer(("Session", "1"))
    assert isinstance(dialogue.events()[-1].error, RemoteError)

    dialogue = Dialogue()
    dialogue.client.describe(0.0)
    dialogue.answer(body=SDP)
    dialogue.client.setup(UDP, 0.0)
    for _ in UDP:
        dialogue.answer(("Session", "1"), SUPPORTED)
    dialogue.client.play(0.0)
    dialogue.answer()
    assert "which nodes send" in dialogue.events()[-1].error.message

    dialogue = Dialogue()
    dialogue.client.describe(0.0)
    dialogue.answer(body=SDP)
    dialogue.client.setup(UDP, 0.0)
    dialogue.answer(("Session", "1"), SUPPORTED, ("Bipartite", "nonsense"))
    assert isinstance(dialogue.events()[-1].error, MalformedError)


def test_a_controlling_node_that_is_gone_is_noticed_within_seconds() -> None:
    dialogue = Dialogue()
    dialogue.set_up()
    dialogue.play()
    client = dialogue.client
    assert client.timer() == SHARED_KEEPALIVE
    client.handle_timer(SHARED_KEEPALIVE)
    dialogue.asked()
    assert client.timer() == SHARED_KEEPALIVE + SHARED_TIMEOUT
    client.handle_timer(SHARED_KEEPALIVE + SHARED_TIMEOUT)
    assert "no answer" in dialogue.events()[-1].error.message


def test_another_node_takes_the_session_over_as_it_is() -> None:
    first = Dialogue()
    first.set_up()
    first.play()
    other = Dialogue("rtsp://10.1.1.2:8555/film")
    other.client.take_over(first.client, 1.0)
    asked = other.answer(("Bipartite", VALUE.replace("10.1.1.1", "10.1.1.3")))
    assert (asked.method, asked.url) == ("GET_PARAMETER", "rtsp://10.1.1.2:8555/film")
    assert asked.headers.get("session") == "ab" * 16
    assert [type(one) for one in other.events()] == [e.NodesTold, e.TakenOver]
    assert other.client.sharing.nodes is not None
    assert other.client.sharing.nodes.nodes[0].host == "10.1.1.3"
    assert other.client.state is State.PLAYING
    other.client.play(2.0, speed=1.5)
    info = "url=rtsp://10.1.1.2:8555/film/track1;seq=9"
    asked = other.answer(("RTP-Info", info), ("Speed", "1.5"))
    assert asked.headers.get("session") == "ab" * 16
    playing = other.events()[-1]
    assert [(track, found.seq) for track, found in playing.rtp_info] == [(1, 9)]


def test_a_node_that_does_not_know_the_session_does_not_get_it() -> None:
    first = Dialogue()
    first.set_up()
    other = Dialogue("rtsp://10.1.1.2:8555/film")
    other.client.take_over(first.client, 1.0)
    other.answer(status=454)
    assert isinstance(other.events()[-1].error, WrongStateError)
    lonely = Dialogue(share=False)
    lonely.set_up()
    with pytest.raises(WrongStateError):
        Dialogue().client.take_over(lonely.client, 1.0)
