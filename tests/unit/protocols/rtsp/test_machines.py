"""Server and client joined in memory, and real players' dialogues replayed to the server."""

from dataclasses import replace
from pathlib import Path

import pytest

from heliograph.model.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    RemoteError,
    UnauthorizedError,
    UnsupportedError,
)
from heliograph.protocols import sdp
from heliograph.protocols.rtsp import (
    BANDWIDTH,
    Authenticator,
    ClientSession,
    MessageParser,
    Response,
    ServerSession,
    State,
    Transport,
    Verdict,
    events,
)

DATA = Path(__file__).parents[3] / "data" / "rtsp"
DIALOGUES = sorted(DATA.glob("*.bin"))
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:streamid=0\r\n"
    "m=audio 0 RTP/AVP 0\r\na=control:streamid=1\r\n"
)
TRACKS = sdp.tracks_from_sdp(sdp.parse_sdp(SDP))
TCP = [
    (0, Transport(lower="TCP", interleaved=(0, 1))),
    (1, Transport(lower="TCP", interleaved=(2, 3))),
]
UDP = [(0, Transport(client_port=(5000, 5001))), (1, Transport(client_port=(5002, 5003)))]


class Adapter:
    """The least that answers a server machine."""

    def __init__(self, *, key=None, udp=True, refuse=None, start=0.0):
        authenticator = Authenticator("heliograph", b"s" * 32)
        self.session = ServerSession(
            new_session_id=lambda: "0123456789abcdef", authenticator=authenticator, now=start
        )
        self.key, self.udp, self.refuse = key, udp, refuse
        self.events = []
        self.verdicts = []

    def receive(self, data, now=1.0):
        self.session.receive_data(data, now)
        while (event := self.session.next_event()) is not None:
            self.events.append(event)
            self.answer(event)
        return self.session.data_to_send()

    def answer(self, event):  # noqa: C901 - one case an event
        s = self.session
        if self.key and isinstance(event, events.DescribeRequested | events.AnnounceRequested):
            self.verdicts.append(s.authenticate(["other", self.key]))
            if self.verdicts[-1] is not Verdict.GOOD:
                s.refuse(UnauthorizedError("stream key needed"))
                return
        if self.refuse is not None and type(event).__name__.endswith("Requested"):
            s.refuse(self.refuse)
            return
        match event:
            case events.DescribeRequested():
                s.describe_ok(sdp.sdp_for_channel("demo", "Demo", TRACKS, 1))
            case events.AnnounceRequested():
                s.announce_ok()
            case events.SetupRequested():
                usable = [t for t in event.transports if t.is_tcp or self.udp]
                if not usable:
                    s.refuse(UnsupportedError("UDP is off"))
                elif usable[0].is_tcp:
                    s.setup_ok(usable[0])
                else:
                    s.setup_ok(replace(usable[0], server_port=(8000, 8001)))
            case events.PlayRequested():
                s.play_ok({track: (track + 10, 1000) for track in event.tracks})
            case events.StrayPlayRequested():
                s.refuse(NotFoundError("no session"), status=454)
            case events.RecordRequested():
                s.record_ok()
            case events.PauseRequested():
                s.pause_ok()
            case events.TeardownRequested():
                s.teardown_ok()
            case events.ParameterRequested():
                s.parameter_ok(b"a: 1\r\n")


def responses(data):
    parser = MessageParser()
    parser.feed(data)
    found = []
    while (message := parser.next_message()) is not None:
        found.append(message)
    return found


def join(client, adapter, now=1.0):
    seen = []
    while True:
        data = client.data_to_send()
        if not data:
            return seen
        client.receive_data(adapter.receive(data, now), now)
        while (event := client.next_event()) is not None:
            seen.append(event)


def new_client(url="rtsp://me:secret@host:8554/demo"):
    return ClientSession(url, cnonce="0123456789abcdef")


def playing(adapter, tracks=None):
    client = new_client()
    client.describe(1.0)
    join(client, adapter)
    client.setup(tracks or TCP, 1.0)
    client.play(1.0)
    return client, join(client, adapter)


def ask(adapter, method, url="rtsp://h/demo", cseq=1, now=1.0, body="", **headers):
    lines = [f"{method} {url} RTSP/1.0", f"CSeq: {cseq}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    data = adapter.receive(("\r\n".join(lines) + "\r\n\r\n" + body).encode(), now)
    found = responses(data)
    assert all(isinstance(m, Response) for m in found)
    return found[0] if found else None


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda p: p.stem)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_real_dialogues_are_served(path, step):
    raw = path.read_bytes()
    adapter = Adapter(
        key="secret" if "auth" in path.stem else None,
        udp=not ("refused" in path.stem or "noudp" in path.stem),
    )
    now = 1.0
    if "auth" in path.stem:  # the nonce says when the dialogue was
        now = int(raw.partition(b'nonce="')[2][:12], 16) / 1000
    out = b"".join(adapter.receive(raw[i : i + step], now) for i in range(0, len(raw), step))
    found = responses(out)
    statuses = [response.status for response in found]
    if "auth" in path.stem:
        assert statuses.count(401) == 1
        assert adapter.verdicts[-1] is Verdict.GOOD
    assert set(statuses) <= {200, 401, 461}
    assert [r.headers.get("cseq") for r in found] == [str(i + 1) for i in range(len(found))]
    wanted = events.RecordRequested if "push" in path.stem else events.PlayRequested
    assert any(isinstance(e, wanted) for e in adapter.events) or path.stem == "gst_play_mcast"


