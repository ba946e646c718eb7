"""PLAY and PAUSE of a title: what they ask for, in every state, and how they are answered."""

from __future__ import annotations

import pytest

from heliograph.model.errors import BusyError, HelioError
from heliograph.protocols.rtsp import (
    BANDWIDTH,
    MessageParser,
    Range,
    Response,
    ServerSession,
    State,
    events,
    npt,
    pause_point,
    section,
)
from heliograph.protocols.rtsp.headers import parse_range, parse_rtp_info
from heliograph.protocols.rtsp.states import status_of

TCP = "RTP/AVP/TCP;unicast;interleaved=0-1"


class Title:
    """A session of a title, set up; answers what it is told to answer."""

    def __init__(self, *, seekable: bool = True) -> None:
        self.session = ServerSession(new_session_id=lambda: "0123456789abcdef")
        self.cseq = 0
        self.ask("SETUP", "rtsp://h/film/trackID=0", Transport=TCP)
        event = self.event()
        assert isinstance(event, events.SetupRequested)
        self.session.setup_ok(event.transports[0], seekable=seekable)
        assert self.answer().status == 200

    def ask(self, method: str, url: str = "rtsp://h/film", **headers: str) -> None:
        self.cseq += 1
        if self.session.session_id is not None:
            headers["Session"] = self.session.session_id
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self.cseq}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.session.receive_data(("\r\n".join(lines) + "\r\n\r\n").encode(), 1.0)

    def event(self) -> events.ServerEvent | None:
        return self.session.next_event()

    def answer(self) -> Response:
        parser = MessageParser()
        parser.feed(self.session.data_to_send())
        message = parser.next_message()
        assert isinstance(message, Response)
        return message

    def play(self, **headers: str) -> events.PlayRequested:
        self.ask("PLAY", **headers)
        event = self.event()
        assert isinstance(event, events.PlayRequested)
        return event


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        (None, None, None),
        ("npt=now-", None, None),
        ("npt=0-", 0.0, None),
        ("npt=12.5-", 12.5, None),
        ("npt=12.5", 12.5, None),
        ("npt=0:01:02.5-", 62.5, None),
        ("npt=10-20", 10.0, 20.0),
        ("npt=-20", None, 20.0),
        ("npt=99-100", 99.0, None),
        ("npt=50-200", 50.0, None),
    ],
)
def test_a_range_says_what_of_a_title_is_played(text, start, end):
    found = section(None if text is None else parse_range(text), 100.0)
    assert (found.start, found.end) == (start, end)


@pytest.mark.parametrize(
    "text",
    [
        "npt=100-",
        "npt=101-",
        "npt=20-10",
        "npt=20-20",
        "npt=-0",
        "clock=20260101T000000Z-",
        "smpte=0:00:10-",
    ],
)
def test_what_a_title_does_not_have_is_an_invalid_range(text):
    with pytest.raises(HelioError) as refused:
        section(parse_range(text), 100.0)
    assert status_of(refused.value, "PLAY") == 457


def test_a_title_without_length_can_be_asked_for_from_its_start():
    assert section(parse_range("npt=0-"), 0.0).start == 0.0


@pytest.mark.parametrize(
    ("text", "point"), [(None, None), ("npt=now-", None), ("npt=15-", 15.0), ("npt=15", 15.0)]
)
def test_a_pause_has_a_point_or_is_at_once(text, point):
    assert pause_point(None if text is None else parse_range(text), 100.0) == point


@pytest.mark.parametrize("text", ["npt=15-20", "npt=101-", "clock=20260101T000000Z-"])
def test_a_pause_at_what_is_no_point_of_the_title_is_refused(text):
    with pytest.raises(HelioError) as refused:
        pause_point(parse_range(text), 100.0)
    assert status_of(refused.value, "PAUSE") == 457


def test_play_while_playing_is_asked_about_and_told_apart():
    title = Title()
    first = title.play(Range="npt=0-")
    assert not first.playing
    title.session.play_ok()
    title.answer()
    again = title.play(Range="npt=30-40", Scale="2", Speed="1.5")
    assert again.playing
    assert (again.range, again.scale, again.speed) == (Range("npt", "30", "40"), 2.0, 1.5)
    title.session.play_ok(None, npt(29.5, 40.0), scale=2.0, speed=1.0)
    answer = title.answer()
    assert answer.headers.get("range") == "npt=29.500000-40.000000"
    assert answer.headers.get("scale") == "2.000"
    assert answer.headers.get("speed") == "1.000"
    assert title.session.state is State.PLAYING


def test_live_goes_on_whatever_play_and_pause_ask_for():
    live = Title(seekable=False)
    live.play(Range="npt=0-", Speed="-1")
    live.session.play_ok()
    assert live.answer().headers.get("scale") is None
    live.ask("PLAY", Range="npt=30-")
    assert live.event() is None
    assert live.answer().headers.get("range") == "npt=now-"
    live.ask("PAUSE", Range="nonsense")
    assert live.event() == events.PauseRequested(events.Target("h", "film"))


def test_the_answer_tells_where_each_track_begins():
    title = Title()
    title.play()
    title.session.play_ok({0: (65535, 4294967295), 7: (1, 1)}, npt(0.0, 60.0))
    (info,) = parse_rtp_info(title.answer().headers.get("rtp-info"))
    assert (info.url, info.seq, info.rtptime) == ("rtsp://h/film/trackID=0", 65535, 4294967295)


def test_a_title_can_be_paused_at_a_point_and_again_while_it_is_paused():
    title = Title()
    title.play()
    title.session.play_ok()
    title.answer()
    for point in ("npt=15-", "npt=20-"):
        title.ask("PAUSE", Range=point)
        event = title.event()
        assert isinstance(event, events.PauseRequested)
        assert event.range == parse_range(point)
        title.session.pause_ok()
        assert title.answer().status == 200
        assert title.session.state is State.READY


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "npt=x-"}, 457),
        ({"Range": "utc=1-"}, 457),
        ({"Scale": "fast"}, 400),
        ({"Scale": "nan"}, 400),
        ({"Speed": "0"}, 400),
        ({"Speed": "-1"}, 400),
        ({"Speed": "inf"}, 400),
    ],
)
def test_headers_that_cannot_be_read_are_refused(headers, status):
    title = Title()
    title.ask("PLAY", **headers)
    assert title.event() is None
    assert title.answer().status == status
    assert title.session.state is State.READY


def test_a_spent_budget_is_not_enough_bandwidth():
    title = Title()
    title.play()
    title.session.refuse(BusyError("the disks give no more", subject=BANDWIDTH, retry_after=10))
    answer = title.answer()
    assert (answer.status, answer.headers.get("retry-after")) == (453, "10")
    assert "the disks give no more" in answer.reason
