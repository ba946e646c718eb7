"""One WebSocket viewer: texts from here, access units from the plane, on one connection.

The web server answers the upgrade and hands the socket over with ``FrameSession.open``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from heliograph.live import wire
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.live.readers import Reader, ReaderHooks, ReaderKind
from heliograph.live.states import State
from heliograph.model.errors import MalformedError
from heliograph.model.media import Track
from heliograph.plane import ConnectionClosed, ControlReceived, PlaneLoop

log = structlog.get_logger(__name__)

#: Bytes of a client's text message; a ping has about 40.
MAX_TEXT = 1024
#: Seconds between pings as the format allows is 2; faster ones are answered no more than this
#: often, so that nobody makes the server work for nothing.
PING_INTERVAL = 0.5


class FrameSession(ReaderHooks):
    """A viewer from the upgrade to the end."""

    def __init__(
        self,
        channel: Channel,
        loop: PlaneLoop,
        conn: int,
        clock: Callable[[], int],
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """``on_end`` is called once the connection is gone."""
        self.channel = channel
        self.conn = conn
        self.reader: Reader | None = None
        self._loop = loop
        self._clock = clock
        self._on_end = on_end or (lambda: None)
        self._last_ping = 0

    @classmethod
    def open(
        cls,
        channel: Channel,
        loop: PlaneLoop,
        fd: int,
        *,
        peer: str,
        agent: str = "",
        grant: Grant | None = None,
        received: bytes = b"",
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        on_end: Callable[[], None] | None = None,
    ) -> FrameSession:
        """Take an upgraded connection that the gate let in, by ``grant``.

        ``fd`` is duplicated by the plane; the caller closes its own without shutting it down.
        """
        plane = loop.plane
        conn = plane.adopt(fd, "websocket", received, MAX_TEXT)
        session = cls(channel, loop, conn, clock, on_end)
        loop.on_conn(conn, session._on_conn)
        plane.conn_send(
            conn,
            wire.start(
                channel.name, channel.title, _wire_state(channel.state), channel.tracks, clock()
            ),
        )
        session.reader = channel.audience.add_conn(
            conn,
            (),
            kind=ReaderKind.WEBSOCKET,
            peer=peer,
            hooks=session,
            grant=grant,
            agent=agent,
        )
        session.reader.start()
        return session

    def close(self, reason: str) -> None:
        """End it from our side, saying why."""
        if self.reader is not None:
            self.reader.remove()
        self.closed(reason)

    def closed(self, reason: str) -> None:
        self._loop.plane.conn_send(self.conn, wire.end(reason))
        self._loop.plane.conn_close(self.conn)

    def state_changed(self, state: State) -> None:
        self._loop.plane.conn_send(self.conn, wire.state(_wire_state(state)))

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self._loop.plane.conn_send(self.conn, wire.tracks(tracks))

    def _on_conn(self, event: ControlReceived | ConnectionClosed) -> None:
        if isinstance(event, ConnectionClosed):
            if self.reader is not None:
                self.channel.audience.remove(self.reader, event.reason)
            self._on_end()
            return
        try:
            echo = wire.parse_ping(event.data)
        except MalformedError as error:
            log.info("websocket viewer dismissed", channel=self.channel.name, error=error.message)
            self.close("malformed")
            return
        now = self._clock()
        if echo is not None and now - self._last_ping >= PING_INTERVAL * 1_000_000:
            self._last_ping = now
            self._loop.plane.conn_send(self.conn, wire.pong(echo, now))


def _wire_state(state: State) -> str:
    """The format knows two states: a channel that never had a source waits for its first."""
    return "on_air" if state is State.ON_AIR else "waiting"
