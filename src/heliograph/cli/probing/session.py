"""Listens to an RTSP source for a while and reports."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import av
import av.error
from av.video.codeccontext import VideoCodecContext

from heliograph.cli.probing.meter import TrackMeter, TrackReport
from heliograph.model.errors import RemoteError
from heliograph.model.media import Codec, Kind, Track
from heliograph.player.rtsp_client import RtspClient, following
from heliograph.protocols.payload import AccessUnit

#: Seconds without a packet after which UDP is taken for blocked. A source that plays at all sends
#: within a keyframe interval, mostly at once.
UDP_PATIENCE = 2.0
#: Seconds a source may take for its first packet, whatever carries it: two keyframe intervals.
FIRST_PACKET = 10.0

_DECODERS = {
    Codec.H264: "h264",
    Codec.H265: "hevc",
    Codec.VP8: "vp8",
    Codec.VP9: "vp9",
    Codec.AV1: "libdav1d",
    Codec.MPEG2: "mpeg2video",
}


@dataclass(frozen=True, slots=True)
class Report:
    """What was found of a source."""

    url: str
    """Without credentials."""
    transport: Literal["udp", "tcp"]
    """What carried media in the end."""
    seconds: float
    """How long was listened, from the first packet."""
    setup_ms: float
    """From connecting until playing was agreed."""
    tracks: tuple[TrackReport, ...]
    """One for each track."""
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Width and height of video tracks in pixels, by id, where a keyframe was decoded."""
    av_offset_ms: float | None = None
    """How much later video comes than the sound of the same instant, by the sender's clock."""
    remarks: tuple[str, ...] = ()
    """What went otherwise than asked."""

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        tracks = []
        for track in self.tracks:
            width, height = self.sizes.get(track.id, (None, None))
            tracks.append({**track.as_json(), "width": width, "height": height})
        return {
            "url": self.url,
            "transport": self.transport,
            "seconds": self.seconds,
            "setup_ms": self.setup_ms,
            "packets": sum(track.packets for track in self.tracks),
            "lost": sum(track.lost for track in self.tracks),
            "av_offset_ms": self.av_offset_ms,
            "remarks": list(self.remarks),
            "tracks": tracks,
        }


