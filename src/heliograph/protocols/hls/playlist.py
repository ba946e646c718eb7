"""Media playlists with parts (draft-ietf-hls-rfc8216bis §4.4, §6.2)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from heliograph.protocols.hls.segmenter import Part, Targets

#: EXT-X-SKIP needs 9 (§8); older players ignore what they do not know.
VERSION = 9
#: §4.4.3.8: PART-HOLD-BACK of three part targets is recommended, two are required.
HOLD_BACK_PARTS = 3
#: §4.4.3.8: the skip boundary is at least six target durations.
SKIP_TARGETS = 6
#: §6.2.2: parts older than three target durations are not to be listed. So many segments never last
#: longer, are many times the hold-back, and are what judges of playlists count instead.
PART_SEGMENTS = 3
#: Seconds by which sums of durations may be off, as these are quotients.
SLACK = 1e-6
#: Seconds that a missing segment is said to last at least: none lasts no time.
MIN_GAP = 0.1
#: Segments of one playlist, whatever they last.
MAX_SEGMENTS = 1000


@dataclass(frozen=True, slots=True)
class ListedPart:
    """A part as a playlist says it."""

    duration: float
    """Seconds."""
    independent: bool
    """Whether decoding can begin within it."""


@dataclass(slots=True)
class Segment:
    """A segment, whole or growing."""

    msn: int
    """Media sequence number."""
    began: int
    """Wall clock, microseconds since 1970."""
    init: int
    """Number of its initialization segment."""
    discontinuity: bool
    """Whether times or format start anew with it."""
    parts: list[ListedPart] = field(default_factory=list)
    """In order."""
    gap: float = 0.0
    """Seconds that are missing; then there are no parts."""

    @property
    def duration(self) -> float:
        """Seconds so far."""
        return sum(part.duration for part in self.parts) or self.gap


@dataclass(frozen=True, slots=True)
class Report:
    """Where another rendition of the channel is (EXT-X-RENDITION-REPORT)."""

    uri: str
    """Of its playlist, relative to this one."""
    msn: int
    """Its last segment, growing ones included."""
    part: int
    """The last part of that."""


def segment_uri(msn: int) -> str:
    """The name of a whole segment."""
    return f"s{msn}.m4s"


def part_uri(msn: int, index: int) -> str:
    """The name of a part."""
    return f"p{msn}.{index}.m4s"


def init_uri(number: int) -> str:
    """The name of an initialization segment."""
    return f"init{number}.mp4"


class MediaPlaylist:
    """The bounded history of a rendition, and the playlists that show it."""

    def __init__(self, targets: Targets, *, window: float = 30.0, first: int = 0) -> None:
        """``window``: seconds of whole segments to list, at least three target durations.

        ``first``: media sequence number of the first segment.
        """
        self.targets = targets
        """Constant while the playlist lives."""
        self.ended = False
        """Whether nothing more comes."""
        self.discontinuities = 0
        """EXT-X-DISCONTINUITY-SEQUENCE: how many were before the first segment listed."""
        self._window = max(window, 3.0 * targets.duration)
        self._ahead = first  # added to the numbers of parts
        self._first = first
        self._segments: deque[Segment] = deque()  # whole ones
        self._growing: Segment | None = None

    # --- history ------------------------------------------------------------------------------

    def add(self, part: Part, *, wall: int, init: int) -> list[int]:
        """Take the next part; numbers of the segments no longer listed.

        ``wall``: when its first unit was presented at the source, microseconds since 1970.
        ``init``: number of the initialization segment it needs. Raises ``ValueError`` out of order.
        """
        growing = self._growing
        if self.ended or (part.msn + self._ahead, part.index) != self.next_part:
            raise ValueError(f"part {part.index} of segment {part.msn} where {self.next_part} is")
        if growing is None:
            changed = self._segments and self._segments[-1].init != init
            growing = self._growing = Segment(
                part.msn + self._ahead, wall, init, part.discontinuity or bool(changed)
            )
        growing.parts.append(ListedPart(part.duration, part.independent))
        if not part.last:
            return []
        self._segments.append(growing)
        self._growing = None
        return self._expire()

    def begin(self, first: int, discontinuities: int) -> None:
        """The number of the first part to come, where other renditions have come to."""
        self._first, self.discontinuities = first, discontinuities

    def gap(self, seconds: float, *, init: int, discontinuity: bool) -> list[int]:
        """A segment is missing; gives as ``add`` does. ``ValueError`` while one grows."""
        if self._growing is not None or not self._segments:
            raise ValueError("a gap within a segment")
        seconds = min(max(seconds, MIN_GAP), float(self.targets.duration))
        msn = self.next_part[0]
        missing = Segment(msn, self.edge, init, discontinuity, gap=seconds)
        self._segments.append(missing)
        return self._expire()

    def end(self) -> None:
        """Nothing more comes; what is growing is a segment now."""
        if self._growing is not None:
            self._segments.append(self._growing)
            self._growing = None
        self.ended = True

    def _expire(self) -> list[int]:
        gone = []
        total = sum(segment.duration for segment in self._segments)
        while len(self._segments) > 1 and (
            total - self._segments[0].duration >= self._window - SLACK
            or len(self._segments) > MAX_SEGMENTS
        ):
            total -= self._segments[0].duration
            gone += self.shorten()
        return gone

    def shorten(self) -> list[int]:
        """List the oldest segment no longer, unless it is the only one; its number."""
        if len(self._segments) < 2:
            return []
        segment = self._segments.popleft()
        # §6.2.2: counted when the discontinuity itself is gone
        self.discontinuities += segment.discontinuity
        return [segment.msn]

    # --- positions ----------------------------------------------------------------------------

    @property
    def next_part(self) -> tuple[int, int]:
        """Segment and part that come next."""
        if self._growing is not None:
            return self._growing.msn, len(self._growing.parts)
        return (self._segments[-1].msn + 1 if self._segments else self._first), 0

    @property
    def last_part(self) -> tuple[int, int] | None:
        """Segment and part listed last."""
        segment = self._growing or (self._segments[-1] if self._segments else None)
        return None if segment is None else (segment.msn, max(0, len(segment.parts) - 1))

    @property
    def edge(self) -> int:
        """When what is listed ends, microseconds since 1970; 0 before anything is."""
        segment = self._growing or (self._segments[-1] if self._segments else None)
        return 0 if segment is None else segment.began + round(segment.duration * 1e6)

    @property
    def last_duration(self) -> float:
        """Seconds of the newest segment; 0 before there is one."""
        segment = self._growing or (self._segments[-1] if self._segments else None)
        return 0.0 if segment is None else segment.duration

    @property
    def first_msn(self) -> int:
        """EXT-X-MEDIA-SEQUENCE."""
        return self._segments[0].msn if self._segments else self.next_part[0]

    # --- text ---------------------------------------------------------------------------------

    def render(self, *, skip: bool = False, reports: Sequence[Report] = ()) -> str:
        """The playlist as text; ``skip``: a delta update, if there is anything to skip."""
        targets, out = self.targets, ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]
        boundary = SKIP_TARGETS * targets.duration
        out += [
            f"#EXT-X-TARGETDURATION:{targets.duration}",
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,"
            f"PART-HOLD-BACK={_seconds(HOLD_BACK_PARTS * targets.part)},"
            f"CAN-SKIP-UNTIL={_seconds(boundary)}",
            f"#EXT-X-PART-INF:PART-TARGET={_seconds(targets.part)}",
            f"#EXT-X-MEDIA-SEQUENCE:{self.first_msn}",
        ]
        if self.discontinuities:
            out.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{self.discontinuities}")
        segments = [*self._segments, *([self._growing] if self._growing else [])]
        before = sum(segment.duration for segment in segments) - boundary
        skipped = self._skippable(segments, before) if skip and not self.ended else 0
        if skipped:
            out.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
        init = None
        recent = len(self._segments) + 1 - PART_SEGMENTS  # with the one that grows, or is hinted at
        for place, segment in enumerate(segments):
            if place >= skipped:
                out += self._segment(segment, init, place >= recent)
            init = segment.init
        if self.ended:
            out.append("#EXT-X-ENDLIST")
        else:
            out.append(f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{part_uri(*self.next_part)}"')
            out += [
                f'#EXT-X-RENDITION-REPORT:URI="{r.uri}",LAST-MSN={r.msn},LAST-PART={r.part}'
                for r in reports
            ]
        return "\n".join(out) + "\n"

    def _skippable(self, segments: list[Segment], before: float) -> int:
        """Whole segments that end before the skip boundary."""
        count, at = 0, 0.0
        for segment in segments:
            at += segment.duration
            if at > before + SLACK:
                break
            count += 1
        return count

    def _segment(self, segment: Segment, init: int | None, parts: bool) -> list[str]:
        out = []
        if segment.discontinuity:
            out.append("#EXT-X-DISCONTINUITY")
        if segment.init != init:
            out.append(f'#EXT-X-MAP:URI="{init_uri(segment.init)}"')
        out.append(f"#EXT-X-PROGRAM-DATE-TIME:{_date(segment.began)}")
        if parts or segment is self._growing:
            for index, part in enumerate(segment.parts):
                line = f"#EXT-X-PART:DURATION={_seconds(part.duration)}"
                line += f',URI="{part_uri(segment.msn, index)}"'
                out.append(line + (",INDEPENDENT=YES" if part.independent else ""))
        if segment.gap:
            out.append("#EXT-X-GAP")
        if segment is not self._growing:
            out += [f"#EXTINF:{_seconds(segment.duration)},", segment_uri(segment.msn)]
        return out


def _seconds(value: float) -> str:
    # Down, so that no part is written longer than the target; to the microsecond, so that the parts
    # of a segment sum up to it.
    return f"{math.floor(value * 1e6 + 0.01) / 1e6:.6f}".rstrip("0").rstrip(".")


def _date(wall: int) -> str:
    text = datetime.fromtimestamp(wall // 1000 / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
