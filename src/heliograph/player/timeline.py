"""Media time of packets: which second of the title, or of the broadcast, a timestamp means. Pure.

RTP timestamps start anywhere and each track has its own clock. For titles the answer to PLAY
relates them to the time asked for (RTP-Info, RFC 2326 §12.33); for channels sender reports relate
tracks to one wall clock (RFC 3550 §6.4.1); until these come, tracks are related by when their
first packets came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from heliograph.protocols.rtp import timestamp_distance

#: A report that moves a track by more is a jump of the sender's clock and is taken at once; less
#: is worked in by ``SMOOTHING``, since reports themselves tremble by some milliseconds.
JUMP = 0.1
SMOOTHING = 0.125


class _Track:
    """One track's relation: ``timestamp`` is media time ``media``."""

    __slots__ = ("clock_rate", "exact", "media", "timestamp", "wall")

    def __init__(self, clock_rate: int) -> None:
        self.clock_rate = clock_rate
        self.timestamp: int | None = None
        self.media = 0.0
        self.exact = False  # told by the server, not guessed
        self.wall: float | None = None  # sender's wall clock at ``timestamp`` of a report

    def at(self, timestamp: int) -> float:
        assert self.timestamp is not None
        distance = timestamp_distance(self.timestamp, timestamp)
        media = self.media + distance / self.clock_rate
        if abs(distance) > 1 << 28:  # long before the timestamp wraps
            self.timestamp, self.media = timestamp, media
        return media


@dataclass(slots=True)
class Origin:
    """Where media time 0 of channels lies; one for all that are played together."""

    wall: float | None = None
    """By the senders' common clock, in seconds since 1970; ``None`` before any report."""


class Timeline:
    """Media times of the tracks of one session."""

    def __init__(
        self,
        clock_rates: Mapping[int, int],
        *,
        origin: Origin | None = None,
        on_moved: Callable[[int, float], None] | None = None,
    ) -> None:
        """``clock_rates``: timestamp units a second, by track. ``origin``: shared with others.
        ``on_moved``: told (track, seconds) when media times given before turn out to be wrong."""
        self._tracks = {track: _Track(rate) for track, rate in clock_rates.items()}
        self._reports: dict[int, tuple[float, int]] = {}
        self._first: float | None = None
        self._start = 0.0
        self._origin = origin or Origin()
        self._on_moved = on_moved
        self.jumps = 0
        """Times a report moved a track by more than ``JUMP``."""

    def begin(self, start: float, infos: Iterable[tuple[int, int]] = ()) -> None:
        """PLAY was answered: media begin at ``start`` seconds. ``infos``: (track, timestamp)."""
        for track in self._tracks.values():
            track.timestamp, track.exact, track.wall = None, False, None
        self._reports.clear()
        self._first, self._start = None, start
        for number, timestamp in infos:
            if number in self._tracks:
                track = self._tracks[number]
                track.timestamp, track.media, track.exact = timestamp, start, True

    def media(self, track: int, timestamp: int, now: float) -> float:
        """Media time, in seconds, of a packet that came at ``now``."""
        known = self._tracks[track]
        if known.timestamp is None:
            if self._first is None:
                self._first = now
            known.timestamp, known.media = timestamp, self._start + now - self._first
            self._relate()
        return known.at(timestamp)

    def report(self, track: int, wall: float, timestamp: int) -> None:
        """A sender report: at ``wall`` (seconds since 1970 of the sender) it was ``timestamp``."""
        if track in self._tracks and not self._tracks[track].exact:
            self._reports[track] = (wall, timestamp)
            self._relate()

    def _relate(self) -> None:
        """Move the tracks to one wall clock; the first one that is known stays where it is."""
        for number, (wall, timestamp) in self._reports.items():
            track = self._tracks[number]
            if track.timestamp is None:
                continue
            if self._origin.wall is None:
                self._origin.wall = wall - track.at(timestamp)
            media = wall - self._origin.wall
            moved = media - track.at(timestamp)
            if track.wall is None or abs(moved) > JUMP:
                self.jumps += track.wall is not None
                track.media += moved
                if self._on_moved is not None and moved:
                    self._on_moved(number, moved)
            elif track.wall != wall:
                track.media += SMOOTHING * moved
            track.wall = wall

    @property
    def related(self) -> bool:
        """Whether all tracks are related by what the server told."""
        return all(t.exact or t.wall is not None for t in self._tracks.values())
