"""One RTMP connection: bytes in and out, and its access units on their way to the plane."""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, cast

import structlog

from heliograph.live.channel import Channel
from heliograph.live.gate import Asker
from heliograph.live.grants import Grant
from heliograph.live.publish import Publishing, PublishKind
from heliograph.model.errors import HelioError, NotFoundError
from heliograph.model.media import Track
from heliograph.protocols.mp4.units import TimedUnit
from heliograph.protocols.payload import AccessUnit
from heliograph.protocols.rtmp import ServerSession
from heliograph.protocols.rtmp.events import (
    Connected,
    ConnectionFailed,
    Ended,
    Metadata,
    PublishRequested,
    ServerEvent,
    TrackRefused,
    TracksChanged,
    UnitReceived,
)
from heliograph.protocols.rtmp.server import State
from heliograph.protocols.rtp_stream import REPORT_INTERVAL, Numbers, RtpStream
from heliograph.servers.listening import host_of

if TYPE_CHECKING:
    from heliograph.servers.rtmp import RtmpServer

log = structlog.get_logger(__name__)

#: Bytes of answers that may wait for a client that does not read; a set-up has 4 000.
MAX_UNSENT = 64 * 1024
#: Least seconds between two looks at the session's time-outs.
TIMER_STEP = 0.25
#: Seconds a client has to read our last words.
LINGER = 2.0
#: Seconds an accepted publisher has to send media that can be relayed.
MEDIA_TIMEOUT = 15.0
#: Seconds by which timestamps and the clock may drift apart until they are joined anew: more than
#: a stalled network makes good again is a jump of the encoder's clock.
MAX_DRIFT = 10.0
#: Seconds by which the clocks are brought together at each report: 400 µs a second, more than two
#: quartzes ever differ.
SLEW = 0.002


def destination(request: PublishRequested) -> tuple[str, str]:
    """The channel's name and the key that a publisher means.

    ``live/NAME?key=KEY`` and ``NAME?key=KEY``; or ``NAME`` as the application and the key as the
    stream's name, for encoders that have a field for a secret stream key.
    """
    app = request.app
    if app == "live" or app.startswith("live/"):
        app = app[5:]
    key = request.query.get("key", "")
    if not app:
        return request.stream, key
    return app, key or request.stream


class MediaClock:
    """When media time was what, by our clock: one line for all tracks of a publisher.

    Sender reports of both tracks are read from the same line, so they keep together however the
    packets come. It follows the earliest arrivals: lateness is the network's.
    """

    def __init__(self) -> None:
        self._origin: float | None = None
        self._least: float | None = None

    def arrived(self, media_time: float, now: float) -> None:
        """A unit to be decoded at ``media_time`` came; both in seconds."""
        if self._origin is None or abs(now - self._origin - media_time) > MAX_DRIFT:
            self._origin, self._least = now - media_time, None
            return
        late = now - self._origin - media_time
        self._least = late if self._least is None else min(self._least, late)

    def at(self, now: float) -> float:
        """Media time at ``now``; brings the clocks a little closer."""
        assert self._origin is not None, "a unit comes first"
        if self._least is not None:
            self._origin += max(-SLEW, min(SLEW, self._least))
            self._least = None
        return now - self._origin


