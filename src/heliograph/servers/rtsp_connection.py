"""One RTSP connection: bytes in and out, requests answered by what it serves.

That is live channels (``rtsp_live``) or a title (``rtsp_ondemand``), as the paths say.
"""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog

from heliograph.live.gate import Decision
from heliograph.live.grants import Grant
from heliograph.model.errors import (
    HelioError,
    NotFoundError,
    UnsupportedError,
    WrongStateError,
)
from heliograph.plane import ConnectionClosed, ControlReceived
from heliograph.protocols.rtsp import ServerSession
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
    StrayPlayRequested,
    TeardownRequested,
)
from heliograph.servers.listening import host_of
from heliograph.servers.rtsp_bipartite import BipartiteClient, wanted_by
from heliograph.servers.rtsp_door import Door
from heliograph.servers.rtsp_live import LiveClient
from heliograph.servers.rtsp_ondemand import TitleClient
from heliograph.servers.rtsp_service import LEFT, Service

if TYPE_CHECKING:
    from heliograph.servers.rtsp import RtspServer

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

#: Bytes of answers that may wait for a client that does not read: a few descriptions.
MAX_UNSENT = 256 * 1024
#: Bytes of one RTSP message after the hand-over: head (32 KiB) and body (64 KiB) bound it anyway.
MAX_MESSAGE = 128 * 1024
#: Least seconds between two looks at a session's signs of life.
TIMER_STEP = 0.5


