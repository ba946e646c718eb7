"""The server machine: a publisher's way from the handshake to the end, and every refusal."""

from __future__ import annotations

import pytest
from tests.unit.protocols.rtmp.client import AVC, HANDSHAKE, Client, answers, code

from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    UnauthorizedError,
    WrongStateError,
)
from heliograph.protocols.rtmp import ServerSession, amf, chunks, events
from heliograph.protocols.rtmp.server import (
    IDLE_TIMEOUT,
    MAX_WAITING,
    PING_AFTER,
    SETUP_TIMEOUT,
    State,
)


def published() -> Client:
    client = Client()
    client.publish()
    client.session.accept()
    client.take()
    return client


def test_a_publisher_is_announced_with_name_and_key() -> None:
    client = Client()
    client.publish("camera?key=secret&x=1", "live/in?token=t&key=other")
    asked = client.events[-1]
    assert isinstance(client.events[0], events.Connected)
    assert asked == events.PublishRequested(
        "live/in", "camera", {"token": "t", "key": "secret", "x": "1"}
    )
    assert "secret" not in repr(asked)


def test_accepting_tells_the_publisher_to_begin() -> None:
    client = Client()
    client.publish()
    client.session.accept()
    told = client.take()
    assert [code(c) for c in answers(told)] == ["NetStream.Publish.Start"]
    assert all(m.stream == 1 for m in told if m.type == chunks.COMMAND)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (UnauthorizedError("wrong key"), "NetStream.Publish.Unauthorized"),
        (ConflictError("somebody is on air"), "NetStream.Publish.BadName"),
        (BusyError("full"), "NetStream.Publish.Rejected"),
    ],
)
def test_a_refusal_says_why_and_closes(error: HelioError, expected: str) -> None:
    client = Client()
    client.publish()
    client.session.refuse(error)
    (answer,) = answers(client.take())
    assert code(answer) == expected
    assert error.message in str(answer.arguments)
    assert client.session.closing
    client.session.connection_lost()
    assert client.session.next_event() is None


def test_connect_lists_the_codecs_of_enhanced_rtmp() -> None:
    client = Client()
    (answer,) = client.connect(fourCcList=["hvc1"])
    assert answer.name == "_result"
    assert {"hvc1", "av01", "Opus"} <= set(answer.object()["fourCcList"])  # type: ignore[arg-type]
    assert client.events[0].enhanced  # type: ignore[union-attr]


def test_unknown_commands_are_answered_and_harmless() -> None:
    client = Client()
    client.connect()
    (answer,) = answers(client.command("makeCoffee", None))
    assert answer.name == "_error"
    assert not client.session.closing
    assert [a.name for a in answers(client.command("_checkbw", None))] == ["_result"]


def test_playing_is_refused() -> None:
    client = Client()
    client.connect()
    client.command("createStream", None)
    (answer,) = answers(client.command("play", None, "camera", stream=1))
    assert code(answer) == "NetStream.Play.Failed"
    assert client.session.closing


def test_one_connection_publishes_once() -> None:
    client = published()
    client.command("createStream", None)
    (answer,) = answers(client.command("publish", None, "other", "live", stream=2))
    assert code(answer) == "NetStream.Publish.BadName"
    assert client.session.state is State.PUBLISHING


@pytest.mark.parametrize("how", ["FCUnpublish", "deleteStream", "closeStream", "lost"])
def test_the_end_comes_once(how: str) -> None:
    client = published()
    if how == "FCUnpublish":
        client.command("FCUnpublish", None, "camera")
        client.command("deleteStream", None, 1)
    elif how == "deleteStream":
        client.command("deleteStream", None, 1)
    elif how == "closeStream":
        client.command("closeStream", None, stream=1)
    client.session.connection_lost()
    client.take()
    ends = [e for e in client.events if isinstance(e, events.Ended)]
    assert [e.reason for e in ends] == ["connection lost" if how == "lost" else "unpublished"]


