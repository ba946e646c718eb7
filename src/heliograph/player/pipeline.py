"""One stream's way from packets to what is shown: buffer, depacketizer, decoder.

Between the event loop's ticks nothing happens here; decoding goes on in its own thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from heliograph.model.errors import PeerError
from heliograph.model.media import Kind, Track
from heliograph.player.arrivals import Arrival
from heliograph.player.buffer import CircularBuffer, Put
from heliograph.player.decode import Decoder
from heliograph.protocols import payload
from heliograph.protocols.payload import AccessUnit
from heliograph.protocols.rtp import RtpPacket, timestamp_distance

#: Seconds by which packets go to the decoder before they are shown: pictures that are shown later
#: than they are decoded (B-frames), and the time decoding takes.
DECODE_LEAD = 0.4
#: An answer to a request must be there before the packet is due by so many seconds.
ASK_MARGIN = 0.01

UnitCallback = Callable[[int, AccessUnit, float], None]


@dataclass(frozen=True, slots=True)
class _Held:
    packet: RtpPacket
    media: float


class Pipeline:
    """One stream."""

    def __init__(
        self,
        stream: int,
        track: Track,
        *,
        seconds: float,
        max_bytes: int,
        decoder: Decoder | None,
        on_unit: UnitCallback | None = None,
    ) -> None:
        """``seconds``, ``max_bytes``: of the buffer. ``on_unit``: takes units in order."""
        self.stream = stream
        self.track = track
        self.buffer: CircularBuffer[_Held] = CircularBuffer(seconds=seconds, max_bytes=max_bytes)
        self.decoder = decoder
        self.units = 0
        """Whole units taken out of the buffer."""
        self.bad_units = 0
        """Units dropped since they were ill-formed."""
        self.newest = 0.0
        """Media time of the newest packet."""
        self._on_unit = on_unit
        self._depacketizer = payload.depacketizer(track)
        self._last: tuple[int, float] | None = None  # timestamp and media time of a packet
        self._finished = False
        self._moved = 0.0  # seconds by which ``_Held.media`` is to be corrected

    @property
    def is_video(self) -> bool:
        return self.track.kind is Kind.VIDEO

    def arrived(self, arrival: Arrival, media: float) -> None:
        """A packet came."""
        packet = arrival.packet
        held = _Held(packet, media - self._moved)
        if self.buffer.put(arrival.number, media, len(packet.payload), held) is Put.KEPT:
            self.newest = max(self.newest, media)

    def moved(self, seconds: float) -> None:
        """Media times given before were too low by so much."""
        self.buffer.shift(seconds)
        self.newest += seconds
        self._moved += seconds
        if self._last is not None:
            self._last = (self._last[0], self._last[1] + seconds)

    def advance(self, position: float) -> None:
        """Hand over to the decoder what is due soon."""
        if self.decoder is not None and not self.decoder.room:
            return  # the level shows it; see ``Decoder``
        for held in self.buffer.take(position + DECODE_LEAD):
            self._last = (held.packet.timestamp, held.media + self._moved)
            try:
                units = self._depacketizer.push(held.packet)
            except PeerError:
                self.bad_units += 1
                continue
            self._pass_on(units)

    def _pass_on(self, units: list[AccessUnit]) -> None:
        assert self._last is not None or not units
        for unit in units:
            timestamp, media = self._last or (0, 0.0)
            at = media + timestamp_distance(timestamp, unit.timestamp) / self.track.clock_rate
            self.units += 1
            if self._on_unit is not None:
                self._on_unit(self.stream, unit, at)
            if self.decoder is not None:
                self.decoder.put(unit, at)

    def finish(self) -> None:
        """Nothing follows: give everything out; harmless twice."""
        if self._finished:
            return
        self._finished = True
        try:
            self._pass_on(self._depacketizer.flush())
        except PeerError:
            self.bad_units += 1
        if self.decoder is not None:
            self.decoder.finish()

    @property
    def drained(self) -> bool:
        """Whether all that came was decoded and taken."""
        if len(self.buffer):
            return False
        decoder = self.decoder
        return decoder is None or (not decoder.busy and decoder.next_media() is None)

    def restarted(self, start: float, first: int | None) -> None:
        """Media begin anew at ``start``, with the packet of number ``first`` where that is told."""
        self.buffer.clear()
        self.buffer.expect(first)
        self._depacketizer = payload.depacketizer(self.track)
        self._last = None
        self._finished = False
        self.newest = start
        if self.decoder is not None:
            self.decoder.clear()

    def close(self) -> None:
        """End the decoder's thread."""
        if self.decoder is not None:
            self.decoder.close()
