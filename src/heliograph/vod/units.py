"""Blocks back to access units: for exports, segments and checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from heliograph.model.errors import PeerError
from heliograph.model.media import Kind, Track
from heliograph.protocols.mp4.units import TimedUnit
from heliograph.protocols.payload import Depacketizer, depacketizer
from heliograph.protocols.rtp import RtpPacket
from heliograph.vod import blocks
from heliograph.vod.blocks import FIRST, KEY, LAST, MARKER, Record


class _Open(NamedTuple):
    """A unit whose first packets were seen."""

    due_us: int
    timestamp: int
    key: bool


def unwrap(timestamp: int, due_us: int, clock_rate: int) -> int:
    """The RTP timestamp of 32 bits as a time that never wraps: that nearest to when it is due."""
    near = due_us * clock_rate // 1_000_000
    return near + ((timestamp - near + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


class UnitReader:
    """Makes units of the packets of one track, in order.

    A reader may begin anywhere; packets before the first unit that begins are left out. What does
    not come out of the packets as a unit is counted in ``broken`` and left out.
    """

    def __init__(self, track: Track) -> None:
        """Raise ``UnsupportedError`` for a codec that is not known here."""
        self.track = track
        self.broken = 0
        """Units that could not be put together."""
        self._made: Depacketizer = depacketizer(track)
        self._open: _Open | None = None
        self._sound = track.kind is not Kind.VIDEO

    def push(self, record: Record) -> list[TimedUnit]:
        """Take the track's next packet; the units that it completes, mostly one or none.

        Their times are in units of the track's clock since the title's start.
        """
        if record.flags & FIRST:
            if self._open is not None:
                self.broken += 1
            self._open = _Open(record.due_us, record.timestamp, bool(record.flags & KEY))
        begun = self._open
        if begun is None:
            return []
        packet = RtpPacket(
            payload_type=self.track.payload_type,
            sequence_number=record.number & 0xFFFF,
            timestamp=record.timestamp,
            ssrc=0,
            payload=record.payload,
            marker=bool(record.flags & MARKER),
        )
        try:
            units = self._made.push(packet)
            if record.flags & LAST:
                units += self._made.flush()
        except PeerError:
            self.broken += 1
            units = []
        if not record.flags & LAST:
            if units:  # a unit that ends before its last packet is not what was written
                self.broken += 1
            return []
        self._open = None
        if not units:
            self.broken += 1
        clock = self.track.clock_rate
        decoded = (2 * begun.due_us * clock + 1_000_000) // 2_000_000
        made = []
        for unit in units:
            shown = unwrap(unit.timestamp, begun.due_us, clock)
            key = self._sound or begun.key
            made.append(
                TimedUnit(self.track.id, shown if self._sound else decoded, shown, key, unit.data)
            )
        return made


def readers(tracks: Sequence[Track]) -> dict[int, UnitReader]:
    """A reader for each track, by its id."""
    return {track.id: UnitReader(track) for track in tracks}


def units_of(records: Sequence[Record], by_track: dict[int, UnitReader]) -> Iterator[TimedUnit]:
    """Units of a block's packets; tracks without a reader are left out."""
    for record in records:
        reader = by_track.get(record.track)
        if reader is not None:
            yield from reader.push(record)


def gather(
    data: Iterable[bytes],
    tracks: Sequence[Track],
    start_us: int,
    end_us: int | None = None,
    *,
    broken: Callable[[int], None] | None = None,
) -> list[TimedUnit]:
    """The units of some tracks in consecutive blocks, in the order in which they are due.

    ``start_us``, ``end_us``: from when and until before when they are due, in µs of media time;
    None: to the end. ``broken`` is told how many could not be put together, where some could not.
    Raises ``MalformedError`` for blocks that are none, ``UnsupportedError`` for codecs that cannot
    be looked into.
    """
    by_track = readers(tracks)
    found = [*_spanned(data, by_track, start_us, end_us)]
    lost = sum(one.broken for one in by_track.values())
    if lost and broken is not None:
        broken(lost)
    return found


def _spanned(
    data: Iterable[bytes], by_track: dict[int, UnitReader], start_us: int, end_us: int | None
) -> Iterator[TimedUnit]:
    for block in data:
        for record in blocks.read(block):
            if end_us is not None and record.due_us >= end_us:
                return
            reader = by_track.get(record.track)
            if reader is not None and record.due_us >= start_us:
                yield from reader.push(record)