class RtspConnection(asyncio.Protocol):
    """A client's connection with at most one session: a reader or a publisher."""

    def __init__(self, server: RtspServer) -> None:
        self.server = server
        self.plane = server.plane_loop.plane
        self.session = ServerSession(
            new_session_id=functools.partial(secrets.token_hex, 16),
            authenticator=server.authenticator,
            timeout=server.options.session_timeout,
            idle_timeout=server.options.idle_timeout,
            now=server.clock(),
            knows=self._knows,
        )
        methods = server.options.auth_methods
        gate, channels = server.gate, server.channels
        self.door = Door(gate, channels, self.session, methods, server.places, server.titles)
        self._deciding: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self.conn = 0
        """The plane's connection, once it has the socket."""
        self.peer = ""
        """Numeric address of the client."""
        self.local = "127.0.0.1"
        """The address at which it came."""
        self._timer: asyncio.TimerHandle | None = None
        self.live = LiveClient(self)
        self._service: Service = self.live
        self.gone = False
        """Whether it is all over."""
        self.log: Any = log

    # bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport
        self.peer = self.door.peer = host_of(transport.get_extra_info("peername"))
        self.local = host_of(transport.get_extra_info("sockname")) or self.local
        self.log = log.bind(peer=self.peer)
        if len(self.server.connections) >= self.server.options.max_connections:
            self.server.refused_connections += 1
            transport.abort()
            return
        self.server.connections.add(self)
        self._arm()

    def data_received(self, data: bytes) -> None:
        self.session.receive_data(data, self.server.clock())
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self.conn:
            self._lost("connection closed")

    def _on_conn(self, event: ControlReceived | ConnectionClosed) -> None:
        """The same once the plane has the socket."""
        if isinstance(event, ControlReceived):
            self.session.receive_data(event.data, self.server.clock())
            self._pump()
        else:
            self.conn = 0
            self._lost(event.reason)

    def _lost(self, reason: str) -> None:
        """The connection is gone."""
        if self.gone:
            return
        if not self._service.survives():
            self._finish(reason)

    def _pump(self) -> None:
        while (event := self.session.next_event()) is not None:
            self._answer(event)
        self.flush()
        self._arm()

    def flush(self) -> None:
        data = self.session.data_to_send()
        if self.conn:
            if data:
                self.plane.conn_send(self.conn, data)
            if self.session.closing:
                self.plane.conn_close(self.conn)
        elif self._transport is not None:
            if data:
                self._transport.write(data)
            if self._transport.get_write_buffer_size() > MAX_UNSENT:
                self.log.warning("rtsp client does not read")
                self._transport.abort()
            elif self.session.closing:
                self._transport.close()

    def hand_over(self) -> int:
        """Give the socket to the plane, with what was received and not used; its connection."""
        if self.conn:
            return self.conn
        transport = self._transport
        if transport is None or transport.get_write_buffer_size():
            raise WrongStateError("earlier answers have not been read")
        unread = self.session.take_unread()
        transport.pause_reading()
        fd = transport.get_extra_info("socket").fileno()
        self.conn = self.plane.adopt(fd, "rtsp", unread, MAX_MESSAGE)
        self.server.plane_loop.on_conn(self.conn, self._on_conn)
        # Closes our descriptor without shutting the socket down: the plane has its own.
        self._transport = None
        transport.abort()
        return self.conn

    # time

    @property
    def connected(self) -> bool:
        """Whether there is a connection for media to go on."""
        return self._transport is not None or bool(self.conn)

    def _arm(self) -> None:
        due = self.session.timer()
        if self.gone or due is None:
            self._disarm()
        elif self._timer is None:
            delay = max(due - self.server.clock(), TIMER_STEP)
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now = self.server.clock()
        age = self._service.age()
        if age is not None:
            self.session.touch(now - age)
        self.session.handle_timer(now)
        self._pump()

    # ends

    def end(self, reason: str) -> None:
        """End the session from our side and close."""
        self._service.detach(reason)
        self.session.end_session()
        self.flush()
        if not self.conn and self._transport is None:
            self._finish(reason)

    def stop(self, reason: str) -> None:
        """The server stops: end what cannot go on without it."""
        if self._service.hands_on:
            self.let_go(reason)
        else:
            self.end(reason)

    def let_go(self, reason: str) -> None:
        """Close without a word: the session goes on elsewhere."""
        self.log.info("rtsp session let go", reason=reason)
        self._service.detach(LEFT)
        self.session.leave()
        self.flush()
        if not self.conn and self._transport is None:
            self._finish(reason)

    def _finish(self, reason: str) -> None:
        if self.gone:
            return
        self.gone = True
        self._service.detach(reason)
        self._disarm()
        self.server.connections.discard(self)

    # requests

    def _answer(self, event: ServerEvent) -> None:
        self._guarded(event, lambda: self._handlers[type(event)](self, event))

    def _guarded(self, event: ServerEvent, act: Callable[[], None]) -> None:
        try:
            act()
        except HelioError as error:
            self._refused(event, error)
            self.session.refuse(error, digest=self.door.digest)
        except KeyError:  # the plane lost the connection or channel while we were at it
            gone = NotFoundError("the connection or channel is gone")
            self._refused(event, gone)
            if self.session.waiting is not None:
                self.session.refuse(gone)

    def _refused(self, event: ServerEvent, error: HelioError) -> None:
        target = getattr(event, "target", None)
        self.log.info(
            "rtsp refused",
            request=type(event).__name__.removesuffix("Requested").upper(),
            path=target.path if target is not None else "",
            status=error.status,
            reason=error.message,
        )

    def accepted(self, request: str, name: str, **details: Any) -> None:  # noqa: ANN401
        """Note a request about a channel or title that is granted."""
        self.log.info("rtsp", request=request, channel=name, **details)

    def do_later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that has to be waited for; one thing at a time."""
        self._deciding = asyncio.create_task(work)

    def when(self, event: ServerEvent, decision: Decision, then: Callable[[Grant], None]) -> None:
        """Go on once the gate has decided: mostly at once; else this request waits."""
        if isinstance(decision, Grant):
            then(decision)
        else:
            self.later(event, decision, then)

    def later(
        self, event: ServerEvent, decision: Awaitable[_T], then: Callable[[_T], None]
    ) -> None:
        """Let a request wait, and go on with what comes of it."""
        self.do_later(self._wait(event, decision, then))

    async def _wait(
        self, event: ServerEvent, decision: Awaitable[_T], then: Callable[[_T], None]
    ) -> None:
        try:
            act = functools.partial(then, await decision)
        except HelioError as error:
            act = functools.partial(_raise, error)
        except Exception:  # the fault is ours; the client is to hear of it all the same
            self.log.exception("rtsp request failed", request=type(event).__name__)
            act = functools.partial(_raise, HelioError("internal error"))
        if not self.gone and self.session.waiting is event:
            self._guarded(event, act)
            self._pump()

    def _find(self, event: DescribeRequested | SetupRequested) -> Service | None:
        """Who serves a path; None: the client wants a title of other servers, and is redirected to
        one of them, as where the one that this node holds is on a server to be left, or is better
        had from another node."""
        service, path = self.server.ondemand, event.target.path
        if self.server.channels.find(path) is not None:
            return self.live
        title = None if service is None else service.find(path)
        door = self.door.title if title is None else self.door.instead
        address = door(event.target)
        begins = isinstance(event, DescribeRequested) and address is None
        # What was shown to a channel's gate does not go along to another server.
        if (
            service is not None
            and title is not None
            and begins
            and not service.shelf.channel(title)
        ):
            address = self.door.best(event.target)
        if service is not None and title is not None and address is None:
            if isinstance(event, SetupRequested) and not title.live:
                ensemble = service.ensemble
                if ensemble is not None and wanted_by(ensemble, self, event):
                    return BipartiteClient(self, service, ensemble)
            return TitleClient(self, service)
        if address is None:
            return self.live
        self.session.redirect(address)
        return None

    def _knows(self, session: str) -> bool:
        """Whether a session that was begun elsewhere can go on here."""
        service = self.server.ondemand
        ensemble = None if service is None else service.ensemble
        return ensemble is not None and ensemble.order(session) is not None

    def _shown(self, event: SessionShown) -> None:
        service = self.server.ondemand
        if service is None or service.ensemble is None:
            self.session.refuse(NotFoundError("no such session"), status=454)
            return
        client = BipartiteClient(self, service, service.ensemble)
        self._service = client
        client.resume(event)

    def _describe(self, event: DescribeRequested) -> None:
        service = self._find(event)
        if service is not None:
            service.describe(event)

    def _setup(self, event: SetupRequested) -> None:
        if not event.record and (event.first or not self._service.subject):
            service = self._find(event)
            if service is None:
                return
            self._service = service
        self._service.setup(event)

    def _play(self, event: PlayRequested) -> None:
        self._service.play(event)

    def _stray_play(self, event: StrayPlayRequested) -> None:
        address = self.door.title(event.target)
        if address is not None:
            self.session.redirect(address)
            return
        error = NotFoundError("there is no session", subject="session")
        self._refused(event, error)
        self.session.refuse(error, status=454)

    def _pause(self, event: PauseRequested) -> None:
        self._service.pause(event)

    def _announce(self, event: AnnounceRequested) -> None:
        self._service = self.live
        self.live.announce(event)

    def _record(self, event: RecordRequested) -> None:
        self.live.record(event)

    def _frame(self, event: FrameReceived) -> None:
        self.live.frame(event)

    def _teardown(self, event: TeardownRequested) -> None:
        if self._service.subject:
            self.accepted("TEARDOWN", self._service.subject)
        self._service.detach("teardown")
        self.session.teardown_ok()

    def _parameter(self, event: ParameterRequested) -> None:
        if event.set:
            raise UnsupportedError("no parameter can be set", subject="parameter")
        self.session.parameter_ok()

    def _timed_out(self, event: SessionTimedOut) -> None:
        self.log.info("rtsp timed out", session=event.session_id is not None)
        self._service.detach("timed out")
        if not self.connected:
            self._finish("timed out")

    def _failed(self, event: ConnectionFailed) -> None:
        self.log.info("rtsp connection failed", error=event.error.message)
        self._service.detach("malformed")

    _handlers: dict[type, Callable[[RtspConnection, Any], None]] = {  # noqa: RUF012
        DescribeRequested: _describe,
        AnnounceRequested: _announce,
        SetupRequested: _setup,
        PlayRequested: _play,
        StrayPlayRequested: _stray_play,
        RecordRequested: _record,
        PauseRequested: _pause,
        TeardownRequested: _teardown,
        ParameterRequested: _parameter,
        FrameReceived: _frame,
        SessionShown: _shown,
        SessionTimedOut: _timed_out,
        ConnectionFailed: _failed,
    }


def _raise(error: HelioError) -> None:
    raise error
