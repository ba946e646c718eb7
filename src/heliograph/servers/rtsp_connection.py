"""One RTSP connection: bytes in and out, requests answered with what the channel says."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import structlog

from heliograph.live.channel import Channel
from heliograph.live.gate import Decision
from heliograph.live.grants import Grant
from heliograph.live.placing import MOVED
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.readers import Reader, ReaderHooks, ReaderKind
from heliograph.model.errors import (
    HelioError,
    NotFoundError,
    UnsupportedError,
    WrongStateError,
)
from heliograph.model.media import Track
from heliograph.plane import ConnectionClosed, ControlReceived
from heliograph.protocols.rtsp import ServerSession, Transport
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
    SessionTimedOut,
    SetupRequested,
    TeardownRequested,
)
from heliograph.protocols.sdp import sdp_for_channel
from heliograph.servers.listening import host_of
from heliograph.servers.rtsp_door import Door
from heliograph.servers.rtsp_signs import Signs
from heliograph.servers.rtsp_transports import attach_inputs, choose, group_address, in_group

if TYPE_CHECKING:
    from heliograph.servers.rtsp import RtspServer

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

#: Bytes of answers that may wait for a client that does not read: a few descriptions.
MAX_UNSENT = 256 * 1024
#: Bytes of one RTSP message after the hand-over: head (32 KiB) and body (64 KiB) bound it anyway.
MAX_MESSAGE = 128 * 1024
#: Seconds in which a viewer who is sent away learns where to; he sees nothing meanwhile.
MOVE_TIMEOUT = 1.0
#: Least seconds between two looks at a session's signs of life.
TIMER_STEP = 0.5


class RtspConnection(asyncio.Protocol, ReaderHooks):
    """A client's connection with at most one session: a reader or a publisher."""

    def __init__(self, server: RtspServer) -> None:
        self._server = server
        self._loop = server.plane_loop
        self._plane = server.plane_loop.plane
        self._session = ServerSession(
            new_session_id=functools.partial(secrets.token_hex, 16),
            authenticator=server.authenticator,
            timeout=server.options.session_timeout,
            idle_timeout=server.options.idle_timeout,
            now=server.clock(),
        )
        methods = server.options.auth_methods
        gate, channels = server.gate, server.channels
        self._door = Door(gate, channels, self._session, methods, server.places, server.titles)
        self._deciding: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._conn = 0
        self._peer = ""
        self._local = "127.0.0.1"
        self._timer: asyncio.TimerHandle | None = None
        self._channel: Channel | None = None
        self._reader: Reader | None = None
        self._grant: Grant | None = None
        self._announced: tuple[Channel, tuple[Track, ...], Grant] | None = None
        self._publishing: Publishing | None = None
        self._signs = Signs()
        self._gone = False
        self._log: Any = log

    # bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport
        self._peer = self._door.peer = host_of(transport.get_extra_info("peername"))
        self._local = host_of(transport.get_extra_info("sockname")) or self._local
        self._log = log.bind(peer=self._peer)
        if len(self._server.connections) >= self._server.options.max_connections:
            self._server.refused_connections += 1
            transport.abort()
            return
        self._server.connections.add(self)
        self._arm()

    def data_received(self, data: bytes) -> None:
        self._session.receive_data(data, self._server.clock())
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._conn:
            self._lost("connection closed")

    def _on_conn(self, event: ControlReceived | ConnectionClosed) -> None:
        """The same once the plane has the socket."""
        if isinstance(event, ControlReceived):
            self._session.receive_data(event.data, self._server.clock())
            self._pump()
        else:
            self._conn = 0
            self._lost(event.reason)

    def _lost(self, reason: str) -> None:
        """The connection is gone. What goes by UDP may live on until it gives no sign of life
        (RFC 2326 section 1.1: a session is not tied to a connection)."""
        if self._gone:
            return
        reader, publishing = self._reader, self._publishing
        udp = reader is not None and reader.kind is ReaderKind.RTSP_UDP
        if reader is not None and udp and reader.stats().last_rtcp_age_ms >= 0:
            return
        if publishing is not None and publishing.kind is PublishKind.RTSP_UDP:
            publishing.orphan = not publishing.silent
            if publishing.orphan:
                return
        self._finish(reason)

    def _pump(self) -> None:
        while (event := self._session.next_event()) is not None:
            self._answer(event)
        self._flush()
        self._arm()

    def _flush(self) -> None:
        data = self._session.data_to_send()
        if self._conn:
            if data:
                self._plane.conn_send(self._conn, data)
            if self._session.closing:
                self._plane.conn_close(self._conn)
        elif self._transport is not None:
            if data:
                self._transport.write(data)
            if self._transport.get_write_buffer_size() > MAX_UNSENT:
                self._log.warning("rtsp client does not read")
                self._transport.abort()
            elif self._session.closing:
                self._transport.close()

    def _hand_over(self) -> None:
        """Give the socket to the plane, with what was received and not used."""
        if self._conn:
            return
        transport = self._transport
        if transport is None or transport.get_write_buffer_size():
            raise WrongStateError("earlier answers have not been read")
        unread = self._session.take_unread()
        transport.pause_reading()
        fd = transport.get_extra_info("socket").fileno()
        self._conn = self._plane.adopt(fd, "rtsp", unread, MAX_MESSAGE)
        self._loop.on_conn(self._conn, self._on_conn)
        # Closes our descriptor without shutting the socket down: the plane has its own.
        self._transport = None
        transport.abort()

    # time

    @property
    def _connected(self) -> bool:
        return self._transport is not None or bool(self._conn)

    def _arm(self) -> None:
        due = self._session.timer()
        if self._gone or due is None:
            self._disarm()
        elif self._timer is None:
            delay = max(due - self._server.clock(), TIMER_STEP)
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now = self._server.clock()
        age = self._signs.age(self._publishing, self._reader)
        if age is not None:
            self._session.touch(now - age)
        self._session.handle_timer(now)
        self._pump()

    # ends

    def end(self, reason: str) -> None:
        """End the session from our side and close."""
        self._detach(reason)
        self._session.end_session()
        self._flush()
        if not self._conn and self._transport is None:
            self._finish(reason)

    def closed(self, reason: str) -> None:
        """The channel dismissed our reader or publisher."""
        watched = None if self._reader is None or self._channel is None else self._channel
        self._reader = None
        self._publishing = None
        self._log.info("rtsp session ended", reason=reason)
        if reason == MOVED and watched is not None and self._grant is not None:
            asked = self._door.moved(watched, self._grant)
            if asked is not None:
                self._detach(reason)
                self._deciding = asyncio.create_task(self._send_elsewhere(asked))
                return
        self.end(reason)

    async def _send_elsewhere(self, asked: Awaitable[str]) -> None:
        """End the session, and name the unit that has a place: those who know REDIRECT go there at
        once, others ask again where they came from, and are redirected then."""
        where = ""
        with contextlib.suppress(HelioError, TimeoutError):
            async with asyncio.timeout(MOVE_TIMEOUT):
                where = await asked
        if self._gone:
            return
        if where:
            self._session.send_elsewhere(where)
        self.end(MOVED)

    def _detach(self, reason: str) -> None:
        if self._reader is not None:
            self._reader.remove()
            self._reader = None
        if self._publishing is not None:
            self._publishing.close(reason)
            self._publishing = None
        self._announced = None
        self._channel = None

    def _finish(self, reason: str) -> None:
        if self._gone:
            return
        self._gone = True
        self._detach(reason)
        self._disarm()
        self._server.connections.discard(self)

    # requests

    def _answer(self, event: ServerEvent) -> None:
        self._guarded(event, lambda: self._handlers[type(event)](self, event))

    def _guarded(self, event: ServerEvent, act: Callable[[], None]) -> None:
        try:
            act()
        except HelioError as error:
            self._refused(event, error)
            self._session.refuse(error, digest=self._door.digest)
        except KeyError:  # the plane lost the connection or channel while we were at it
            gone = NotFoundError("the connection or channel is gone")
            self._refused(event, gone)
            if self._session.waiting is not None:
                self._session.refuse(gone)

    def _refused(self, event: ServerEvent, error: HelioError) -> None:
        target = getattr(event, "target", None)
        self._log.info(
            "rtsp refused",
            request=type(event).__name__.removesuffix("Requested").upper(),
            path=target.path if target is not None else "",
            status=error.status,
            reason=error.message,
        )

    def _accepted(self, request: str, channel: Channel, **details: Any) -> None:  # noqa: ANN401
        self._log.info("rtsp", request=request, channel=channel.name, **details)

    def _when(self, event: ServerEvent, decision: Decision, then: Callable[[Grant], None]) -> None:
        """Go on once the gate has decided: mostly at once; else this request waits."""
        if isinstance(decision, Grant):
            then(decision)
        else:
            self._deciding = asyncio.create_task(self._wait(event, decision, then))

    async def _wait(
        self, event: ServerEvent, decision: Awaitable[_T], then: Callable[[_T], None]
    ) -> None:
        try:
            act = functools.partial(then, await decision)
        except HelioError as error:
            act = functools.partial(_raise, error)
        if not self._gone and self._session.waiting is event:
            self._guarded(event, act)
            self._pump()

    def _place(
        self, event: ServerEvent, channel: Channel, then: Callable[[Grant], None], grant: Grant
    ) -> None:
        """Go on here, or send the client to where it is served better."""
        asked = self._door.elsewhere(channel, grant)
        if asked is None:
            then(grant)
            return

        def go(found: Grant | str) -> None:
            if isinstance(found, Grant):
                then(found)
            else:
                self._accepted("REDIRECT", channel)
                self._session.redirect(found)

        self._deciding = asyncio.create_task(self._wait(event, asked, go))

    def _sent_on(self, event: DescribeRequested | SetupRequested) -> bool:
        """Whether the request was for a title, and the client is redirected to a server of it."""
        address = self._door.title(event.target)
        if address is not None:
            self._session.redirect(address)
        return address is not None

    def _describe(self, event: DescribeRequested) -> None:
        if self._sent_on(event):
            return
        channel, decision = self._door.view(event.target)
        then = functools.partial(self._described, channel)
        self._when(event, decision, functools.partial(self._place, event, channel, then))

    def _described(self, channel: Channel, grant: Grant) -> None:
        channel.audience.check(self._peer, grant=grant)
        self._door.keep(channel, grant)
        sdp = sdp_for_channel(
            channel.name,
            channel.title,
            channel.tracks,
            channel.session_id,
            session_version=channel.layout_version,
            origin_address=self._local,
        )
        self._accepted("DESCRIBE", channel)
        self._session.describe_ok(sdp)

    def _announce(self, event: AnnounceRequested) -> None:
        channel, decision = self._door.publish(event.target)
        self._when(event, decision, functools.partial(self._may_announce, channel, event.tracks))

    def _may_announce(self, channel: Channel, tracks: tuple[Track, ...], grant: Grant) -> None:
        channel.check_publisher(self._peer)
        self._announced = channel, tracks, grant
        self._accepted("ANNOUNCE", channel, tracks=[str(track.codec) for track in tracks])
        self._session.announce_ok()

    def _setup(self, event: SetupRequested) -> None:
        if event.record:
            if self._announced is None:
                raise WrongStateError("nothing was announced")
            transport = choose(self._server, event, None, connected=self._connected)
            self._session.setup_ok(transport)
            return
        if event.first or self._channel is None:
            if self._sent_on(event):
                return
            channel, decision = self._door.view(event.target)
            then = functools.partial(self._may_set_up, event, channel)
            self._when(event, decision, functools.partial(self._place, event, channel, then))
        else:
            self._set_up(event, self._channel)

    def _may_set_up(self, event: SetupRequested, channel: Channel, grant: Grant) -> None:
        channel.audience.check(self._peer, multicast=event.transports[0].multicast, grant=grant)
        self._door.keep(channel, grant)
        self._channel, self._grant = channel, grant
        self._set_up(event, channel)

    def _set_up(self, event: SetupRequested, channel: Channel) -> None:
        places = [place for place, track in enumerate(channel.tracks) if track.id == event.track]
        if not places:
            raise NotFoundError(f"no track {event.track}", subject=channel.name)
        transport = choose(self._server, event, channel, connected=self._connected)
        if transport.multicast:
            transport = self._join_group(channel, places[0], transport)
        self._session.setup_ok(transport)

    def _join_group(self, channel: Channel, place: int, transport: Transport) -> Transport:
        options = self._server.options
        if self._reader is None:
            self._reader = channel.audience.join_group(
                self._server.endpoint,
                group_address(options, channel),
                options.multicast_port,
                options.multicast_ttl,
                peer=self._peer,
                agent=self._session.user_agent,
                grant=self._grant,
                hooks=self,
            )
        return in_group(options, channel, place, transport)

    def _play(self, event: PlayRequested) -> None:
        channel = self._channel
        if channel is None:
            raise WrongStateError("no track is set up")
        if self._reader is None:
            channel.audience.check(
                self._peer, grant=self._grant
            )  # places may have gone since SETUP
            self._reader = self._add_reader(channel)
        reader = self._reader
        starts: dict[int, tuple[int | None, int | None]] | None = None
        group = channel.audience.group
        if reader.kind is not ReaderKind.MULTICAST or (group is not None and not group.playing):
            starts = {track: (number, time) for track, number, time in reader.position()}
        self._accepted("PLAY", channel, transport=reader.kind.value)
        self._session.play_ok(starts)
        self._flush()  # the answer goes before the first packet
        if self._reader is reader:
            reader.start()

    def _add_reader(self, channel: Channel) -> Reader:
        transports, agent = self._session.transports, self._session.user_agent
        if next(iter(transports.values())).is_tcp:
            self._hand_over()
            lanes = [(id, *t.interleaved) for id, t in transports.items() if t.interleaved]
            return channel.audience.add_conn(
                self._conn,
                lanes,
                kind=ReaderKind.RTSP_TCP,
                peer=self._peer,
                agent=agent,
                grant=self._grant,
                hooks=self,
            )
        ports = [(id, self._peer, *t.client_port) for id, t in transports.items() if t.client_port]
        at, grant = self._server.endpoint, self._grant
        return channel.audience.add_udp(
            at, ports, peer=self._peer, agent=agent, grant=grant, hooks=self
        )

    def _record(self, event: RecordRequested) -> None:
        assert self._announced is not None
        channel, announced, grant = self._announced
        transports = self._session.transports
        tracks = [track for track in announced if track.id in transports]
        tcp = next(iter(transports.values())).is_tcp
        if self._publishing is None:
            if tcp:
                self._hand_over()
            kind = PublishKind.RTSP_TCP if tcp else PublishKind.RTSP_UDP
            self._publishing = channel.publish(
                tracks, kind, self._peer, grant=grant, on_closed=self.closed
            )
            self._publishing.agent = self._session.user_agent
        attach_inputs(
            self._server, self._publishing, tracks, transports, peer=self._peer, conn=self._conn
        )
        self._accepted("RECORD", channel, transport=self._publishing.kind.value)
        self._session.record_ok()

    def _pause(self, event: PauseRequested) -> None:
        if self._reader is not None:
            self._reader.pause()
        elif self._publishing is not None:
            self._publishing.drop_inputs()
        self._session.pause_ok()

    def _teardown(self, event: TeardownRequested) -> None:
        if self._channel is not None:
            self._accepted("TEARDOWN", self._channel)
        elif self._announced is not None:
            self._accepted("TEARDOWN", self._announced[0])
        self._detach("teardown")
        self._session.teardown_ok()

    def _parameter(self, event: ParameterRequested) -> None:
        if event.set:
            raise UnsupportedError("no parameter can be set", subject="parameter")
        self._session.parameter_ok()

    def _frame(self, event: FrameReceived) -> None:
        """Packets that came before the plane had the socket."""
        if self._publishing is not None and not event.rtcp:
            self._publishing.push(event.track, [event.data])

    def _timed_out(self, event: SessionTimedOut) -> None:
        self._log.info("rtsp timed out", session=event.session_id is not None)
        self._detach("timed out")
        if not self._connected:
            self._finish("timed out")

    def _failed(self, event: ConnectionFailed) -> None:
        self._log.info("rtsp connection failed", error=event.error.message)
        self._detach("malformed")

    _handlers: dict[type, Callable[[RtspConnection, Any], None]] = {  # noqa: RUF012
        DescribeRequested: _describe,
        AnnounceRequested: _announce,
        SetupRequested: _setup,
        PlayRequested: _play,
        RecordRequested: _record,
        PauseRequested: _pause,
        TeardownRequested: _teardown,
        ParameterRequested: _parameter,
        FrameReceived: _frame,
        SessionTimedOut: _timed_out,
        ConnectionFailed: _failed,
    }


def _raise(error: HelioError) -> None:
    raise error