def test_a_client_pulls_over_tcp_and_learns_where_the_tracks_begin():
    adapter = Adapter(key="secret")
    client, seen = playing(adapter)
    assert client.state is State.PLAYING
    assert adapter.session.state is State.PLAYING
    assert [type(e).__name__ for e in seen] == ["TrackReady", "TrackReady", "Ready", "Playing"]
    assert [(track, info.seq) for track, info in seen[-1].rtp_info] == [(0, 10), (1, 11)]
    client.receive_data(b"$\x02\x00\x03abc$\x07\x00\x01x", 1.0)
    assert client.next_event() == events.Frame(1, False, b"abc")
    assert client.next_event() is None


def test_a_client_pushes_and_the_server_receives_its_frames():
    adapter = Adapter(key="secret")
    client = new_client("rtsp://me:secret@host/demo")
    client.announce(SDP, 1.0)
    client.setup(TCP, 1.0)
    client.record(1.0)
    assert isinstance(join(client, adapter)[-1], events.Recording)
    assert adapter.session.record
    client.send_frame(1, b"rr", rtcp=True)
    adapter.receive(client.data_to_send())
    assert adapter.events[-1] == events.FrameReceived(1, True, b"rr")


def test_udp_refused_is_told_so_that_the_adapter_changes_to_tcp():
    adapter = Adapter(udp=False)
    client, seen = playing(adapter, UDP)
    assert seen == [events.TransportRefused(0)]
    client.setup(TCP, 1.0)
    client.play(1.0)
    assert isinstance(join(client, adapter)[-1], events.Playing)


def test_a_session_over_udp_is_torn_down_before_it_is_set_up_over_tcp():
    adapter = Adapter()
    client, _ = playing(adapter, UDP)
    client.setup(TCP, 1.0)
    client.play(1.0)
    assert isinstance(join(client, adapter)[-1], events.Playing)
    assert all(t.is_tcp for t in adapter.session.transports.values())


def test_a_wrong_key_fails_after_one_try_and_is_never_shown():
    adapter = Adapter(key="another")
    client = new_client()
    client.describe(1.0)
    (failed,) = join(client, adapter)
    assert isinstance(failed.error, UnauthorizedError)
    assert adapter.verdicts == [Verdict.MISSING, Verdict.WRONG]
    assert "secret" not in repr(client) + str(failed.error) + client.url


def test_a_stale_nonce_is_answered_with_a_new_one():
    adapter = Adapter(key="secret")
    client = new_client()
    client.describe(1.0)
    join(client, adapter)
    client.describe(1000.0)
    assert isinstance(join(client, adapter, 1000.0)[-1], events.Described)
    assert adapter.verdicts[-2:] == [Verdict.STALE, Verdict.GOOD]


def test_the_key_in_the_query_is_enough():
    adapter = Adapter(key="secret")
    assert ask(adapter, "DESCRIBE", "rtsp://h/demo?key=secret").status == 200
    assert ask(adapter, "DESCRIBE", "rtsp://h/demo?key=wrong").status == 401


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("no channel"), 404),
        (ConflictError("taken"), 409),
        (BusyError("full", retry_after=3), 503),
        (BusyError("no more", subject=BANDWIDTH), 453),
        (UnsupportedError("codec"), 415),
        (RemoteError("secret inside"), 502),
    ],
)
def test_refusals_have_their_status_and_only_peers_faults_their_words(error, status):
    response = ask(Adapter(refuse=error), "DESCRIBE")
    assert response.status == status
    assert ("secret" in response.reason) is False
    assert response.headers.get("retry-after") == ("3" if "full" in str(error) else None)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("OPTIONS", {}, 200),
        ("JUMP", {}, 501),
        ("PLAY", {}, 454),
        ("PLAY", {"Session": "nobody"}, 454),
        ("DESCRIBE", {"Require": "x.y"}, 551),
        ("DESCRIBE", {"Accept": "text/html"}, 406),
        ("ANNOUNCE", {"Content_Type": "text/plain"}, 415),
        ("ANNOUNCE", {"Content_Type": "application/sdp"}, 400),
        ("SETUP", {}, 400),
        ("SETUP", {"Transport": "RTP/SAVP;unicast;client_port=1-2"}, 461),
        ("SETUP", {"Transport": "RTP/AVP;unicast"}, 461),
        ("GET_PARAMETER", {}, 200),
    ],
)
def test_requests_outside_a_session(method, headers, status):
    assert ask(Adapter(), method, **headers).status == status


