"""One URL's media from its server: RTSP control, packets by UDP or within the connection.

A ``Feed`` turns what comes into arrivals with media times, and hands them to a ``Receiver``.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from heliograph.model.errors import HelioError, MalformedError, RemoteError, UnsupportedError
from heliograph.model.media import Kind, Track
from heliograph.player.arrivals import Arrival, Numbering
from heliograph.player.reception import Reception
from heliograph.player.retransmission import Request
from heliograph.player.rtsp_client import RtspClient, following
from heliograph.player.timeline import Origin, Timeline
from heliograph.protocols import payload, rtcp
from heliograph.protocols.rtp import RtpPacket, sequence_distance
from heliograph.protocols.rtsp import Range
from heliograph.protocols.rtsp.events import ClientEvent, Playing
from heliograph.protocols.rtsp.headers import parse_range
from heliograph.protocols.rtsp.targets import without_credentials
from heliograph.protocols.sdp import SessionDescription

#: Seconds without a packet by UDP after which TCP is tried: keyframes come every two seconds, but
#: sound and a live channel's burst come at once.
UDP_PATIENCE = 3.0
#: Seconds without any packet after which the server is taken for dead.
SILENCE = 10.0
#: Seconds between receiver reports (RFC 3550 §6.2).
REPORT_EVERY = 5.0
#: Packets kept while an answer to PLAY is awaited: half a second of 45 Mbit/s.
MAX_STASH = 4096
#: Seconds before the end at which silence is taken for the end: durations are rounded.
END_SLACK = 1.0
#: Seconds that the last picture or piece of sound lasts at most, mostly.
LAST_FRAME = 0.1
#: Seconds of silence that are the end, there.
END_SILENCE = 1.5


class Receiver(Protocol):
    """Who takes what a feed brings. All is called in the event loop and must not wait."""

    def arrived(self, arrival: Arrival, media: float) -> None:
        """A packet came; ``media``: its media time in seconds."""

    def restarted(self, stream: int, start: float) -> None:
        """Media of this stream begin anew at ``start``; what was buffered is of the past."""

    def moved(self, stream: int, seconds: float) -> None:
        """Media times told so far were too low by so much."""


@dataclass(frozen=True, slots=True)
class Stream:
    """One track that is played."""

    index: int
    """Among all streams of the player."""
    track: Track
    url: str
    """Where it comes from, without credentials."""


def duration_of(description: SessionDescription) -> float | None:
    """Seconds a title lasts; ``None`` for what has no end: a live channel."""
    attributes = [*description.attributes, *(a for m in description.media for a in m.attributes)]
    for attribute in attributes:
        if attribute.name.lower() == "range" and attribute.value:
            with contextlib.suppress(MalformedError):
                wanted = parse_range(attribute.value)
                if wanted.end_seconds is not None:
                    return wanted.end_seconds - (wanted.start_seconds or 0.0)
    return None


def playable(tracks: Sequence[Track]) -> tuple[list[Track], list[str]]:
    """The tracks that can be played, and why others cannot."""
    good, remarks = [], []
    for track in tracks:
        if track.kind is Kind.DATA:
            continue
        try:
            payload.depacketizer(track)
        except HelioError as error:
            name = track.encoding or track.codec.value
            remarks.append(f"track {track.id} ({name}) is left out: {error.message}")
        else:
            good.append(track)
    return good, remarks


class Feed:
    """One session with one server. Use as: ``open``, ``start``, then control; at last ``close``."""

    def __init__(
        self,
        url: str,
        receiver: Receiver,
        *,
        first_stream: int,
        origin: Origin,
        udp: bool = True,
        key: str = "",
    ) -> None:
        """``first_stream``: index of its first track among all. ``origin``: of all feeds played
        together. ``udp``: TCP is taken if nothing comes. ``key``: shown as the password where the
        URL has none."""
        self._origin = origin
        self._url, self._receiver, self._key = url, receiver, key
        self._first_stream = first_stream
        self._loop = asyncio.get_running_loop()
        self._client: _Client | None = None
        self._order = asyncio.Lock()  # one request and its answer at a time
        self._tasks: list[asyncio.Task[None]] = []
        self._own = secrets.randbits(32)
        self._stash: deque[tuple[int, RtpPacket, float]] | None = None
        self._infos: dict[int, int] = {}  # by track: first sequence number of what was asked for
        self._timeline = Timeline({})
        self._numberings: dict[int, Numbering] = {}
        self._streams: dict[int, int] = {}
        self._begin_anew = False
        self._nacks: frozenset[int] = frozenset()
        self.udp = udp
        """Whether media come by UDP."""
        self.url = without_credentials(url)
        """Where it is played from, without credentials; after redirections."""
        self.duration: float | None = None
        """Seconds; ``None`` for a channel."""
        self.streams: tuple[Stream, ...] = ()
        self.receptions: dict[int, Reception] = {}
        """By stream."""
        self.remarks: list[str] = []
        """What people should know."""
        self.paused = False
        self.speed: float | None = None
        """Factor of the rate agreed to; ``None`` where the server does not change it."""
        self.last_packet = 0.0
        """Loop's time of the newest packet."""
        self.failed: asyncio.Future[HelioError] = self._loop.create_future()
        """Done when the session cannot go on."""
        self.stashed_away = 0
        """Packets dropped since the answer to PLAY came too late."""

    @property
    def live(self) -> bool:
        """Whether it is a channel: no seeking, no pausing."""
        return self.duration is None

    # --- session ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and learn what there is; raises ``HelioError``."""
        self._client = await following(self._url, self._connect)
        assert self._client is not None

    async def _connect(self, url: str) -> _Client:
        client = _Client(url, self, key=self._key)
        try:
            await client.open()
            described = await client.describe()
        except BaseException:
            await client.close()
            raise
        tracks, remarks = playable(described.tracks)
        if not tracks:
            await client.close()
            raise UnsupportedError(
                "; ".join(remarks) or "nothing that can be seen or heard", subject=url
            )
        self.remarks += [one for one in remarks if one not in self.remarks]
        self.url = client.session.url
        self.duration = duration_of(described.description)
        self.streams = tuple(
            Stream(self._first_stream + place, track, self.url)
            for place, track in enumerate(tracks)
        )
        self._streams = {stream.track.id: stream.index for stream in self.streams}
        self.receptions = {s.index: Reception(s.track.clock_rate) for s in self.streams}
        self._numberings = {s.track.id: Numbering(s.index) for s in self.streams}
        self._timeline = Timeline(
            {s.track.id: s.track.clock_rate for s in self.streams},
            origin=self._origin,
            on_moved=lambda track, seconds: self._receiver.moved(self._streams[track], seconds),
        )
        self._nacks = _answering(described.description, self.streams)
        return client

    async def start(self, at: float | None = None) -> None:
        """Play; ``at``: seconds from the beginning of a title. Returns when packets come."""
        if self._client is None:
            await self.open()
        try:
            await self._play(at)
            await self._first_packet(UDP_PATIENCE if self.udp else SILENCE)
        except TimeoutError:
            if not self.udp:
                raise RemoteError(
                    f"no packet came within {SILENCE:.0f} s", subject=self.url
                ) from None
            self.remarks.append(f"nothing came by UDP within {UDP_PATIENCE:.0f} s: TCP")
            await self._disconnect()
            self.udp = False
            await self.open()
            await self.start(at)
            return
        self._tasks = [asyncio.create_task(self._watch(), name=f"watch {self.url}")]

    async def _play(self, at: float | None) -> None:
        client = self._connected
        self._expect_start()
        wanted = None if self.live else Range("npt", f"{at or 0.0:.3f}")
        tracks = [stream.track for stream in self.streams]
        asked_udp = self.udp
        await client.play(tracks, udp=self.udp, range=wanted)
        self.udp = client.udp
        if asked_udp and not self.udp:
            self.remarks.append("the server refuses UDP: TCP")

    @property
    def related(self) -> bool:
        """Whether its streams' media times are told by the server, not guessed."""
        return self._timeline.related

    @property
    def _connected(self) -> _Client:
        if self.failed.done():
            raise self.failed.result()
        assert self._client is not None, "open first"
        return self._client

    async def _first_packet(self, patience: float) -> None:
        began = self._loop.time()
        while not any(one.packets for one in self.receptions.values()):
            left = began + patience - self._loop.time()
            if left <= 0:
                raise TimeoutError
            assert self._client is not None
            self._client.came.clear()
            came = asyncio.ensure_future(self._client.came.wait())
            try:
                waits: set[asyncio.Future[object]] = {came, self._client.failure}  # type: ignore[arg-type]
                await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            finally:
                came.cancel()
            if self._client.failure.done():
                raise self._client.failure.result()

    async def pause(self) -> None:
        """Have the server stop sending."""
        async with self._order:
            await self._connected.pause()
            self.paused = True

    async def resume(self, *, speed: float | None = None) -> None:
        """Go on after ``pause`` from where the server stopped."""
        async with self._order:
            self._expect_start(anew=False)
            await self._asking(None, speed if self.heeds_speed else None)

    async def seek(self, seconds: float) -> None:
        """Play from another time of the title on."""
        async with self._order:
            client = self._connected
            if not self.paused:
                await client.pause()  # servers queue a PLAY behind the one that goes on
                self.paused = True
            self._expect_start()
            await self._asking(Range("npt", f"{max(0.0, seconds):.3f}"), None)

    @property
    def heeds_speed(self) -> bool:
        """Whether the server takes Speed for what RFC 2326 §12.35 says: packets come faster, and
        timestamps mean what they meant. GStreamer's makes the film itself run faster."""
        return self._client is not None and "heliograph" in self._client.session.server.lower()

    async def change_speed(self, factor: float) -> bool:
        """Ask for packets at ``factor`` times the usual rate; False where that is not done."""
        if not self.heeds_speed:
            return False
        async with self._order:
            playing = await self._connected.resume(speed=factor)
            self.speed = playing.speed
            return self.speed is not None

    async def _asking(self, wanted: Range | None, speed: float | None) -> None:
        try:
            playing = await self._connected.resume(wanted, speed=speed)
        finally:
            self._release()
        self.paused = False
        self.last_packet = self._loop.time()
        if speed is not None:
            self.speed = playing.speed

    async def close(self) -> None:
        """End the session and everything else; harmless twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._disconnect()

    async def _disconnect(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    # --- what comes -------------------------------------------------------------------------------

    def _expect_start(self, *, anew: bool = True) -> None:
        """Keep packets until PLAY's answer tells which media time they have."""
        self._stash = deque()
        self._begin_anew = anew

    def noticed(self, event: ClientEvent) -> None:
        """PLAY was answered: before any packet that came behind the answer."""
        if not isinstance(event, Playing) or self._stash is None:
            return
        infos = [(t, i.rtptime) for t, i in event.rtp_info if i.rtptime is not None]
        start = event.range.start_seconds if event.range is not None else None
        self._infos = {t: i.seq for t, i in event.rtp_info if i.seq is not None}
        if self._begin_anew:
            self._timeline.begin(start or 0.0, [] if self.live else infos)
            for stream in self.streams:
                self.receptions[stream.index].restart()
                self._numberings[stream.track.id] = Numbering(stream.index)
                self._receiver.restarted(stream.index, start or 0.0)
        elif infos and start is not None:
            self._timeline.begin(start, infos)
        self._release()

    def _release(self) -> None:
        stash, self._stash = self._stash, None
        for track, packet, now in stash or ():
            # By UDP what was sent before the seek may come after its answer, and the other way
            # round; sequence numbers tell.
            if not self._begin_anew or track in self._infos:
                self._deliver(track, packet, now)

    def take(self, track: int, is_rtcp: bool, data: bytes, now: float) -> None:
        """A datagram or frame came."""
        stream = self._streams.get(track)
        if stream is None:
            return
        reception = self.receptions[stream]
        if is_rtcp:
            report = reception.take_rtcp(data, time.time_ns() // 1000)
            if report is not None:
                wall = rtcp.unix_us_from_ntp(report.ntp) / 1e6
                self._timeline.report(track, wall, report.rtp_timestamp)
            return
        try:
            packet = RtpPacket.parse(data)
        except MalformedError:
            reception.malformed += 1
            return
        if packet.payload_type != self.streams[stream - self._first_stream].track.payload_type:
            reception.malformed += 1
            return
        self.last_packet = now
        if self._stash is None:
            self._deliver(track, packet, now)
        elif len(self._stash) < MAX_STASH:
            self._stash.append((track, packet, now))
        else:
            self.stashed_away += 1

    def _deliver(self, track: int, packet: RtpPacket, now: float) -> None:
        first = self._infos.get(track)
        if first is not None and self._begin_anew:
            ahead = sequence_distance(first, packet.sequence_number)
            if ahead < 0:
                return  # of what was played before
            if ahead > 1000:
                del self._infos[track]  # before the numbers wrap
        reception = self.receptions[self._streams[track]]
        reception.take(packet, now)
        arrival = self._numberings[track].number(packet, now)
        if arrival is not None:
            media = self._timeline.media(track, packet.timestamp, now)
            self._receiver.arrived(arrival, media)

    def ask(self, request: Request) -> bool:
        """Ask for packets again (RFC 4585 NACK); False where the server does not answer such."""
        if request.stream not in self.repeats or self._client is None:
            return False
        ssrc = self.receptions[request.stream].ssrc or 0
        lost = tuple(number & 0xFFFF for number in request.sequences)
        report = self.receptions[request.stream].report(self._own, time.time_ns() // 1000)
        nack = rtcp.serialize((rtcp.Nack(self._own, ssrc, lost),))
        track = self.streams[request.stream - self._first_stream].track.id
        self._client.send(track, report + nack, rtcp=True)
        return True

    @property
    def repeats(self) -> frozenset[int]:
        """Streams whose server sends lost packets again when asked."""
        return self._nacks if self.udp else frozenset()

    def all_sent(self, newest: float) -> bool:
        """Whether a title's server has about sent all: asked for more it would begin anew."""
        if self.duration is None:
            return False
        over = all(reception.ended for reception in self.receptions.values())
        return over or newest >= self.duration - END_SLACK

    def ended(self, newest: float) -> bool:
        """Whether a title is over. ``newest``: media time of the newest packet."""
        if self.duration is None or self.paused:
            return False
        if all(reception.ended for reception in self.receptions.values()):
            return True
        quiet = self._loop.time() - self.last_packet
        if newest >= self.duration - LAST_FRAME:
            return quiet > LAST_FRAME
        return newest >= self.duration - END_SLACK and quiet > END_SILENCE

    async def _watch(self) -> None:
        """Report to the server and notice its silence."""
        reported = 0.0
        try:
            while True:
                client = self._connected
                await asyncio.wait({client.failure}, timeout=0.5)
                if client.failure.done():
                    self._fail(client.failure.result())
                    return
                now = self._loop.time()
                quiet = now - self.last_packet
                over = all(one.ended for one in self.receptions.values())
                if quiet > SILENCE and not self.paused and not over:
                    message = f"nothing came for {SILENCE:.0f} s"
                    self._fail(RemoteError(message, subject=self.url))
                    return
                if now - reported >= REPORT_EVERY:
                    reported = now
                    for stream in self.streams:
                        reception = self.receptions[stream.index]
                        made = reception.report(self._own, time.time_ns() // 1000)
                        client.send(stream.track.id, made, rtcp=True)
        except HelioError as error:
            self._fail(error)

    def _fail(self, error: HelioError) -> None:
        if not self.failed.done():
            self.failed.set_result(error)


def _answering(description: SessionDescription, streams: Sequence[Stream]) -> frozenset[int]:
    """Streams whose description offers generic NACKs (RFC 4585 §4.2)."""
    formats = {
        (attribute.value or "").partition(" ")[0]
        for medium in description.media
        for attribute in medium.attributes
        if attribute.name.lower() == "rtcp-fb"
        and (attribute.value or "").partition(" ")[2].strip().lower() == "nack"
    }
    return frozenset(
        s.index for s in streams if "*" in formats or str(s.track.payload_type) in formats
    )


class _Client(RtspClient):
    """The connection of a feed."""

    def __init__(self, url: str, feed: Feed, *, key: str) -> None:
        super().__init__(url, key=key)
        self._feed = feed
        self.came = asyncio.Event()
        """Set with each packet."""

    def noticed(self, event: ClientEvent) -> None:
        self._feed.noticed(event)

    def take(self, track: int, rtcp: bool, data: bytes) -> None:
        self._feed.take(track, rtcp, data, self._loop.time())
        self.came.set()
