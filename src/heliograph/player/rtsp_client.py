"""One RTSP connection as a client, on asyncio: for playing, publishing and measuring.

Pumps ``protocols.rtsp.ClientSession`` and carries media over UDP or within the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast
from urllib.parse import urlsplit

from heliograph.model.errors import HelioError, MalformedError, RemoteError
from heliograph.model.media import Track
from heliograph.player.ports import MediaPorts
from heliograph.player.senders import Address
from heliograph.protocols.rtsp import ClientSession, Range, Transport
from heliograph.protocols.rtsp.events import (
    Announced,
    ClientEvent,
    Described,
    Ended,
    Failed,
    Frame,
    Paused,
    Playing,
    Ready,
    Recording,
    Redirected,
    TakenOver,
    TransportRefused,
)

#: Seconds to reach a server; beyond it nobody would call the server there.
CONNECT_TIMEOUT = 5.0
#: A server that sends us further more often than this sends us in circles.
MAX_REDIRECTS = 3

#: (track, whether RTCP, datagram, arrival on the loop's clock)
PacketCallback = Callable[[int, bool, bytes, float], None]

E = TypeVar("E", bound=ClientEvent)
T = TypeVar("T")


class Elsewhere(RemoteError):
    """The server sends us to another URL; see ``following``."""

    def __init__(self, url: str) -> None:
        super().__init__(f"the server sends us to {url}", subject=url)
        self.url = url


class Absent(RemoteError):
    """Nobody answers at the address; perhaps later."""


class Dismissed(RemoteError):
    """The server ended the session."""

    def __init__(self, url: str) -> None:
        super().__init__("the server ended the session", subject=url)


async def following(url: str, attempt: Callable[[str], Awaitable[T]]) -> T:
    """Do something at a URL, or where servers send us from there."""
    for _ in range(MAX_REDIRECTS):
        try:
            return await attempt(url)
        except Elsewhere as elsewhere:
            url = elsewhere.url
    return await attempt(url)


class RtspClient(asyncio.Protocol):
    """A connection and the session on it. Use as: open, then ``play`` or ``record``, then close."""

    def __init__(
        self,
        url: str,
        *,
        key: str = "",
        on_packet: PacketCallback | None = None,
        share: bool = False,
    ) -> None:
        """``key``: shown as the password where the URL has none. ``share``: ask for titles to be
        sent by several nodes."""
        self._loop = asyncio.get_running_loop()
        user = "helio" if key and "@" not in url.partition("://")[2].partition("/")[0] else ""
        self.session = ClientSession(
            url,
            username=user,
            password=key if user else "",
            cnonce=secrets.token_hex(16),
            share=share,
            now=self._loop.time(),
        )
        """The protocol's machine."""
        self.failure: asyncio.Future[HelioError] = self._loop.create_future()
        """Done once the session cannot go on, with the reason."""
        self.udp = False
        """Whether media go by UDP."""
        self.peer = ""
        """The server's address."""
        self._on_packet = on_packet
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._events: asyncio.Queue[ClientEvent] = asyncio.Queue()
        self._ports = MediaPorts(self.datagram)
        self._targets: dict[tuple[int, bool], tuple[str, int]] = {}

    # --- what callers ask for -------------------------------------------------------------------

    async def open(self) -> None:
        """Connect; raises ``Absent`` if the server cannot be reached."""
        parts = urlsplit(self.session.url)
        if parts.scheme not in ("rtsp", "rtsps") or not parts.hostname:
            raise MalformedError("rtsp", "URL; it should be like rtsp://host:8554/name")
        tls = ssl.create_default_context() if parts.scheme == "rtsps" else None
        try:
            port = parts.port or (322 if tls else 554)
        except ValueError:
            raise MalformedError("rtsp", "port of the URL") from None
        place = f"{parts.hostname}:{port}"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._loop.create_connection(lambda: self, parts.hostname, port, ssl=tls)
        except TimeoutError:
            raise Absent(f"{place} does not answer", subject=self.session.url) from None
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            message = f"cannot reach {place}: {reason}"
            raise Absent(message, subject=self.session.url) from error

    async def describe(self) -> Described:
        """What can be played."""
        self.session.connect(self._loop.time())
        self.session.describe(self._loop.time())
        self._pump()
        return await self._expect(Described)

    async def play(
        self, tracks: Sequence[Track], *, udp: bool, range: Range | None = None
    ) -> Playing:
        """Set tracks up and play them; changes to TCP if the server refuses UDP."""
        await self._setup(tracks, udp)
        return await self.resume(range)

    async def resume(self, range: Range | None = None, *, speed: float | None = None) -> Playing:
        """Play what is set up, from ``range`` on or from where it was paused.

        ``speed``: how fast packets are to come, as a factor (RFC 2326 §12.35).
        """
        self.session.play(self._loop.time(), range, speed=speed)
        self._pump()
        return await self._expect(Playing)

    async def pause(self) -> None:
        """Have the server send nothing until ``resume``."""
        self.session.pause(self._loop.time())
        self._pump()
        await self._expect(Paused)

    async def record(self, sdp: str, tracks: Sequence[Track], *, udp: bool) -> None:
        """Announce and set up what will be sent; afterwards ``send`` may be called."""
        self.session.connect(self._loop.time())
        self.session.announce(sdp, self._loop.time())
        self._pump()
        await self._expect(Announced)
        await self._setup(tracks, udp)
        self.session.record(self._loop.time())
        self._pump()
        await self._expect(Recording)

    def send(self, track: int, data: bytes, *, rtcp: bool = False) -> None:
        """Send a packet of a track that is set up; never waits, see ``unsent``."""
        if self.failure.done():
            return
        if self.udp:
            target = self._targets.get((track, rtcp))
            if target is not None:
                self._ports.send(track, data, target, rtcp=rtcp)
        elif track in self.session.transports:
            self.session.send_frame(track, data, rtcp=rtcp)
            self._flush()

    def send_to(self, track: int, data: bytes, address: Address, *, rtcp: bool = False) -> None:
        """Send by UDP to somebody else than the server."""
        self._ports.send(track, data, address, rtcp=rtcp)

    async def take_over(self, other: RtspClient) -> None:
        """After ``open``: go on with a session that several nodes send, and whose connection was
        lost. The other client has no session and no ports any more then."""
        self.session.take_over(other.session, self._loop.time())
        self._pump()
        await self._expect(TakenOver)
        self.udp = other.udp
        self._targets = other._targets
        self._ports, other._ports = other._ports, self._ports
        self._ports.on_datagram = self.datagram

    @property
    def unsent(self) -> int:
        """Bytes that wait for the connection to take them."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def dropped(self) -> int:
        """Packets that found our UDP sockets full."""
        return self._ports.dropped

    async def close(self, timeout: float = 1.0) -> None:
        """End the session with TEARDOWN if there is one, and everything else."""
        if self.session.session_id is not None and not self.session.closing:
            with contextlib.suppress(HelioError, TimeoutError):
                self.session.teardown(self._loop.time())
                self._pump()
                async with asyncio.timeout(timeout):
                    await self._expect(Ended)
        self.abandon()

    def abandon(self) -> None:
        """End everything but the session, without a word; harmless twice."""
        self.session.closing = True
        self._ports.close()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.close()

    # --- asyncio ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = transport.get_extra_info("peername")[0]
        raw = transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        self.session.receive_data(data, self._loop.time())
        self._pump()

    def connection_lost(self, exc: Exception | None) -> None:
        self.session.connection_lost(self._loop.time())
        self._pump()

    def _pump(self) -> None:
        """Pass events on, send what is to be sent, and be called again in time."""
        while (event := self.session.next_event()) is not None:
            if isinstance(event, Frame):
                self.take(event.track, event.rtcp, event.data)
                continue
            if isinstance(event, Failed | Ended) and not self.failure.done():
                gone = Dismissed(self.session.url)
                self.failure.set_result(event.error if isinstance(event, Failed) else gone)
            self.noticed(event)
            self._events.put_nowait(event)
        self._flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self.session.timer()
        if due is not None:
            self._timer = self._loop.call_at(due, self._timed)

    def _flush(self) -> None:
        if self._transport is not None and (data := self.session.data_to_send()):
            self._transport.write(data)

    def _timed(self) -> None:
        self.session.handle_timer(self._loop.time())
        self._pump()

    def datagram(self, track: int, rtcp: bool, data: bytes, address: Address) -> None:
        """A datagram came to one of our ports."""
        if address[0] == self.peer:  # nobody else's, whatever the port
            self.take(track, rtcp, data)

    def noticed(self, event: ClientEvent) -> None:
        """An event came, before any packet that follows it; for subclasses."""

    def take(self, track: int, rtcp: bool, data: bytes) -> None:
        """A packet came."""
        if self._on_packet is not None:
            self._on_packet(track, rtcp, data, self._loop.time())

    async def _expect(self, *kinds: type[E]) -> E:
        """The next event of a kind; raises what made the session fail instead."""
        while True:
            event = await self._events.get()
            if isinstance(event, kinds):
                return event
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Redirected):
                raise Elsewhere(event.url)
            if isinstance(event, Ended):
                raise Dismissed(self.session.url)

    # --- media ------------------------------------------------------------------------------------

    async def _setup(self, tracks: Sequence[Track], udp: bool) -> None:
        self.udp = udp
        wanted = []
        for place, track in enumerate(tracks):
            if udp:
                assert self._transport is not None
                host = self._transport.get_extra_info("sockname")[0]
                ports = await self._ports.bind(track.id, host)
                wanted.append((track.id, Transport(client_port=ports)))
            else:
                channels = (2 * place, 2 * place + 1)
                wanted.append((track.id, Transport(lower="TCP", interleaved=channels)))
        self.session.setup(wanted, self._loop.time())
        self._pump()
        event: Ready | TransportRefused = await self._expect(Ready, TransportRefused)
        if isinstance(event, TransportRefused):
            if not udp:
                raise RemoteError("the server refuses TCP too", subject=self.session.url)
            await self._setup(tracks, udp=False)
            return
        for track_id, transport in event.transports:
            if udp and transport.server_port is not None:
                host = transport.source or self.peer
                for rtcp in (False, True):
                    self._targets[track_id, rtcp] = (host, transport.server_port[rtcp])