class Probe:
    """One measurement."""

    def __init__(self, url: str, *, key: str = "", collect: bool = False) -> None:
        """``collect``: keep the units of each track in ``units``."""
        self._url, self._key, self._collect = url, key, collect
        self._loop = asyncio.get_running_loop()
        self._ssrc = secrets.randbits(32)
        self._meters: dict[int, TrackMeter] = {}
        self._remarks: list[str] = []
        self._client: RtspClient | None = None
        self._any = asyncio.Event()
        self.units: dict[int, list[AccessUnit]] = {}
        """Whole units by track, with ``collect``."""

    async def run(self, seconds: float, transport: Literal["auto", "udp", "tcp"]) -> Report:
        """Listen for ``seconds`` from the first packet; raises when nothing comes at all."""
        began = self._loop.time()
        client = await self._start(udp=transport != "tcp", patience=transport == "auto")
        try:
            if transport == "udp" and not client.udp:
                raise RemoteError("the server refuses UDP", subject=client.session.url)
            setup_ms = round(1000 * (self._asked - began), 1)
            first = self._loop.time()
            failed, _ = await asyncio.wait({client.failure}, timeout=seconds)
            lasted = self._loop.time() - first
            if failed:
                self._remarks.append(f"ended early: {client.failure.result().message}")
        finally:
            self._client = None
            await client.close()
        return Report(
            url=client.session.url,
            transport="udp" if client.udp else "tcp",
            seconds=round(lasted, 3),
            setup_ms=setup_ms,
            tracks=tuple(meter.report() for meter in self._meters.values()),
            sizes=await asyncio.to_thread(_sizes, list(self._meters.values())),
            av_offset_ms=self._av_offset(),
            remarks=tuple(self._remarks),
        )

    async def _start(self, *, udp: bool, patience: bool) -> RtspClient:
        """Play, and wait for the first packet; by TCP if none comes by UDP."""
        client = await following(self._url, lambda url: self._play(url, udp))
        if udp and not client.udp:
            self._remarks.append("the server refuses UDP: TCP")
        try:
            await self._first_packet(client, UDP_PATIENCE if client.udp and patience else None)
        except TimeoutError:
            await client.close()
            self._remarks.append(f"nothing came by UDP within {UDP_PATIENCE:.0f} s: TCP")
            return await self._start(udp=False, patience=False)
        except BaseException:
            await client.close()
            raise
        return client

    async def _first_packet(self, client: RtspClient, patience: float | None) -> None:
        waiting = asyncio.create_task(self._any.wait())
        either: set[asyncio.Future[Any]] = {waiting, client.failure}
        try:
            await asyncio.wait(
                either,
                timeout=patience or FIRST_PACKET,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            waiting.cancel()
        if self._any.is_set():
            return
        if client.failure.done():
            raise client.failure.result()
        if patience is not None:
            raise TimeoutError
        message = f"no packet came within {FIRST_PACKET:.0f} s"
        raise RemoteError(message, subject=client.session.url)

    async def _play(self, url: str, udp: bool) -> RtspClient:
        self._client = client = RtspClient(url, key=self._key, on_packet=self._take)
        try:
            await client.open()
            described = await client.describe()
            tracks = [track for track in described.tracks if track.kind is not Kind.DATA]
            self._meter(tracks)
            await client.play(tracks, udp=udp)
        except BaseException:
            await client.close()
            raise
        return client

    def _meter(self, tracks: list[Track]) -> None:
        self._asked = self._loop.time()
        self._meters = {track.id: TrackMeter(track, self._asked) for track in tracks}
        if self._collect:
            self.units = {track.id: [] for track in tracks}
            for number, meter in self._meters.items():
                meter.on_unit = self.units[number]

    def _take(self, track: int, rtcp: bool, data: bytes, now: float) -> None:
        meter = self._meters.get(track)
        if meter is None:
            return
        unix_us = time.time_ns() // 1000
        if not rtcp:
            meter.take_rtp(data, now, unix_us)
            if meter.packets:
                self._any.set()
        elif meter.take_rtcp(data, unix_us) and self._client is not None:
            report = meter.receiver_report(self._ssrc, unix_us)
            self._client.send(track, report, rtcp=True)

    def _av_offset(self) -> float | None:
        delays: dict[Kind, float] = {}
        for meter in self._meters.values():
            delay = meter.delay()
            if delay is not None:
                delays.setdefault(meter.track.kind, delay)
        if len(delays) < 2:
            return None
        return round(1000 * (delays[Kind.VIDEO] - delays[Kind.AUDIO]), 1)


def _sizes(meters: list[TrackMeter]) -> dict[int, tuple[int, int]]:
    """Decode the first keyframe of each video track: the one judge for every codec."""
    found = {}
    for meter in meters:
        name = _DECODERS.get(meter.track.codec)
        if name is None or meter.key_unit is None:
            continue
        try:
            decoder = cast(VideoCodecContext, av.CodecContext.create(name, "r"))
            frames = [*decoder.decode(av.Packet(meter.key_unit.data)), *decoder.decode(None)]
        except av.error.FFmpegError:
            continue
        for frame in frames[:1]:
            found[meter.track.id] = (frame.width, frame.height)
    return found


async def probe(
    url: str,
    *,
    key: str = "",
    seconds: float = 5.0,
    transport: Literal["auto", "udp", "tcp"] = "auto",
) -> Report:
    """Measure a source; raises ``HelioError`` if it is not there, refuses or sends nothing."""
    try:
        return await Probe(url, key=key).run(seconds, transport)
    except OSError as error:
        raise RemoteError(str(error), subject=url) from error
