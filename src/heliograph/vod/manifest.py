"""What is known of a title without reading its blocks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from heliograph.model.errors import NotFoundError
from heliograph.model.media import Track
from heliograph.storage.values import ObjectId


@dataclass(frozen=True, slots=True)
class TitleTrack:
    """One elementary stream of a title."""

    track: Track
    """As SDP describes it; ids are 0, 1, … in the title's order."""
    packets: int
    """RTP packets in all blocks."""
    units: int
    """Access units, or packets of sampled audio."""
    bytes: int
    """Payload in all blocks."""
    language: str = ""
    """ISO 639-2, where the container told it."""
    rendition: int = 0
    """Video tracks are renditions of one picture, the best is 0; viewers get one of them."""
    begin_us: int = 0
    """Media time from which it is shown or heard: what its first units carry before is a codec's
    run-up and is dropped. Time 0 is when the title's first packet is due."""
    end_us: int = 0
    """Media time to which it is shown or heard; 0 where that is to the end of its last unit."""


@dataclass(frozen=True, slots=True)
class BlockEntry:
    """One block of a title."""

    due_us: int
    """When its first packet is to be sent, in µs of media time."""
    end_us: int
    """When the packet that follows its last is due."""
    bytes: int
    first: tuple[int, ...]
    """By track: packets of the track before this block."""


@dataclass(frozen=True, slots=True, order=True)
class KeyPoint:
    """Where a title can be entered: a key access unit of a rendition."""

    due_us: int
    """When its first packet is due."""
    pts_us: int
    """When it is shown."""
    block: int
    track: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A title of a volume."""

    name: str
    """The logical id by which it is asked for, as of a channel."""
    object: ObjectId
    title: str
    """For people."""
    duration_us: int
    tracks: tuple[TitleTrack, ...]
    blocks: Sequence[BlockEntry] = field(repr=False)
    keys: Sequence[KeyPoint] = field(repr=False)
    """By ``due_us``; a title without pictures has none and can be entered anywhere."""
    peak_bps: int
    """Most bits in any second."""
    source: str = ""
    """What was imported, for people."""
    source_digest: str = ""
    """SHA-256 of the file, hexadecimal."""
    created: float = 0.0
    """Seconds since 1970."""
    live: bool = False
    """Whether it is still being recorded: it grows."""

    def block_at(self, due_us: int) -> int:
        """The block in which that media time falls; ``NotFoundError`` in a title without blocks."""
        if not self.blocks:
            raise NotFoundError(f"title {self.name} is empty", subject=self.name)
        return max(0, bisect_right(self.blocks, due_us, key=lambda one: one.due_us) - 1)

    def key_before(self, pts_us: int, track: int) -> KeyPoint | None:
        """The last key unit of a track shown at that time or before; the first where none is."""
        mine = [one for one in self.keys if one.track == track]
        at = bisect_right(mine, pts_us, key=lambda one: one.pts_us)
        return mine[max(0, at - 1)] if mine else None


class BlockSource(Protocol):
    """Where a title's blocks are read: a volume, or files in a test."""

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        """Block ``number`` of the title, checked.

        ``deadline``: time of the event loop by which it is wanted; sooner ones are read sooner.
        ``GoneError``: lost beyond repair; ``ResourceError``, ``UnreachableError``: cannot be read
        now; ``NotFoundError``: there is no such block.
        """
