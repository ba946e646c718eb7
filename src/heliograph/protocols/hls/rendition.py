"""One rendition: units in; initialization segments, parts, segments and playlists out."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Kind, Track
from heliograph.protocols.hls.aligned import AlignedSegmenter
from heliograph.protocols.hls.beats import Beats
from heliograph.protocols.hls.playlist import MediaPlaylist, Report, init_uri, part_uri, segment_uri
from heliograph.protocols.hls.segmenter import Part, Segmenter, Targets
from heliograph.protocols.mp4 import Entry, Muxer, TimedUnit, describe, writable

#: Bytes of parts kept; 60 s at 8 Mbit/s, and what a page of renditions may cost in memory.
MAX_BYTES = 64 << 20
#: Initialization segments kept: those of what is listed, when formats change every few seconds.
MAX_INITS = 16
#: Segments by which bit rates are measured: half a minute.
MEASURED = 16


_NAME = re.compile(r"(init|s|p)([0-9]{1,18})(?:\.([0-9]{1,9}))?\.(?:mp4|m4s)", re.ASCII)


def _check(tracks: Sequence[Track]) -> None:
    for track in tracks:
        if not writable(track.codec):
            raise UnsupportedError(f"no MP4 for {track.codec.value}", subject=track.codec.value)


class Rendition:
    """Cuts, writes and keeps; bounded in time and bytes.

    Raises ``ValueError`` without a track, ``UnsupportedError`` for a codec that has no MP4.
    """

    def __init__(
        self,
        tracks: Sequence[Track],
        targets: Targets,
        *,
        window: float = 30.0,
        max_bytes: int = MAX_BYTES,
        beats: Beats | None = None,
    ) -> None:
        """``window``: seconds of segments listed; as many again are kept for slow readers.
        ``beats``: what it keeps step with, where it is one of several."""
        _check(tracks)
        self.playlist = MediaPlaylist(targets, window=window)
        """What is listed, and where it ends."""
        self._beats = beats
        self.segmenter = (
            Segmenter(tracks, targets)
            if beats is None
            else AlignedSegmenter(tracks, targets, beats)
        )
        """What cuts; its counters are worth reporting."""
        self.entries: tuple[Entry, ...] = ()
        """The tracks as written now; empty before the first keyframe."""
        self.malformed = 0
        """Units left out, as they could not be written."""
        self.kept = 0
        """Bytes of parts held."""
        self._tracks = tuple(tracks)
        self._lead = next((t for t in tracks if t.kind is Kind.VIDEO), tracks[0])
        self._rates = {track.id: track.clock_rate for track in tracks}
        self._shift = 0  # whole seconds added to all times
        self._muxer: Muxer | None = None
        self._inits: dict[int, bytes] = {}
        self._init = -1
        self._sequence = 0
        self._parts: dict[tuple[int, int], bytes] = {}
        self._counts: dict[int, int] = {}  # parts of each segment that is whole
        self._gone: deque[int] = deque()
        self._sizes: deque[tuple[float, int]] = deque(maxlen=MEASURED)
        self._max_bytes = max_bytes
        # Seconds of the leading track and the wall clock: of its last unit, and where a run began.
        self._seen: tuple[float, int] | None = None
        self._origin: tuple[float, int] | None = None

    def push(self, unit: TimedUnit, wall: int) -> list[tuple[int, int]]:
        """Take a unit that was presented at ``wall`` (microseconds since 1970).

        Gives the parts that are new, mostly none. The wall clock is read once for each run of
        times without a jump; it goes on with the media from there.
        """
        unit = self._shifted(unit)
        if unit.dts < 0:
            self.malformed += 1
            return []
        made = []
        if unit.track == self._lead.id and unit.key:
            try:
                entries = self._described(unit)
            except MalformedError:
                self.malformed += 1
                return []
            if entries != self.entries:
                made += self._interrupt(unit.dts / self._lead.clock_rate)
                self._begin(entries)
        if self._muxer is not None:
            made += [self._keep(part) for part in self.segmenter.push(unit)]
        if unit.track == self._lead.id:
            self._seen = unit.dts / self._lead.clock_rate, wall
        return made

    def _shifted(self, unit: TimedUnit) -> TimedUnit:
        """Files know no times before 0: where the leading track's go there, all are moved."""
        if unit.track not in self._rates:
            return unit
        rate = self._rates[unit.track]
        if unit.track == self._lead.id and unit.dts + self._shift * rate < 0:
            self._shift = -(unit.dts // rate)
        if not self._shift:
            return unit
        ahead = self._shift * rate
        return replace(unit, dts=unit.dts + ahead, pts=unit.pts + ahead)

    def restart(self, tracks: Sequence[Track] | None = None) -> list[tuple[int, int]]:
        """Another source, or other tracks: what comes next follows a discontinuity.

        Gives the part that ends with this, if there is one; raises as the constructor does.
        """
        if tracks is None:
            return [self._keep(part) for part in self.segmenter.restart()]
        _check(tracks)
        made = [self._keep(part) for part in self.segmenter.retrack(tracks)]
        if tuple(tracks) != self._tracks:
            self._tracks = tuple(tracks)
            self._lead = next((t for t in tracks if t.kind is Kind.VIDEO), tracks[0])
            self._rates = {track.id: track.clock_rate for track in tracks}
            self._muxer, self.entries = None, ()
        return made

    def _interrupt(self, time: float) -> list[tuple[int, int]]:
        segmenter = self.segmenter
        if isinstance(segmenter, AlignedSegmenter):
            return [self._keep(part) for part in segmenter.interrupt(time)]
        return [self._keep(part) for part in segmenter.restart()]

    def interrupt(self, time: float) -> list[tuple[int, int]]:
        """Another source, from ``time`` (seconds) on, for the renditions beside it as well.

        Gives the part that ends with this, if there is one.
        """
        return self._interrupt(time + self._shift)

    def skip(self, number: int, wall: int) -> list[tuple[int, int]]:
        """Nothing comes while others go on: list segments up to this number as missing.

        ``wall``: when the next one begins, microseconds since 1970. Gives as ``push`` does.
        """
        assert isinstance(self.segmenter, AlignedSegmenter)
        if self.playlist.last_part is None or self.segmenter.msn >= number:
            return []
        made = [self._keep(part) for part in self.segmenter.skip(number)]
        self._fill(number + 1, wall)
        return made

    def end(self) -> list[tuple[int, int]]:
        """Nothing more comes: finish the last part and close the playlist."""
        made = [self._keep(part) for part in self.segmenter.restart()]
        self.playlist.end()
        return made

    def _described(self, unit: TimedUnit) -> tuple[Entry, ...]:
        return tuple(
            describe(track, unit.data if track.id == unit.track else b"") for track in self._tracks
        )

    def _begin(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self._muxer = Muxer(entries)
        self._init += 1
        self._inits[self._init] = self._muxer.init()
        self._inits.pop(self._init - MAX_INITS, None)

    def _keep(self, part: Part) -> tuple[int, int]:
        assert self._seen is not None
        if self._origin is None or part.discontinuity:
            self._origin = self._seen  # a unit of this part, as a part ends before the next one
        self._sequence += 1
        data = self._written(part)
        began = self._origin[1] + round((part.start - self._origin[0]) * 1e6)
        if part.index == 0:
            self._fill(part.msn, began)
        gone = self.playlist.add(part, wall=began, init=self._init)
        name = part.msn, part.index
        self._parts[name] = data
        self.kept += len(data)
        if part.last:
            self._counts[part.msn] = part.index + 1
            self._measure(part.msn)
        self._expire(gone)
        return name

    def _expire(self, gone: Sequence[int]) -> None:
        self._gone += (msn for msn in gone if msn in self._counts)
        listed = len(self._counts) - len(self._gone)
        while self._gone and (len(self._gone) > listed or self.kept > self._max_bytes):
            self._forget(self._gone.popleft())
        while self.kept > self._max_bytes and (early := self.playlist.shorten()):
            self._forget(early[0])

    def _fill(self, number: int, wall: int) -> None:
        """List what is missing before a segment that begins at ``wall``."""
        beats, playlist = self._beats, self.playlist
        if beats is None:
            return
        if playlist.last_part is None:
            playlist.begin(number, beats.breaks_before(number))
            return
        while (missing := playlist.next_part[0]) < number:
            share = (wall - playlist.edge) / 1e6 / (number - missing)
            gone = playlist.gap(share, init=self._init, discontinuity=beats.is_break(missing))
            self._expire(gone)

    def _measure(self, msn: int) -> None:
        size = sum(len(self._parts[msn, index]) for index in range(self._counts[msn]))
        self._sizes.append((self.playlist.last_duration, size))

    @property
    def rates(self) -> tuple[int, int]:
        """Bits a second of its segments: the peak, and the average; of what is there before the
        first is whole."""
        sizes = [(seconds, size) for seconds, size in self._sizes if seconds > 0.5]
        if not sizes:
            sizes = [(max(0.2, self.playlist.last_duration), self.kept)]
        peak = max(size / seconds for seconds, size in sizes)
        average = sum(size for _, size in sizes) / sum(seconds for seconds, _ in sizes)
        return round(8 * peak), round(8 * average)

    def _written(self, part: Part) -> bytes:
        assert self._muxer is not None
        try:
            return self._muxer.fragment(self._sequence, part.units, part.following)
        except MalformedError:  # a unit that is not of its codec; the others are
            good = [unit for unit in part.units if self._writable(unit)]
            self.malformed += len(part.units) - len(good)
            return self._muxer.fragment(self._sequence, good, part.following)

    def _writable(self, unit: TimedUnit) -> bool:
        assert self._muxer is not None
        try:
            self._muxer.fragment(0, [unit], {})
        except MalformedError:
            return False
        return True

    def _forget(self, msn: int) -> None:
        for index in range(self._counts.pop(msn, 0)):
            self.kept -= len(self._parts.pop((msn, index), b""))

    # --- what readers ask for -----------------------------------------------------------------

    def init(self, number: int) -> bytes | None:
        """An initialization segment, ``None`` if it is not there."""
        return self._inits.get(number)

    def part(self, msn: int, index: int) -> bytes | None:
        """A part, ``None`` if it is not there (yet: see ``answer_part``)."""
        return self._parts.get((msn, index))

    def segment(self, msn: int) -> bytes | None:
        """A whole segment, ``None`` if it is not there."""
        count = self._counts.get(msn)
        if count is None:
            return None
        return b"".join(self._parts[msn, index] for index in range(count))

    def resource(self, name: str) -> bytes | None:
        """By the name in a playlist."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        number, index = int(match[2]), int(match[3] or 0)
        if name == init_uri(number):
            return self.init(number)
        if name == segment_uri(number):
            return self.segment(number)
        return self.part(number, index) if name == part_uri(number, index) else None

    def report(self, uri: str) -> Report | None:
        """Where this rendition is, for the playlists of others."""
        last = self.playlist.last_part
        return None if last is None else Report(uri, *last)
