"""The client's side of one RTSP connection, without input or output.

Call what is wanted (``describe``, ``setup``, ``play`` …), send what ``data_to_send`` gives, feed
what was received, take events. One request is under way at a time, as every camera understands;
further ones wait. A request refused with 401 is sent again once with credentials.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote, urlsplit

from heliograph.model.errors import (
    HelioError,
    MalformedError,
    NotFoundError,
    RemoteError,
    WrongStateError,
)
from heliograph.protocols.bipartite import extension_ids
from heliograph.protocols.rtsp.auth import Answerer, parse_challenges
from heliograph.protocols.rtsp.calls import KEEPALIVE, RESTART, TAKE_OVER, Call
from heliograph.protocols.rtsp.events import (
    Announced,
    ClientEvent,
    Described,
    Ended,
    Failed,
    Frame,
    NodesTold,
    Paused,
    Playing,
    Ready,
    Recording,
    Redirected,
    TakenOver,
    TrackReady,
    TransportRefused,
)
from heliograph.protocols.rtsp.headers import (
    DEFAULT_TIMEOUT,
    Range,
    Transport,
    parse_session,
    parse_tokens,
)
from heliograph.protocols.rtsp.messages import (
    Headers,
    InterleavedFrame,
    MessageParser,
    Request,
    Response,
)
from heliograph.protocols.rtsp.replies import (
    Urls,
    agreed_transport,
    read_description,
    read_range,
    read_rtp_info,
    read_speed,
    refusal,
)
from heliograph.protocols.rtsp.sharing import Sharing
from heliograph.protocols.rtsp.states import REASONS, TRANSITIONS, State
from heliograph.protocols.rtsp.targets import without_credentials
from heliograph.protocols.sdp import (
    parse_sdp,
    tracks_from_sdp,
)

#: Seconds a server may take for an answer. Cameras that wake an encoder take three or four.
RESPONSE_TIMEOUT = 10.0
#: The same in sessions that several nodes send: another one can be asked instead. Media go on
#: without any control; nodes that are merely busy are not to lose it.
SHARED_TIMEOUT = 5.0
#: Seconds between signs of life in those: nothing else tells that the controlling node is gone.
SHARED_KEEPALIVE = 5.0
#: Requests that may wait; a session with ``sdp.MAX_MEDIA`` tracks sets each up.
MAX_WAITING = 128
#: Times one request is sent again for 401: once with credentials, once for a nonce gone stale.
MAX_ATTEMPTS = 2

_ANSWERED = ("OPTIONS", "GET_PARAMETER", "SET_PARAMETER", "PLAY_NOTIFY")


class ClientSession:
    """The state machine of one connection to a server."""

    def __init__(
        self,
        url: str,
        *,
        username: str = "",
        password: str = "",
        cnonce: str,
        user_agent: str = "heliograph",
        response_timeout: float = RESPONSE_TIMEOUT,
        share: bool = False,
        now: float = 0.0,
    ) -> None:
        """``url``: absolute; user and password in it hold where none are given.

        ``cnonce``: at least 64 random bits as text, for Digest. ``share``: have several nodes send
        a title by UDP where the server offers it. ``now``: seconds, any origin.
        """
        if not username and "@" in url:
            try:
                parts = urlsplit(url)
                username, password = unquote(parts.username or ""), unquote(parts.password or "")
            except ValueError:
                raise MalformedError("rtsp", "URL") from None
        self.url = without_credentials(url)
        """The URL asked for, without credentials."""
        self._answerer = Answerer(username, password, cnonce=cnonce) if username else None
        self._user_agent = user_agent
        self._response_timeout = response_timeout
        self._now = now
        self._parser = MessageParser()
        self._waiting: deque[Call] = deque()
        self._current: Call | None = None
        self._sent_at = 0.0
        self._cseq = 0
        self._events: deque[ClientEvent] = deque()
        self._out = bytearray()
        self._public: frozenset[str] = frozenset()
        self.server = ""
        """How the server calls itself, as far as it does."""
        self._urls = Urls(self.url)
        self._announced = False
        self._share = share
        self.closing = False
        """Whether the connection is to be closed once ``data_to_send`` has been sent."""
        self._forget_session()

    def __repr__(self) -> str:
        return f"ClientSession(state={self.state})"

    def _forget_session(self) -> None:
        self.state = State.INIT
        """State of the session."""
        self.session_id: str | None = None
        """Id the server gave, ``None`` before the first SETUP."""
        self.session_timeout = DEFAULT_TIMEOUT
        """Seconds after which the server would end a session without signs of life."""
        self.transports: dict[int, Transport] = {}
        """Agreed transport of each track that was set up, in that order."""
        self.sharing = Sharing(self._share, self.url)
        """Whether several nodes send it, and which."""
        self._keepalive_at: float | None = None

    # --- what the adapter asks for --------------------------------------------------------------

    def connect(self, now: float) -> None:
        """Ask what the server can do (OPTIONS). Optional; tells how to keep the session alive."""
        self._call(Call("OPTIONS", self.url), now)

    def describe(self, now: float) -> None:
        """Ask for the description; gives ``Described``."""
        headers = (("Accept", "application/sdp"), *self.sharing.wanted)
        self._call(Call("DESCRIBE", self.url, headers), now)

    def announce(self, sdp: str, now: float) -> None:
        """Describe what will be sent; gives ``Announced``. Track ids are places in ``sdp``."""
        description = parse_sdp(sdp)
        tracks_from_sdp(description)
        self._urls = Urls.of(description, self.url)
        self._announced = True
        headers = (("Content-Type", "application/sdp"),)
        self._call(Call("ANNOUNCE", self.url, headers, sdp.encode("utf-8")), now)

    def setup(self, tracks: Sequence[tuple[int, Transport]], now: float) -> None:
        """Set up tracks, each with one transport; gives ``TrackReady`` for each, then ``Ready``.

        A session that exists is torn down before: this is how one changes from UDP to TCP.
        """
        if not self._urls.tracks or not tracks:
            raise WrongStateError("nothing was described", subject="rtsp")
        if any(not 0 <= track < len(self._urls.tracks) for track, _ in tracks):
            raise NotFoundError("no such track", subject="rtsp")
        if self.session_id is not None:
            self._call(Call("TEARDOWN", self._urls.aggregate, purpose=RESTART), now)
        for position, (track, wanted) in enumerate(tracks):
            transport = replace(wanted, mode="RECORD") if self._announced else wanted
            unicast = not transport.is_tcp and not transport.multicast
            shared = self.sharing.wanted if unicast else ()
            call = Call(
                "SETUP",
                self._urls.tracks[track],
                (("Transport", transport.serialize()), *shared),
                track=track,
                transport=transport,
                last_setup=position == len(tracks) - 1,
            )
            self._call(call, now)

    def play(self, now: float, range: Range | None = None, *, speed: float | None = None) -> None:
        """Start or resume playing; gives ``Playing``. Without ``range`` the server decides.

        ``speed``: factor of the rate at which packets are to come (RFC 2326 §12.35).
        """
        headers: list[tuple[str, str]] = []
        if range is not None:
            headers.append(("Range", range.serialize()))
        if speed is not None:
            headers.append(("Speed", f"{speed:.4f}"))
        self._call(Call("PLAY", self._urls.aggregate, tuple(headers)), now)

    def record(self, now: float) -> None:
        """Start sending; gives ``Recording``."""
        self._call(Call("RECORD", self._urls.aggregate, (("Range", "npt=0.000-"),)), now)

    def pause(self, now: float) -> None:
        """Pause; gives ``Paused``."""
        self._call(Call("PAUSE", self._urls.aggregate), now)

    def teardown(self, now: float) -> None:
        """End the session; gives ``Ended``. What waits is not sent any more."""
        self._waiting.clear()
        self._call(Call("TEARDOWN", self._urls.aggregate), now)

    def take_over(self, other: ClientSession, now: float) -> None:
        """Go on with a shared session whose control was lost, at another node; gives
        ``TakenOver``, or ``Failed`` where that node does not know it."""
        if not other.sharing.agreed or self.session_id is not None:
            raise WrongStateError("no shared session to take over", subject="rtsp")
        self._urls = other._urls.at(self.url)
        self.state, self.transports = other.state, dict(other.transports)
        self.session_id, self.session_timeout = other.session_id, other.session_timeout
        self.sharing = replace(other.sharing, url=self.url)
        self._call(Call("GET_PARAMETER", self.url, purpose=TAKE_OVER), now)

    def track_url(self, track: int) -> str:
        """The SETUP URL of a track."""
        return self._urls.tracks[track]

    # --- bytes and events -----------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the connection; ``now`` in seconds never goes back."""
        self._now = now
        if self.closing:
            return
        self._parser.feed(data)
        try:
            while not self.closing and (message := self._parser.next_message()) is not None:
                if isinstance(message, InterleavedFrame):
                    self._take_frame(message)
                elif isinstance(message, Request):
                    self._take_request(message)
                else:
                    self._take_response(message)
        except HelioError as error:
            self._fail(error)

    def connection_lost(self, now: float) -> None:
        """The connection ended; gives ``Failed`` unless it was expected."""
        self._now = now
        if not self.closing:
            self._fail(RemoteError("the server closed the connection", subject=self.url))

    def next_event(self) -> ClientEvent | None:
        """The next event, in order."""
        return self._events.popleft() if self._events else None

    def data_to_send(self) -> bytes:
        """Everything to be written to the connection now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def send_frame(self, track: int, data: bytes, *, rtcp: bool = False) -> None:
        """Send a packet of an interleaved track."""
        transport = self.transports.get(track)
        if transport is None or transport.interleaved is None:
            raise WrongStateError("the track is not interleaved", subject="rtsp")
        self._out += InterleavedFrame(transport.interleaved[rtcp], data).serialize()

    @property
    def unread(self) -> bytes:
        """Bytes received that belong to no whole message yet, for handing the connection over."""
        return self._parser.pending

    def timer(self) -> float | None:
        """When ``handle_timer`` is due."""
        if self.closing:
            return None
        if self._current is not None:
            patience = self._response_timeout
            shared = self.sharing.agreed
            return self._sent_at + (min(patience, SHARED_TIMEOUT) if shared else patience)
        return self._keepalive_at

    def handle_timer(self, now: float) -> None:
        """Notice a silent server; keep the session alive."""
        self._now = now
        due = self.timer()
        if due is None or now < due:
            return
        if self._current is not None:
            method = self._current.method
            self._fail(RemoteError(f"no answer to {method}", subject=self.url))
            return
        method = "GET_PARAMETER" if "GET_PARAMETER" in self._public else "OPTIONS"
        self._keepalive_at = None
        self._call(Call(method, self._urls.aggregate, purpose=KEEPALIVE), now)

    # --- sending --------------------------------------------------------------------------------

    def _call(self, call: Call, now: float) -> None:
        self._now = now
        if self.closing:
            raise WrongStateError("the connection is closing", subject="rtsp")
        if len(self._waiting) >= MAX_WAITING:
            raise WrongStateError(f"more than {MAX_WAITING} requests wait", subject="rtsp")
        self._waiting.append(call)
        self._advance()

    def _advance(self) -> None:
        if self._current is None and self._waiting and not self.closing:
            self._send(self._waiting.popleft())

    def _send(self, call: Call) -> None:
        self._cseq += 1
        call.cseq, self._current, self._sent_at = self._cseq, call, self._now
        headers = [("CSeq", str(self._cseq)), ("User-Agent", self._user_agent)]
        if self.session_id is not None:
            headers.append(("Session", self.session_id))
        if self._answerer is not None:
            authorization = self._answerer.authorization(call.method, call.url)
            if authorization is not None:
                headers.append(("Authorization", authorization))
        request = Request(call.method, call.url, Headers([*headers, *call.headers]), call.body)
        self._out += request.serialize()

    # --- receiving ------------------------------------------------------------------------------

    def _fail(self, error: HelioError) -> None:
        self._waiting.clear()
        self._current = None
        self.closing = True
        self._events.append(Failed(error))

    def _take_frame(self, frame: InterleavedFrame) -> None:
        # Media may come before the answer to PLAY; what belongs to no track is dropped.
        for track, transport in self.transports.items():
            if transport.interleaved is not None and frame.channel in transport.interleaved:
                rtcp = frame.channel != transport.interleaved[0]
                self._events.append(Frame(track, rtcp, frame.data))
                return

    def _take_request(self, request: Request) -> None:
        """Servers ask too: OPTIONS as a sign of life, REDIRECT, TEARDOWN (RFC 7826 §13)."""
        known = request.method in (*_ANSWERED, "REDIRECT", "TEARDOWN")
        status = 200 if known else 501
        headers = [("CSeq", request.headers.get("cseq") or "0")]
        if request.method == "OPTIONS":
            headers.append(("Public", "OPTIONS, REDIRECT, TEARDOWN"))
        self._out += Response(status, REASONS[status], Headers(headers)).serialize()
        if request.method == "REDIRECT":
            location = request.headers.get("location")
            if location is not None:
                self._events.append(Redirected(without_credentials(location), proxy=False))
        elif request.method == "TEARDOWN":
            self._forget_session()
            self._waiting.clear()
            self._current = None
            self.closing = True
            self._events.append(Ended(by_server=True))

    def _take_response(self, response: Response) -> None:
        call = self._current
        if call is None or response.status < 200:
            return
        cseq = response.headers.get("cseq")
        if cseq is not None and cseq.strip() != str(call.cseq):
            return  # a late answer to a request that is no longer of interest
        self._learn_methods(response)
        self.server = response.headers.get("server") or self.server
        if response.status == 401 and self._try_again(call, response):
            return
        self._current = None
        if 200 <= response.status < 300:
            again = bool(self.transports)
            if self.sharing.learn(call.method, call.headers, response.headers, again=again):
                assert self.sharing.nodes is not None
                self._events.append(NodesTold(self.sharing.nodes))
            self._take_success(call, response)
        else:
            self._take_refusal(call, response)
        self._schedule_keepalive()
        self._advance()

    def _learn_methods(self, response: Response) -> None:
        public = response.headers.joined("public")
        if public is not None:
            self._public = parse_tokens(public)

    def _try_again(self, call: Call, response: Response) -> bool:
        if self._answerer is None:
            return False
        challenges = parse_challenges(response.headers.get_all("www-authenticate"))
        call.attempts += 1
        # Right password, old nonce: worth another try. Otherwise the password is wrong.
        stale = any(c.stale for c in challenges)
        if call.attempts > (MAX_ATTEMPTS if stale else 1) or not self._answerer.take(challenges):
            return False
        self._send(call)
        return True

    def _take_refusal(self, call: Call, response: Response) -> None:
        location = response.headers.get("location")
        if response.status in (301, 302, 303, 305) and location is not None:
            self._waiting.clear()
            url = without_credentials(location)
            self._events.append(Redirected(url, proxy=response.status == 305))
        elif response.status == 461 and call.method == "SETUP":
            self._waiting.clear()
            self._events.append(TransportRefused(call.track))
        elif call.purpose == TAKE_OVER:
            self._fail(refusal(call.method, response, self.url))
        elif call.purpose == KEEPALIVE and response.status not in (401, 454):
            self._public -= {call.method}  # any answer is a sign of life; ask otherwise next time
        elif call.method == "OPTIONS":
            pass  # servers that refuse OPTIONS may serve everything else
        elif call.method == "TEARDOWN":
            self._ended(call)
        else:
            self._fail(refusal(call.method, response, self.url))

    def _take_success(self, call: Call, response: Response) -> None:
        match call.method:
            case "DESCRIBE":
                self._take_description(response)
            case "ANNOUNCE":
                self._events.append(Announced())
            case "SETUP":
                self._take_setup(call, response)
            case "PLAY":
                self._move("PLAY")
                self._take_play(response)
            case "RECORD":
                self._move("RECORD")
                self._events.append(Recording())
            case "PAUSE":
                self._move("PAUSE")
                self._events.append(Paused())
            case "TEARDOWN":
                self._ended(call)
            case "GET_PARAMETER" if call.purpose == TAKE_OVER:
                self._events.append(TakenOver())

    def _move(self, method: str) -> None:
        if (self.state, method) not in TRANSITIONS:
            raise WrongStateError(f"{method} in state {self.state}", subject="rtsp")
        self.state = TRANSITIONS[self.state, method]

    def _ended(self, call: Call) -> None:
        self._forget_session()
        if call.purpose != RESTART:
            self.closing = True
            self._events.append(Ended(by_server=False))

    def _take_description(self, response: Response) -> None:
        tracks, description, self._urls = read_description(response, self.url)
        self._share &= None not in extension_ids(description)
        self.sharing.offered = self._share
        self._events.append(Described(tracks, description, response.body))

    def _take_setup(self, call: Call, response: Response) -> None:
        session = response.headers.get("session")
        if session is not None:
            shown = parse_session(session)
            if self.session_id not in (None, shown.id):
                raise RemoteError("the server changed the session's id", subject=self.url)
            self.session_id, self.session_timeout = shown.id, shown.timeout
        elif self.session_id is None:
            raise RemoteError("SETUP was answered without a session", subject=self.url)
        assert call.transport is not None
        transport = agreed_transport(call.transport, response.headers.joined("transport"), self.url)
        self.transports[call.track] = transport
        self._move("SETUP")
        self._events.append(TrackReady(call.track, transport))
        if call.last_setup:
            self._events.append(Ready(tuple(self.transports.items())))

    def _take_play(self, response: Response) -> None:
        infos = read_rtp_info(response, tuple(self.transports), self._urls.tracks)
        self._events.append(Playing(infos, read_range(response), read_speed(response)))

    def _schedule_keepalive(self) -> None:
        if self.session_id is not None:
            # Half the time-out: one lost or late request does not end the session.
            most = SHARED_KEEPALIVE if self.sharing.agreed else self.session_timeout
            self._keepalive_at = self._now + min(most, max(1.0, self.session_timeout / 2))
