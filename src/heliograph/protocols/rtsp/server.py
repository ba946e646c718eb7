"""The server's side of one RTSP connection, without input or output.

Feed what was received, take events, answer each ``…Requested`` once, send what ``data_to_send``
gives. Requests that come meanwhile wait in order. Session states follow ``states.TRANSITIONS``.

One connection has at most one session, and a session lives on the connection that made it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    UnauthorizedError,
    WrongStateError,
)
from heliograph.protocols.rtsp.addressing import Addressing
from heliograph.protocols.rtsp.answers import allow, answer, detail_of, retry_after
from heliograph.protocols.rtsp.asking import Granted, read_request
from heliograph.protocols.rtsp.auth import Authenticator, Verdict
from heliograph.protocols.rtsp.events import (
    AnnounceRequested,
    ConnectionFailed,
    DescribeRequested,
    FrameReceived,
    ParameterRequested,
    PauseRequested,
    PlayRequested,
    RecordRequested,
    ServerEvent,
    SessionShown,
    SessionTimedOut,
    SetupRequested,
    TeardownRequested,
)
from heliograph.protocols.rtsp.guard import Guard
from heliograph.protocols.rtsp.headers import (
    DEFAULT_TIMEOUT,
    LIVE,
    Range,
    SessionHeader,
    Transport,
)
from heliograph.protocols.rtsp.messages import (
    Headers,
    InterleavedFrame,
    Message,
    MessageParser,
    Request,
    Response,
)
from heliograph.protocols.rtsp.playing import Starts, play_headers
from heliograph.protocols.rtsp.requests import RequestRefused
from heliograph.protocols.rtsp.session import Session
from heliograph.protocols.rtsp.states import REASONS, State, status_of
from heliograph.protocols.rtsp.targets import Target, strip_query

#: Requests that may wait behind the one being answered. Players pipeline one SETUP a track.
MAX_PIPELINE = 16
#: Characters of a User-Agent: what a table of readers can show; the longest known has 90.
MAX_AGENT = 120
#: Seconds a connection without a session may stay silent; a whole set-up takes less than one.
IDLE_TIMEOUT = 30.0


class ServerSession:
    """The state machine of one connection."""

    def __init__(
        self,
        *,
        new_session_id: Callable[[], str],
        authenticator: Authenticator | None = None,
        timeout: int = DEFAULT_TIMEOUT,
        idle_timeout: float = IDLE_TIMEOUT,
        server: str = "heliograph",
        now: float = 0.0,
        knows: Callable[[str], bool] | None = None,
    ) -> None:
        """``new_session_id``: at least 64 random bits as text without blanks, ``;`` and ``,``.

        ``authenticator``: gives challenges and checks credentials; without it 401 has no challenge.
        ``timeout``: seconds a session lives without a sign of life. ``now``: seconds, any origin.
        ``knows``: whether a session of that id, begun on another connection, can go on here.
        """
        self._new_session_id = new_session_id
        self._guard = Guard(authenticator)
        self._timeout = timeout
        self._idle_timeout = idle_timeout
        self._server = server
        self._knows = knows
        self._notes: dict[str, Callable[[], str]] = {}
        self._now = self._last_seen = now
        self._parser = MessageParser()
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        self._pending_event: ServerEvent | None = None
        self._events: deque[ServerEvent] = deque()
        self._out = bytearray()
        self._own_cseq = 0
        self.user_agent = ""
        """What the client calls itself: its newest User-Agent, printable, ``MAX_AGENT`` at most."""
        self.closing = False
        """Whether the connection is to be closed once ``data_to_send`` has been sent."""
        self._forget_session()
        self._addressing = Addressing()

    def _forget_session(self) -> None:
        self._session = Session()
        self._notes.clear()

    @property
    def state(self) -> State:
        """State of the session."""
        return self._session.state

    @property
    def session_id(self) -> str | None:
        """Id of the session, ``None`` in state ``INIT``."""
        return self._session.id

    @property
    def transports(self) -> dict[int, Transport]:
        """Agreed transport of each track that was set up, in that order."""
        return self._session.transports

    @property
    def path(self) -> str | None:
        """Channel path of the session."""
        return self._session.path

    @property
    def record(self) -> bool:
        """Whether the client is or was going to send in this session."""
        return self._session.record

    @property
    def seekable(self) -> bool:
        """Whether PLAY and PAUSE are asked about in every state, as of a title; live goes on."""
        return self._session.seekable

    # --- bytes and events ---------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the connection; ``now`` in seconds never goes back."""
        self._now = now
        if self.closing:
            return
        self._parser.feed(data)
        try:
            while not self.closing and (message := self._parser.next_message()) is not None:
                self._last_seen = now
                self._take(message)
        except MalformedError as error:
            self._fail(error)

    def next_event(self) -> ServerEvent | None:
        """The next event, in order."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Everything to be written to the connection now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def take_unread(self) -> bytes:
        """Take what was received and not used, so that whoever reads the connection on begins
        with it. ``WrongStateError`` in the middle of a body, whose head is used already.
        """
        unread = self._parser.pending
        if self._parser.midway and not unread:
            raise WrongStateError("a request is half received", subject="rtsp")
        self._parser = MessageParser()
        return unread

    def touch(self, now: float) -> None:
        """Note a sign of life that came another way: RTCP, or media of a publisher."""
        self._now = now
        self._last_seen = max(self._last_seen, now)

    def timer(self) -> float | None:
        """When ``handle_timer`` is due; ask again after every call."""
        if self.closing or self._current is not None:
            return None  # while a request waits for its answer the silence is ours
        return self._last_seen + (self._idle_timeout if self.session_id is None else self._timeout)

    def handle_timer(self, now: float) -> None:
        """End a session, or a connection without one, that gave no sign of life."""
        self._now = now
        due = self.timer()
        if due is None or now < due:
            return
        self._events.append(SessionTimedOut(self.session_id))
        self._forget_session()
        self.closing = True

    def _fail(self, error: HelioError) -> None:
        self._queue.clear()
        if self._current is None:
            status = status_of(error, "")
            self._out += Response(
                status, REASONS[status], Headers([("Server", self._server)])
            ).serialize()
        self._events.append(ConnectionFailed(error))
        self.closing = True

    def _take(self, message: Message) -> None:
        if isinstance(message, InterleavedFrame):
            self._take_frame(message)
        elif isinstance(message, Request):
            if len(self._queue) >= MAX_PIPELINE:
                self._fail(BusyError(f"more than {MAX_PIPELINE} requests wait", subject="rtsp"))
                return
            self._note_agent(message)
            self._queue.append(message)
            self._advance()
        # A response answers a request of ours (TEARDOWN): nothing follows from it.

    def _note_agent(self, request: Request) -> None:
        agent = request.headers.get("user-agent")
        if agent is not None:
            self.user_agent = "".join(c for c in agent if c.isprintable()).strip()[:MAX_AGENT]

    def _take_frame(self, frame: InterleavedFrame) -> None:
        for track, transport in self.transports.items():
            if transport.interleaved is not None and frame.channel in transport.interleaved:
                rtcp = frame.channel != transport.interleaved[0]
                self._events.append(FrameReceived(track, rtcp, frame.data))
                return
        # Frames on channels nobody set up are dropped; late ones come after TEARDOWN.

    def _advance(self) -> None:
        """Handle requests until one must wait for the adapter."""
        while self._current is None and self._queue and not self.closing:
            self._current = self._queue.popleft()
            self._guard.begin()
            self._try(self._current)

    def _try(self, request: Request) -> None:
        try:
            self._handle(request)
        except RequestRefused as refusal:
            self._respond(refusal.status, refusal.headers)
        except HelioError as error:
            self._respond_error(error, None)

    # --- requests -----------------------------------------------------------------------------

    def _handle(self, request: Request) -> None:
        found = read_request(request, self._session, self._addressing, self._knows)
        if isinstance(found, Granted):
            self._respond(200, found.headers)
            return
        self._pending_event = found
        self._events.append(found)

    # --- answers ------------------------------------------------------------------------------

    @property
    def waiting(self) -> ServerEvent | None:
        """The request that waits for its answer."""
        return self._pending_event

    def authenticate(self, keys: Iterable[str]) -> Verdict:
        """Check the waiting request's credentials, Authorization or ``?key=``, against ``keys``."""
        request = self._require()
        target = getattr(self._pending_event, "target", None)
        return self._guard.check(
            request, target if isinstance(target, Target) else None, keys, self._now
        )

    @property
    def secret(self) -> str:
        """The key that the waiting request shows in clear, by Basic or ``?key=``; may be empty."""
        target = getattr(self._pending_event, "target", None)
        return self._guard.secret(self._require(), target if isinstance(target, Target) else None)

    def describe_ok(self, sdp: str, base: str | None = None) -> None:
        """Answer DESCRIBE. ``base``: Content-Base; the request's URL with a slash otherwise."""
        request = self._require(DescribeRequested)
        if base is None:
            base = strip_query(request.url).rstrip("/") + "/"
        self._addressing.describe(request.url, sdp)
        headers = [("Content-Base", base), ("Content-Type", "application/sdp")]
        self._respond(200, headers, sdp.encode("utf-8"))

    def announce_ok(self) -> None:
        """Answer ANNOUNCE."""
        request = self._require(AnnounceRequested)
        event = self._pending_event
        assert isinstance(event, AnnounceRequested)
        self._addressing.announce(request.url, event)
        self._respond(200)

    def setup_ok(self, transport: Transport, *, seekable: bool = False) -> None:
        """Answer SETUP with what was agreed: one of the event's transports, completed.

        UDP needs ``server_port``; multicast ``destination``, ``port`` and ``ttl``. ``seekable``:
        the session is of a title.
        """
        request = self._require(SetupRequested)
        event = self._pending_event
        assert isinstance(event, SetupRequested)
        session = self._session
        if session.id is None:
            session.id = self._new_session_id()
            session.path, session.record = event.target.path, event.record
        session.transports[event.track], session.seekable = transport, seekable
        session.setup_urls[event.track] = request.url
        session.move("SETUP")
        self._respond(200, [("Transport", replace(transport, cast_stated=True).serialize())])

    def play_ok(
        self,
        starts: Starts | None = None,
        range: Range | None = LIVE,
        *,
        scale: float | None = None,
        speed: float | None = None,
    ) -> None:
        """Answer PLAY. ``starts``: first sequence number and RTP timestamp of each track; ``scale``
        and ``speed``: what was really chosen, None where nobody asked."""
        self._require(PlayRequested)
        urls = {track: self._session.setup_urls[track] for track in self.transports}
        self._session.move("PLAY")
        self._respond(200, play_headers(urls, starts, range, scale, speed))

    def record_ok(self) -> None:
        """Answer RECORD."""
        self._require(RecordRequested)
        self._session.move("RECORD")
        self._respond(200)

    def pause_ok(self) -> None:
        """Answer PAUSE."""
        self._require(PauseRequested)
        self._session.move("PAUSE")
        self._respond(200)

    def teardown_ok(self) -> None:
        """Answer TEARDOWN; the session is gone, the connection stays for another one."""
        self._require(TeardownRequested)
        self._respond(200, end=True)

    def parameter_ok(self, body: bytes = b"") -> None:
        """Answer GET_PARAMETER or SET_PARAMETER."""
        self._require(ParameterRequested)
        self._respond(200, [("Content-Type", "text/parameters")] if body else [], body)

    def resume_ok(
        self, session_id: str, path: str, transports: Mapping[int, Transport], *, playing: bool
    ) -> None:
        """Go on with a title's session of another connection, and handle the request that named
        it."""
        request = self._require(SessionShown)
        base = strip_query(request.url).rstrip("/")
        self._session = Session(
            State.PLAYING if playing else State.READY,
            session_id,
            dict(transports),
            path,
            seekable=True,
            setup_urls={track: f"{base}/trackID={track}" for track in transports},
        )
        self._pending_event = None
        self._try(request)

    def shown(self, name: str) -> str:
        """A header of the waiting request, all its lines; empty where it has none."""
        return self._require().headers.joined(name) or ""

    def note(self, name: str, value: Callable[[], str]) -> None:
        """Have a header go with the next answer that grants something, its value as it is then."""
        self._notes[name] = value

    def redirect(self, url: str, status: int = 302) -> None:
        """Answer any request by sending the client elsewhere."""
        self._require()
        self._respond(status, [("Location", url)])

    def refuse(self, error: HelioError, *, status: int | None = None, digest: bool = True) -> None:
        """Answer any request with an error; 401 carries challenges, with ``digest`` Digest too."""
        self._require()
        self._respond_error(error, status, digest=digest)

    def end_session(self) -> None:
        """Tell the client that its session is over (RFC 7826 §13.7.2) and close the connection."""
        self._request("TEARDOWN")
        self._forget_session()
        self.closing = True

    def leave(self) -> None:
        """Close the connection; its session goes on elsewhere."""
        self._forget_session()
        self.closing = True

    def send_elsewhere(self, url: str) -> None:
        """Tell the client of a session where it is served from now on (RFC 2326 §10.10)."""
        self._request("REDIRECT", ("Location", url))

    def _request(self, method: str, *headers: tuple[str, str]) -> None:
        if self.session_id is None or self.path is None:
            return
        self._own_cseq += 1
        shown = [("CSeq", str(self._own_cseq)), ("Session", self.session_id), *headers]
        url = next(iter(self._session.setup_urls.values()))
        self._out += Request(method, url, Headers(shown)).serialize()

    def _require(self, kind: type[object] = object) -> Request:
        """The request being answered. Answering what was not asked is our own fault."""
        if self._current is None or not isinstance(self._pending_event, kind):
            raise RuntimeError(f"{kind.__name__} is not waiting for an answer")
        return self._current

    def _respond_error(self, error: HelioError, status: int | None, *, digest: bool = True) -> None:
        request = self._current
        assert request is not None
        status = status or status_of(error, request.method)
        headers = retry_after(error)
        if isinstance(error, UnauthorizedError):
            headers.extend(self._guard.challenges(self._now, digest=digest))
        self._respond(status, headers, detail=detail_of(error))

    def _respond(
        self,
        status: int,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        *,
        detail: str = "",
        end: bool = False,
    ) -> None:
        """Send the response to the current request and go on with the next one."""
        request = self._current
        assert request is not None
        self._guard.end(request, self._now)
        fields = [("Server", self._server)]
        if status == 455:
            fields.append(allow(self.state))
        if self.session_id is not None and status != 454:
            header = SessionHeader(self.session_id, self._timeout)
            fields.append(("Session", header.id if end else header.serialize()))
        if status == 200:
            fields += [(name, value()) for name, value in self._notes.items()]
            self._notes.clear()
        self._out += answer(request, status, [*fields, *headers], body, detail).serialize()
        self._current = self._pending_event = None
        if end:
            self._forget_session()
            self._addressing = Addressing()
        self._advance()
