"""One connection to an RTSP server that we pull from: asyncio around ``rtsp.ClientSession``.

Like the server, it gives the socket to the plane when packets are to come on it: after the last
SETUP and before PLAY, so that no packet is seen here.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

import structlog

from heliograph.live.channel import Channel
from heliograph.live.options import PullOptions, Transport
from heliograph.live.publish import Publishing, PublishKind
from heliograph.model.errors import MalformedError, RemoteError
from heliograph.model.media import Track
from heliograph.plane import ConnectionClosed, ControlReceived, PlaneLoop
from heliograph.protocols.rtsp import ClientSession
from heliograph.protocols.rtsp import Transport as RtspTransport
from heliograph.protocols.rtsp.events import (
    ClientEvent,
    Described,
    Ended,
    Failed,
    Playing,
    Ready,
    Redirected,
    TransportRefused,
)

log = structlog.get_logger(__name__)

#: Seconds for the TCP connection; SYN is sent three times in these.
CONNECT_TIMEOUT = 10.0
#: Seconds between two looks at whether packets come and timers are due.
WATCH_STEP = 0.25
DEFAULT_PORT = 554
MAX_MESSAGE = 128 * 1024


class TryTcpError(RemoteError):
    """Nothing comes by UDP, or the server refuses it: connect anew and ask for TCP."""


class PullConnection(asyncio.Protocol):
    """One attempt: ``run`` returns where to go instead, or raises why it ended."""

    def __init__(
        self,
        channel: Channel,
        options: PullOptions,
        loop: PlaneLoop,
        url: str,
        *,
        tcp: bool,
        clock: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._options = options
        self._loop = loop
        self._plane = loop.plane
        self._tcp = tcp
        self._clock = clock
        self._url = url
        self._session = ClientSession(url, cnonce=secrets.token_hex(8), now=clock())
        self._transport: asyncio.Transport | None = None
        self._conn = 0
        self._endpoints: dict[int, tuple[int, int, int]] = {}
        self._tracks: tuple[Track, ...] = ()
        self._publishing: Publishing | None = None
        self._playing_since: float | None = None
        self._end: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def run(self) -> str | None:
        """Connect and stay; the URL of a redirection, else ``RemoteError`` or another one."""
        host, port = self._address()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        except TimeoutError:
            raise RemoteError(f"no connection to {host}:{port}", subject=host) from None
        except OSError as error:
            raise RemoteError(f"no connection to {host}:{port}: {error}", subject=host) from error
        try:
            self._session.connect(self._clock())
            self._session.describe(self._clock())
            self._pump()
            while not self._end.done():
                await asyncio.wait((self._end,), timeout=WATCH_STEP)
                self._watch()
            return self._end.result()
        finally:
            self._leave()

    def _address(self) -> tuple[str, int]:
        try:
            parts = urlsplit(self._url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host:
            raise MalformedError("rtsp", "URL without a host")
        return host, port or DEFAULT_PORT

    # bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._session.receive_data(data, self._clock())
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if not self._conn:
            self._lost()

    def _on_conn(self, event: ControlReceived | ConnectionClosed) -> None:
        if isinstance(event, ControlReceived):
            self._session.receive_data(event.data, self._clock())
            self._pump()
        else:
            self._conn = 0
            self._lost()

    def _lost(self) -> None:
        self._session.connection_lost(self._clock())
        self._pump()
        self._finish(RemoteError("the server closed the connection", subject=self._session.url))

    def _pump(self) -> None:
        while (event := self._session.next_event()) is not None:
            try:
                self._take(event)
            except Exception as error:
                # Raised where ``run`` waits: a protocol's callbacks have nobody to tell.
                self._finish(error)
        self._flush()

    def _flush(self) -> None:
        data = self._session.data_to_send()
        if data and self._conn:
            self._plane.conn_send(self._conn, data)
        elif data and self._transport is not None:
            self._transport.write(data)

    def _finish(self, result: Exception | str | None) -> None:
        if self._end.done():
            return
        if isinstance(result, Exception):
            self._end.set_exception(result)
        else:
            self._end.set_result(result)

    # events

    def _take(self, event: ClientEvent) -> None:
        match event:
            case Described(tracks=tracks):
                self._tracks = tracks
                self._setup()
            case TransportRefused():
                if self._tcp or self._options.transport is Transport.UDP:
                    raise RemoteError("the server refuses the transport", subject=self._session.url)
                self._tcp = True
                self._setup()
            case Ready():
                self._play()
            case Playing():
                self._playing_since = self._clock()
            case Redirected(url=url):
                self._finish(url)
            case Ended():
                self._finish(RemoteError("the server ended the session", subject=self._session.url))
            case Failed(error=error):
                self._finish(error)

    def _setup(self) -> None:
        wanted = []
        for place, track in enumerate(self._tracks):
            if self._tcp:
                lanes = (2 * place, 2 * place + 1)
                wanted.append((track.id, RtspTransport(lower="TCP", interleaved=lanes)))
            else:
                _, rtp, rtcp = self._endpoint(track.id)
                wanted.append((track.id, RtspTransport(client_port=(rtp, rtcp))))
        self._session.setup(wanted, self._clock())

    def _endpoint(self, track: int) -> tuple[int, int, int]:
        if track not in self._endpoints:
            assert self._transport is not None
            local = self._transport.get_extra_info("sockname")[0]
            self._endpoints[track] = self._plane.bind_udp(local, 0)
        return self._endpoints[track]

    def _play(self) -> None:
        transports = self._session.transports
        tracks = [track for track in self._tracks if track.id in transports]
        transport = self._transport
        if transport is None:
            return
        server = str(transport.get_extra_info("peername")[0])
        self._publishing = self._channel.publish(
            tracks,
            PublishKind.PULL,
            self._session.url,
            priority=self._options.priority,
            on_closed=lambda reason: self._finish(RemoteError(f"dismissed: {reason}")),
        )
        input = self._publishing.add_input()
        if self._tcp:
            self._hand_over(transport)
            lanes = [(id, *t.interleaved) for id, t in transports.items() if t.interleaved]
            self._plane.conn_publish(self._conn, input, lanes)
        for track in tracks if not self._tcp else []:
            agreed = transports[track.id]
            ports = agreed.server_port or (None, None)
            self._plane.attach_udp(
                input,
                track.id,
                self._endpoints[track.id][0],
                payload_type=track.payload_type,
                remote=_numeric(agreed.source) or server,
                rtp_port=ports[0] or None,
                rtcp_port=ports[1] or None,
            )
        self._session.play(self._clock())

    def _hand_over(self, transport: asyncio.Transport) -> None:
        if self._conn:
            return
        if transport.get_write_buffer_size():
            raise RemoteError("the server does not read", subject=self._session.url)
        transport.pause_reading()
        fd = transport.get_extra_info("socket").fileno()
        self._conn = self._plane.adopt(fd, "rtsp", self._session.unread, MAX_MESSAGE)
        self._loop.on_conn(self._conn, self._on_conn)
        self._transport = None
        transport.abort()  # closes our descriptor only; the plane has its own

    # time

    def _watch(self) -> None:
        if self._end.done():
            return
        now = self._clock()
        self._session.handle_timer(now)
        self._pump()
        if self._playing_since is None or self._publishing is None:
            return
        source = self._publishing.source
        stats = next((s for s in self._channel.stats().sources if s.source == source), None)
        age = -1 if stats is None else stats.last_packet_age_ms
        quiet = now - self._playing_since if age < 0 else age / 1000
        auto = self._options.transport is Transport.AUTO
        if age < 0 and not self._tcp and auto and quiet >= self._options.udp_patience:
            self._finish(TryTcpError("nothing comes by UDP", subject=self._session.url))
        elif quiet >= self._options.silence:
            self._finish(RemoteError(f"no packet for {quiet:.0f} s", subject=self._session.url))

    def _leave(self) -> None:
        """Give everything back, and tell the server if it listens still."""
        if self._publishing is not None:
            self._publishing.close("pull ended")
        if self._session.session_id is not None and not self._session.closing:
            self._session.teardown(self._clock())
            self._flush()
        for endpoint, _, _ in self._endpoints.values():
            self._plane.close_endpoint(endpoint)
        self._endpoints.clear()
        if self._conn:
            self._loop.forget_conn(self._conn)
            self._plane.conn_close(self._conn)
            self._conn = 0
        if self._transport is not None:
            self._transport.close()
        if not self._end.cancel() and not self._end.cancelled():
            self._end.exception()  # seen, even where ``run`` was cancelled before it looked


def _numeric(address: str | None) -> str | None:
    """The address if it is one; servers write host names, and nonsense, into ``source``."""
    if address is None or not address.replace(".", "").isdigit():
        return None
    return None if address == "0.0.0.0" else address