def test_what_comes_before_the_answer_waits_within_bounds() -> None:
    client = Client()
    client.publish()
    client.give(client.message(chunks.VIDEO, AVC, stream=1))
    early = client.message(chunks.AUDIO, b"\xaf\x00\x12\x10", stream=1)
    client.give(early)
    assert not any(isinstance(e, events.TracksChanged) for e in client.events)
    client.session.accept()
    client.take()
    assert any(isinstance(e, events.TracksChanged) for e in client.events)

    client = Client()
    client.publish()
    client.give(bytes(MAX_WAITING + 1))
    assert isinstance(client.events[-1], events.ConnectionFailed)
    with pytest.raises(WrongStateError):
        client.session.accept()


def test_a_silent_publisher_is_asked_and_then_ended() -> None:
    client = published()
    session = client.session
    assert session.timer() == PING_AFTER
    session.handle_timer(PING_AFTER)
    (ping,) = client.take()
    assert (ping.type, ping.body[:2]) == (chunks.USER_CONTROL, b"\0\6")
    client.now = PING_AFTER + 1
    client.give(client.message(chunks.USER_CONTROL, b"\0\7" + ping.body[2:]))
    assert session.timer() == client.now + PING_AFTER
    session.handle_timer(client.now + PING_AFTER)
    session.handle_timer(client.now + IDLE_TIMEOUT)
    client.take()
    assert [type(e) for e in client.events[-2:]] == [events.Ended, events.ConnectionFailed]
    assert session.closing


def test_who_does_not_publish_in_time_is_dismissed() -> None:
    client = Client()
    client.connect()
    client.session.handle_timer(SETUP_TIMEOUT)
    client.take()
    assert isinstance(client.events[-1], events.ConnectionFailed)
    assert client.session.timer() is None


def test_pings_are_answered_and_windows_acknowledged() -> None:
    client = published()
    (pong,) = client.give(client.message(chunks.USER_CONTROL, b"\0\6\1\2\3\4"))
    assert pong.body == b"\0\7\1\2\3\4"
    (ack,) = client.give(client.message(chunks.WINDOW_SIZE, (1000).to_bytes(4, "big")))
    assert ack.type == chunks.ACKNOWLEDGEMENT
    assert int.from_bytes(ack.body, "big") == client.session.received


def test_one_track_goes_on_alone_when_the_other_does_not_come() -> None:
    client = published()
    client.media(chunks.VIDEO, AVC)
    frame = b"\x17\x01\0\0\0" + b"\0\0\0\x03\x65\x88\x80"
    assert client.media(chunks.VIDEO, frame, 10) == []
    client.session.handle_timer(client.session.timer() or 0.0)
    client.take()
    assert [type(e) for e in client.events[-2:]] == [events.TracksChanged, events.UnitReceived]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n", b"\x06" + bytes(1536), HANDSHAKE + b"\xc3" * 20]
)
def test_other_protocols_are_dismissed(data: bytes) -> None:
    client = Client()
    client.give(data)
    assert isinstance(client.events[-1], events.ConnectionFailed)
    assert client.session.closing


def test_commands_before_connect_and_huge_ones_are_dismissed() -> None:
    client = Client()
    client.give(HANDSHAKE)
    client.command("createStream", None)
    assert isinstance(client.events[-1], events.ConnectionFailed)

    client = Client()
    client.give(HANDSHAKE)
    client.command("connect", {"app": "a" * 70_000})
    assert isinstance(client.events[-1], events.ConnectionFailed)


def test_an_aggregate_message_holds_tags() -> None:
    client = published()
    config, sound = b"\xaf\x00\x12\x10", b"\xaf\x01\x21\x10\x05"
    body = b""
    for stamp, tag in ((100, config), (123, sound)):
        head = b"\x08" + len(tag).to_bytes(3, "big") + stamp.to_bytes(3, "big") + bytes(4)
        body += head + tag + (len(tag) + 11).to_bytes(4, "big")
    client.give(
        client.message(chunks.DATA, amf.encode("onMetaData", {"audiocodecid": 10}), stream=1)
    )
    made = client.media(chunks.AGGREGATE, body, 40)
    assert [type(e) for e in made] == [events.TracksChanged, events.UnitReceived]
    assert made[1].unit.dts == round(0.023 * 44_100)  # type: ignore[union-attr]


def test_media_for_nobody_is_ignored() -> None:
    session = ServerSession(random=bytes)
    client = Client(session)
    client.connect()
    client.give(client.message(chunks.VIDEO, AVC, stream=1))
    assert session.ignored == 1
    assert not session.closing
