"""Publishes a source to a server over RTSP, and comes back when the server was away."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from heliograph.cli.publishing.feed import Feed
from heliograph.cli.publishing.pacing import Backoff, Pacer
from heliograph.cli.publishing.units import Source, Unit
from heliograph.model.errors import (
    ForbiddenError,
    HelioError,
    NotFoundError,
    UnauthorizedError,
    UnsupportedError,
)
from heliograph.model.media import Kind
from heliograph.player.rtsp_client import Absent, RtspClient, following
from heliograph.protocols.payload import AccessUnit
from heliograph.protocols.rtp_stream import REPORT_INTERVAL, Numbers, RtpStream
from heliograph.protocols.sdp import sdp_for_channel

#: Bytes that may wait for a TCP connection: 2 s at 4 Mbit/s. Beyond, pictures are left out.
MAX_UNSENT = 1 << 20
#: Datagrams sent in one go: a receive buffer of 208 KiB, Linux's default, holds eight times that.
BURST = 16
#: Seconds between two bursts: with the above 150 Mbit/s, above every stream.
BURST_GAP = 0.001
#: Seconds to wait for a server that was never there: one that starts with us, as a machine's
#: services do, is up by then; a wrong address should be told while somebody looks.
PATIENCE = 60.0
#: Refusals that do not pass by themselves: no use in asking again.
FINAL = (UnauthorizedError, ForbiddenError, NotFoundError, UnsupportedError)


@dataclass(frozen=True, slots=True)
class Status:
    """How it goes, once a second and at each change."""

    state: Literal["connecting", "publishing", "away", "ended"]
    """``away``: the server is gone, or not there yet, and will be tried again."""
    seconds: float
    """Since the beginning."""
    packets: int
    """RTP packets sent."""
    bytes: int
    """Payload bytes in them."""
    bitrate: int
    """Payload bits a second since the status before."""
    dropped: int
    """Frames left out: encoding, or the way to the server, was too slow."""
    stalls: int
    """How often the source fell so far behind that the stream paused."""
    loss: float | None
    """Share of packets that the server reports as lost lately, 0–1."""
    lost: int
    """Packets that the server reports as lost in all."""
    reconnects: int
    """How often the server was lost and found again."""
    reason: str | None = None
    """Why the server is away."""

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)


class Publisher:
    """One publication, from ``run`` to its end."""

    def __init__(
        self,
        url: str,
        source: Source,
        *,
        key: str = "",
        udp: bool = False,
        title: str = "",
        duration: float | None = None,
        patience: float = PATIENCE,
        on_status: Callable[[Status], None] = lambda status: None,
    ) -> None:
        """``duration``: seconds of media after which to end. ``patience``: seconds to wait for a
        server that was not there yet.
        """
        self._url, self._key, self._udp = url, key, udp
        self._source, self._title, self._duration = source, title, duration
        self._patience = patience
        self._on_status = on_status
        self._loop = asyncio.get_running_loop()
        self._feed = Feed(source)
        cname = f"{secrets.token_hex(8)}@heliograph"
        self.streams = [
            RtpStream(
                track,
                Numbers(secrets.randbits(32), secrets.randbits(16), secrets.randbits(32)),
                cname,
            )
            for track in source.tracks
        ]
        """One for each track."""
        self._sdp = sdp_for_channel("heliograph", title, source.tracks, secrets.randbits(31))
        self._pacer: Pacer | None = None
        self._client: RtspClient | None = None
        self._waits_for_key: set[int] = set()
        self._reported = 0.0
        self._dropped = 0
        self._reconnects = 0
        self._began = self._status_at = self._loop.time()
        self._status_octets = 0
        self._away: str | None = None
        self._ended = asyncio.Event()

    def stop(self) -> None:
        """End it: TEARDOWN, then ``run`` returns."""
        self._ended.set()

    async def run(self) -> None:
        """Publish until the source ends, ``stop`` is called or the server refuses for good."""
        self._tell("connecting")
        if not await self._first_connection():
            return
        keeper = asyncio.create_task(self._keep_connected())
        sender = asyncio.create_task(self._send_all())
        ticker = asyncio.create_task(self._tick())
        stopped = asyncio.create_task(self._ended.wait())
        tasks = {keeper, sender, stopped, ticker}
        try:
            self._tell("publishing")
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._feed.stop()
            await self._feed.join()
            if self._client is not None:
                for place, stream in enumerate(self.streams):
                    self._client.send(place, stream.goodbye(), rtcp=True)
                await self._client.close()
            self._tell("ended")

    async def _first_connection(self) -> bool:
        """Connect; False if ``stop`` was called meanwhile. Raises what the server says."""
        connecting = asyncio.create_task(self._connect_patiently())
        stopped = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({connecting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done():
                self._client = connecting.result()
            return self._client is not None
        finally:
            stopped.cancel()
            connecting.cancel()

    async def _connect_patiently(self) -> RtspClient:
        """Connect to a server that may not be there yet; what it says itself holds at once."""
        backoff, deadline = Backoff(), self._loop.time() + self._patience
        while True:
            try:
                client = await self._connect()
            except Absent as error:
                wait = backoff.next(random.random())
                if self._loop.time() + wait > deadline:
                    raise
                self._away = error.message
                self._tell("away")
                await asyncio.sleep(wait)
            else:
                self._away = None
                return client

    # --- the connection -------------------------------------------------------------------------

    async def _connect(self) -> RtspClient:
        async def attempt(url: str) -> RtspClient:
            client = RtspClient(url, key=self._key, on_packet=self._take)
            try:
                await client.open()
                await client.record(self._sdp, self._source.tracks, udp=self._udp)
            except BaseException:
                await client.close()
                raise
            return client

        client = await following(self._url, attempt)
        # A decoder begins with a keyframe: what comes before one would be for nothing.
        self._waits_for_key = {t.id for t in self._source.tracks if t.kind is Kind.VIDEO}
        self._reported = 0.0
        return client

    async def _keep_connected(self) -> None:
        """Wait for the connection to fail, make a new one; raises where that is of no use."""
        backoff = Backoff()
        while True:
            assert self._client is not None
            error = await self._client.failure
            client, self._client = self._client, None
            await client.close()
            while self._client is None:
                self._away = error.message
                self._tell("away")
                await asyncio.sleep(backoff.next(random.random()))
                try:
                    self._client = await self._connect()
                except FINAL:
                    raise
                except HelioError as again:
                    error = again
            backoff.succeeded()
            self._away = None
            self._reconnects += 1
            self._tell("publishing")

    def _take(self, track: int, rtcp: bool, data: bytes, arrival: float) -> None:
        if rtcp:
            for stream in self.streams:
                stream.take_rtcp(data)

    # --- sending --------------------------------------------------------------------------------

    async def _send_all(self) -> None:
        async for unit in self._feed.units():
            now = self._loop.time()
            if self._pacer is None:
                self._pacer = Pacer(origin=now - unit.due)
            if self._duration is not None and unit.due >= self._duration:
                return
            while (wait := self._pacer.wait(unit.due, now)) > 0:
                await asyncio.sleep(wait)
                now = self._loop.time()
            self._pacer.sent(unit.due, now)
            self._report(now)
            await self._send(unit)

    async def _send(self, unit: Unit) -> None:
        client = self._client
        if client is None:
            return  # the server is away, the programme goes on
        if unit.track in self._waits_for_key:
            if not unit.key:
                return
            self._waits_for_key.discard(unit.track)
        if client.unsent > MAX_UNSENT:
            self._dropped += 1
            if self._source.tracks[unit.track].kind is Kind.VIDEO:
                self._waits_for_key.add(unit.track)
            return
        assert self._pacer is not None
        packets = self.streams[unit.track].packetize(
            AccessUnit(unit.data, unit.timestamp, unit.key), self._pacer.shifted
        )
        for number, packet in enumerate(packets, 1):
            client.send(unit.track, packet)
            if client.udp and number % BURST == 0:
                await asyncio.sleep(BURST_GAP)

    def _report(self, now: float) -> None:
        """Sender reports, of all tracks for the same instant."""
        if self._client is None or (self._reported and now < self._reported + REPORT_INTERVAL):
            return
        assert self._pacer is not None
        self._reported = now
        unix_us = time.time_ns() // 1000
        media_time = self._pacer.media_time(now)
        for place, stream in enumerate(self.streams):
            self._client.send(place, stream.report(unix_us, media_time), rtcp=True)

    # --- what people see ------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._tell("publishing" if self._away is None else "away")

    def _tell(self, state: Literal["connecting", "publishing", "away", "ended"]) -> None:
        now = self._loop.time()
        octets = sum(stream.octets for stream in self.streams)
        span = max(now - self._status_at, 0.1)
        losses = [stream.loss for stream in self.streams if stream.loss is not None]
        status = Status(
            state=state,
            seconds=round(now - self._began, 3),
            packets=sum(stream.packets for stream in self.streams),
            bytes=octets,
            bitrate=round(8 * (octets - self._status_octets) / span),
            dropped=self._dropped + self._source.dropped + self._feed.dropped,
            stalls=0 if self._pacer is None else self._pacer.stalls,
            loss=max(losses) if losses else None,
            lost=sum(stream.lost for stream in self.streams),
            reconnects=self._reconnects,
            reason=self._away,
        )
        self._status_at, self._status_octets = now, octets
        with contextlib.suppress(BrokenPipeError):
            self._on_status(status)
