"""One viewer: plays a channel and counts, as cheaply as Python can."""

from __future__ import annotations

import re
import time

from heliograph.cli.benching.tally import Delays, TrackTally
from heliograph.model.errors import RemoteError
from heliograph.model.media import Kind
from heliograph.player.rtsp_client import RtspClient

#: Seconds in which a viewer has to play, or counts as failed.
PATIENCE = 15.0
#: Bytes of an RTSP message that is not whole yet; the session bounds whole ones further.
MAX_HEAD = 128 * 1024
_DOLLAR = 0x24

_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d{1,6})", re.IGNORECASE)


class Viewer(RtspClient):
    """A session that plays every track. Interleaved packets are parted here: the session's own
    parser, made for any input, would cost a viewer several times as much."""

    def __init__(self, url: str, key: str, delays: Delays) -> None:
        """``delays``: the process's."""
        super().__init__(url, key=key)
        self.tallies: dict[int, TrackTally] = {}
        """Counters by track."""
        self.began = 0.0
        """When playing was agreed, in seconds; 0 before."""
        self._delays = delays
        self._rest = b""
        self._lanes: dict[int, tuple[int, bool] | None] = {}

    async def watch(self, *, udp: bool) -> None:
        """Play all tracks; raises what the server says instead."""
        await self.open()
        described = await self.describe()
        tracks = [track for track in described.tracks if track.kind is not Kind.DATA]
        self.tallies = {t.id: TrackTally(t.clock_rate, self._delays) for t in tracks}
        await self.play(tracks, udp=udp)
        if udp and not self.udp:
            raise RemoteError("the server refuses UDP", subject=self.session.url)
        self.began = self._loop.time()

    def take(self, track: int, rtcp: bool, data: bytes) -> None:
        tally = self.tallies.get(track)
        if tally is None:
            return
        unix_us = time.time_ns() // 1000
        if rtcp:
            tally.take_rtcp(data, unix_us)
        else:
            tally.take_rtp(data, self._loop.time(), unix_us)

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 4:
            if data[at] == _DOLLAR:  # RFC 2326 §10.12
                stop = at + 4 + (data[at + 2] << 8 | data[at + 3])
                if stop > end:
                    break
                self._take_lane(data[at + 1], data[at + 4 : stop])
            else:
                stop = _message_end(data, at)
                if stop > end:
                    break
                super().data_received(data[at:stop])
            at = stop
        self._rest = data[at:]
        if len(self._rest) > MAX_HEAD and self._transport is not None:
            self._transport.abort()

    def _take_lane(self, lane: int, packet: bytes) -> None:
        if lane not in self._lanes:
            self._lanes[lane] = self._find_lane(lane)
        found = self._lanes[lane]
        if found is not None:
            self.take(*found, packet)

    def _find_lane(self, lane: int) -> tuple[int, bool] | None:
        for track, transport in self.session.transports.items():
            if transport.interleaved is not None and lane in transport.interleaved:
                return track, lane != transport.interleaved[0]
        return None


def _message_end(data: bytes, at: int) -> int:
    """Where the RTSP message that begins at ``at`` ends; beyond the data while it is not whole."""
    head = data.find(b"\r\n\r\n", at)
    if head < 0:
        return len(data) + 1
    length = _LENGTH.search(data, at, head)
    return head + 4 + (int(length[1]) if length is not None else 0)