class RtmpConnection(asyncio.Protocol):
    """An encoder's connection, which publishes one stream."""

    def __init__(self, server: RtmpServer) -> None:
        self._server = server
        self._plane = server.plane_loop.plane
        self._session = ServerSession(random=os.urandom, now=server.clock())
        self._transport: asyncio.Transport | None = None
        self._peer = ""
        self._agent = ""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._lingering: asyncio.TimerHandle | None = None
        self._admitted: tuple[Channel, Grant] | None = None
        self._deciding: asyncio.Task[None] | None = None
        self._media_due = 0.0
        self._refusal = ""
        self._publishing: Publishing | None = None
        self._input = 0
        self._streams: dict[int, RtpStream] = {}
        self._clock = MediaClock()
        self._cname = f"{secrets.token_hex(8)}@heliograph"
        self._batch: tuple[int, list[bytes]] = (0, [])
        self._reported: dict[int, float] = {}
        self._log: Any = log

    # bytes

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport = transport
        self._peer = host_of(transport.get_extra_info("peername"))
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
        self._session.connection_lost()
        self._pump()
        self._disarm()
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self._server.connections.discard(self)

    def _pump(self) -> None:
        while (event := self._session.next_event()) is not None:
            self._take(event)
        self._push()
        self._flush()
        self._arm()

    def _flush(self) -> None:
        transport = self._transport
        data = self._session.data_to_send()
        if transport is None or transport.is_closing():
            return
        if data:
            transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNSENT:
            self._log.warning("rtmp client does not read")
            self._server.failed_connections += 1
            transport.abort()
        elif self._session.closing:
            transport.close()
            self._lingering = asyncio.get_running_loop().call_later(LINGER, self.abort)

    # time

    def _arm(self) -> None:
        due = self._due()
        if self._transport is None or due is None:
            self._disarm()
        elif self._timer is None or due < self._timer_at - TIMER_STEP:
            # What became due later is noticed when the timer fires: no new one for each message.
            self._disarm()
            self._timer_at = due
            delay = max(due - self._server.clock(), TIMER_STEP)
            self._timer = asyncio.get_running_loop().call_later(delay, self._on_timer)

    def _due(self) -> float | None:
        due = self._session.timer()
        waits = due is not None and self._admitted is not None and self._publishing is None
        return min(due, self._media_due) if due is not None and waits else due

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        now = self._server.clock()
        self._session.handle_timer(now)
        waits = self._admitted is not None and self._publishing is None
        if waits and not self._session.closing and now >= self._media_due:
            self._server.failed_connections += 1
            self._over(self._refusal or "no audio or video came")
        self._pump()

    # ends

    def end(self, reason: str) -> None:
        """End the publication from our side and close."""
        self._leave(reason)
        self._session.close(reason)
        self._flush()

    def abort(self) -> None:
        """Close without waiting for the client."""
        if self._transport is not None:
            self._transport.abort()

    def _dismissed(self, reason: str) -> None:
        """The channel ended our publication."""
        self._publishing = None
        self._log.info("rtmp publisher dismissed", reason=reason)
        self.end(reason)

    def _over(self, reason: str) -> None:
        self._log.warning("rtmp publication ended by us", reason=reason)
        self._leave(reason)
        self._session.close(reason)

    def _leave(self, reason: str) -> None:
        self._admitted = None
        publishing, self._publishing = self._publishing, None
        if publishing is not None:
            publishing.close(reason)
        self._batch = (0, [])

    # events

    def _take(self, event: ServerEvent) -> None:
        match event:
            case UnitReceived(unit):
                self._unit(unit)
            case Connected(agent=agent):
                self._agent = _printable(agent)
            case PublishRequested():
                self._ask(event)
            case Metadata(values):
                encoder = values.get("encoder")
                if isinstance(encoder, str) and encoder:
                    self._agent = _printable(encoder)
            case TracksChanged(tracks):
                self._publish(tracks)
            case TrackRefused(kind, error):
                self._refusal = f"{kind} is not relayed: {error.message}"
                self._log.warning("rtmp track refused", kind=str(kind), reason=error.message)
            case Ended(reason):
                self._push()
                self._leave(reason)
                self._session.close(reason)
            case ConnectionFailed(error):
                self._server.failed_connections += 1
                self._log.info("rtmp connection failed", reason=error.message)

    def _ask(self, request: PublishRequested) -> None:
        """Ask the gate; where it has to ask others, what the client sends meanwhile waits."""
        name, key = destination(request)
        gate, channel = self._server.gate, self._server.channels.find(name)
        asker = Asker(self._peer, "rtmp", secret=key)
        try:
            if channel is None:
                raise gate.stranger(name, asker)
            decision = gate.publish(channel, asker)
            if isinstance(decision, Grant):
                self._admit(channel, decision)
            else:
                self._deciding = asyncio.create_task(self._wait(channel, decision))
        except HelioError as error:
            self._refuse(error)

    async def _wait(self, channel: Channel, decision: Awaitable[Grant]) -> None:
        try:
            grant = await decision
            if self._session.state is State.ASKED:
                self._admit(channel, grant)
        except HelioError as error:
            if self._session.state is State.ASKED:
                self._refuse(error)
        self._pump()

    def _refuse(self, error: HelioError) -> None:
        self._server.refused_publishers += 1
        # A key may stand in the place of a name: what names no channel is not logged.
        reason = "no such channel" if isinstance(error, NotFoundError) else error.message
        self._log.info("rtmp refused", reason=reason, status=error.status)
        self._session.refuse(error)

    def _admit(self, channel: Channel, grant: Grant) -> None:
        channel.check_publisher(self._peer)
        self._log = self._log.bind(channel=channel.name)
        self._admitted = channel, grant
        self._media_due = self._server.clock() + MEDIA_TIMEOUT
        self._session.accept()

    def _publish(self, tracks: tuple[Track, ...]) -> None:
        """Attach with the tracks; again when their formats changed."""
        if self._admitted is None:
            return
        self._push()
        channel, grant = self._admitted
        before, self._publishing = self._publishing, None
        if before is not None:
            before.close("format changed")
        try:
            self._streams = {track.id: self._stream(track) for track in tracks}
            self._publishing = channel.publish(
                tracks, PublishKind.RTMP, self._peer, grant=grant, on_closed=self._dismissed
            )
        except HelioError as error:
            self._server.refused_publishers += 1
            self._over(error.message)
            return
        self._publishing.agent = self._agent
        self._input = self._publishing.add_input()
        self._reported.clear()

    def _stream(self, track: Track) -> RtpStream:
        numbers = Numbers(secrets.randbits(32), secrets.randbits(16), secrets.randbits(32))
        return RtpStream(track, numbers, self._cname)

    # media

    def _unit(self, unit: TimedUnit) -> None:
        stream = self._streams.get(unit.track)
        if self._publishing is None or stream is None:
            return
        now = self._server.clock()
        self._clock.arrived(unit.dts / stream.track.clock_rate, now)
        packets = stream.packetize(AccessUnit(unit.data, unit.pts, unit.key))
        if not packets:
            return
        track, batch = self._batch
        if track == unit.track:
            batch += packets
        else:
            self._push()
            self._batch = unit.track, packets
        if now >= self._reported.get(unit.track, float("-inf")) + REPORT_INTERVAL:
            self._push()
            self._report(now)

    def _push(self) -> None:
        """Give the plane what was made of one piece of input, track by track, in order."""
        track, packets = self._batch
        if packets and self._publishing is not None:
            self._publishing.push(track, packets)
        self._batch = (track, [])

    def _report(self, now: float) -> None:
        """Sender reports of all tracks that began, for the same instant."""
        unix_us, media_time = time.time_ns() // 1000, self._clock.at(now)
        for track, stream in self._streams.items():
            if stream.packets:
                self._reported[track] = now
                self._plane.push_rtcp(self._input, track, stream.report(unix_us, media_time))


def _printable(text: str) -> str:
    """What a program calls itself, fit for pages and logs."""
    return "".join(letter for letter in text[:100] if letter.isprintable())