def test_a_request_without_cseq_is_bad():
    (response,) = responses(Adapter().receive(b"OPTIONS * RTSP/1.0\r\n\r\n"))
    assert response.status == 400


def test_aggregate_rules_and_states():
    adapter = Adapter()
    ask(adapter, "DESCRIBE")
    tcp = "RTP/AVP/TCP;unicast;interleaved=0-1"
    assert ask(adapter, "SETUP", Transport=tcp).status == 459
    first = ask(adapter, "SETUP", "rtsp://h/demo/trackID=0", Transport=tcp)
    session = first.headers.get("session").partition(";")[0]
    udp = "RTP/AVP;unicast;client_port=5000-5001"
    kept = {"Session": session}
    track1 = "rtsp://h/demo/trackID=1"
    assert ask(adapter, "SETUP", track1, Transport=udp, **kept).status == 461
    second = ask(adapter, "SETUP", track1, Transport=tcp, **kept)
    assert "interleaved=2-3" in second.headers.get("transport")
    assert ask(adapter, "SETUP", "rtsp://h/x/trackID=0", Transport=tcp, **kept).status == 459
    assert ask(adapter, "RECORD", **kept).status == 455
    assert ask(adapter, "PLAY", track1, **kept).status == 460
    assert ask(adapter, "PLAY", Range="npt=bad", **kept).status == 457
    assert ask(adapter, "PLAY", "rtsp://h/demo/", **kept).status == 200
    assert ask(adapter, "PLAY", **kept).status == 200
    refused = ask(adapter, "ANNOUNCE", **kept)
    assert refused.status == 455
    assert "PAUSE" in refused.headers.get("allow")
    assert ask(adapter, "PAUSE", **kept).status == 200
    assert ask(adapter, "TEARDOWN", **kept).status == 200
    assert ask(adapter, "PLAY", **kept).status == 454


def test_pipelined_requests_are_answered_in_order_and_bounded():
    session = ServerSession(new_session_id=lambda: "0123456789abcdef")
    one = b"DESCRIBE rtsp://h/demo RTSP/1.0\r\nCSeq: %d\r\n\r\n"
    session.receive_data(b"".join(one % i for i in range(3)), 1.0)
    assert isinstance(session.next_event(), events.DescribeRequested)
    assert session.next_event() is None
    session.describe_ok(SDP)
    session.refuse(NotFoundError("gone"))
    session.describe_ok(SDP)
    found = responses(session.data_to_send())
    assert [(r.headers.get("cseq"), r.status) for r in found] == [
        ("0", 200),
        ("1", 404),
        ("2", 200),
    ]
    session.receive_data(b"".join(one % i for i in range(30)), 1.0)
    assert session.closing


def test_a_session_without_signs_of_life_ends():
    adapter = Adapter()
    playing(adapter)
    adapter.session.touch(50.0)
    adapter.session.handle_timer(61.0)
    assert adapter.session.next_event() is None
    adapter.session.handle_timer(adapter.session.timer())
    assert adapter.session.next_event() == events.SessionTimedOut("0123456789abcdef")
    assert adapter.session.closing


def test_a_connection_that_says_nothing_is_closed():
    adapter = Adapter()
    assert adapter.session.timer() == 30.0
    adapter.session.handle_timer(30.0)
    assert adapter.session.next_event() == events.SessionTimedOut(None)


def test_a_client_keeps_its_session_alive():
    adapter = Adapter()
    client, _ = playing(adapter)
    assert client.timer() == 31.0
    client.handle_timer(31.0)
    assert join(client, adapter, 31.0) == []
    assert client.timer() == 61.0
    assert adapter.session.timer() == 91.0


def test_a_silent_server_fails_the_client():
    client = new_client()
    client.describe(0.0)
    client.handle_timer(10.0)
    event = client.next_event()
    assert isinstance(event.error, RemoteError)
    assert client.closing


def test_a_client_follows_redirects_and_answers_the_server():
    client = new_client()
    client.describe(0.0)
    client.receive_data(
        b"RTSP/1.0 302 Found\r\nCSeq: 1\r\nLocation: rtsp://u:p@b/demo\r\n\r\n", 1.0
    )
    assert client.next_event() == events.Redirected("rtsp://b/demo", proxy=False)
    client.data_to_send()
    client.receive_data(b"OPTIONS * RTSP/1.0\r\nCSeq: 9\r\n\r\n", 1.0)
    assert b"200 OK\r\nCSeq: 9" in client.data_to_send()
    client.receive_data(b"TEARDOWN * RTSP/1.0\r\nCSeq: 10\r\n\r\n", 1.0)
    assert client.next_event() == events.Ended(by_server=True)


def test_bytes_that_are_not_rtsp_close_the_connection():
    adapter = Adapter()
    out = adapter.receive(b"\x16\x03\x01\x00\x00")
    assert isinstance(adapter.events[0], events.ConnectionFailed)
    assert adapter.session.closing
    assert responses(out)[0].status == 400


def test_answering_what_was_not_asked_is_our_own_fault():
    with pytest.raises(RuntimeError):
        Adapter().session.play_ok()
