"""A title as one file of MP4 whose layout is known before a block is read. Pure.

The file has fragments, one for each block. What it takes to write a block's media as a fragment can
be bounded by what the manifest says of the block, so each fragment gets a place of that size, and
``free`` boxes fill what it does not need, 2 to 4 % of the file. So a request for any range reads
just the blocks in it, no index has to be made or kept, and every node gives the same bytes.

A block ends where an access unit does. A unit larger than a block fills several, which begin at
its own due time: these share a place. The index names the places that begin with a key unit, as
most groups of pictures do that fill a block.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from heliograph.model.errors import IncompatibleError, MalformedError, NotFoundError
from heliograph.model.media import Kind, Track
from heliograph.protocols.mp4 import (
    Entry,
    Muxer,
    Reference,
    Role,
    TimedUnit,
    segment_index,
    writable,
)
from heliograph.protocols.mp4.boxes import box
from heliograph.protocols.mp4.index import INDEX_SIZE, MAX_REFERENCES, REFERENCE_SIZE
from heliograph.vod.manifest import Manifest, TitleTrack

#: Grows when the same blocks are written otherwise: what was begun by another version cannot be
#: continued by this one.
FORMAT = 1
#: Bytes of boxes in a fragment without tracks, and of each track's.
FRAGMENT_SIZE, TRACK_SIZE = 64, 96
#: A video unit's row is so much longer than what a block says of its only packet; packets of the
#: same unit bring more than they need.
ROW = 8
#: A part of the block for packets that hold several small units or NAL units, whose lengths take
#: more bytes in a file than in RTP.
SPARE = 64
#: Tracks that are the same picture, and sound in several languages, are alternatives.
_PICTURES, _SOUNDS = 1, 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where one fragment is in the file."""

    number: int
    """From 0."""
    blocks: range
    """Its blocks."""
    offset: int
    """Byte of the file where it begins."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The file, but for the media."""

    head: bytes = field(repr=False)
    """What is before the fragments."""
    places: tuple[Place, ...] = field(repr=False)
    size: int
    """Bytes of all."""
    muxer: Muxer = field(repr=False)
    """Writes the fragments."""

    def at(self, offset: int) -> int:
        """Number of the place that has a byte behind the head."""
        return bisect_right(self.places, offset, key=lambda one: one.offset) - 1


def carried(manifest: Manifest) -> tuple[TitleTrack, ...]:
    """The tracks that the file has.

    Raises ``IncompatibleError`` where MP4 has no place for any, ``NotFoundError`` for a title
    without blocks.
    """
    if not manifest.blocks:
        raise NotFoundError(f"title {manifest.name!r} is empty", subject=manifest.name)
    found = tuple(one for one in manifest.tracks if writable(one.track.codec) and one.packets)
    if not found:
        raise IncompatibleError("MP4 has no place for its codecs", subject=manifest.name)
    return found


def lay_out(manifest: Manifest, entries: Sequence[Entry]) -> Layout:
    """Place the fragments; ``entries``: of ``carried`` tracks, in their order."""
    muxer = Muxer(entries, roles=_roles(manifest), duration_us=manifest.duration_us)
    groups = _groups(manifest)
    lead = entries[0].track
    entered = [0, *(n for n in range(1, len(groups)) if _enters(manifest, groups[n], lead))]
    entered = entered[:: -(-len(entered) // MAX_REFERENCES)]
    init = muxer.init()
    at = len(init) + INDEX_SIZE + REFERENCE_SIZE * len(entered)
    places = []
    for number, group in enumerate(groups):
        size = _bound(manifest, group)
        places.append(Place(number, group, at, size))
        at += size
    runs = pairwise([*entered, len(places)])
    references = [_reference(manifest, lead, places[begin:end]) for begin, end in runs]
    # Other times than of the track's own clock are taken for these by some readers.
    index = segment_index(lead.id + 1, lead.clock_rate, references)
    return Layout(init + index, tuple(places), at, muxer)


def fill(layout: Layout, place: Place, units: Sequence[TimedUnit]) -> tuple[bytes, int]:
    """The bytes of a place, and how many of the units had no room.

    These are the last ones; there are none but for blocks that nobody's packetizer made. Raises
    ``MalformedError`` for units that are not of their codec.
    """
    kept = len(units)
    while True:
        data = layout.muxer.fragment(place.number + 1, units[:kept], {}) if kept else b""
        rest = place.size - len(data)
        if rest == 0:
            return data, len(units) - kept
        if rest >= 8:
            return data + box("free", bytes(rest - 8)), len(units) - kept
        if not kept:
            raise MalformedError("place", f"{place.size} bytes")
        kept -= max(1, kept // 64)


def _roles(manifest: Manifest) -> dict[int, Role]:
    """The best picture and the first sound play where nobody chooses."""
    tracks = carried(manifest)
    found = {}
    for kind, group in ((Kind.VIDEO, _PICTURES), (Kind.AUDIO, _SOUNDS)):
        own = [one for one in tracks if one.track.kind is kind]
        first = min(own, key=lambda one: one.rendition, default=None)
        for one in own:
            alone = len(own) == 1 and kind is Kind.VIDEO
            role = Role(one.language or "und", one is first, 0 if alone else group)
            found[one.track.id] = role
    return found


def _groups(manifest: Manifest) -> list[range]:
    """Blocks that share a place: those that begin at the same time."""
    blocks = manifest.blocks
    begins = [n for n in range(len(blocks)) if n == 0 or blocks[n].due_us > blocks[n - 1].due_us]
    ends = [*begins[1:], len(blocks)]
    return [range(begin, end) for begin, end in zip(begins, ends, strict=True)]


def _bound(manifest: Manifest, group: range) -> int:
    """Bytes that the media of some blocks take as a fragment, at most."""
    blocks = manifest.blocks
    size = sum(blocks[number].bytes for number in group)
    after = (
        blocks[group.stop].first
        if group.stop < len(blocks)
        else tuple(one.packets for one in manifest.tracks)
    )
    packets = sum(after) - sum(blocks[group.start].first)
    spare = size // SPARE + ROW * max(0, packets)
    return size + spare + FRAGMENT_SIZE + TRACK_SIZE * len(manifest.tracks)


def _enters(manifest: Manifest, group: range, lead: Track) -> bool:
    """Whether decoding can begin with a place: players look for a key unit in no other one."""
    if lead.kind is not Kind.VIDEO:
        return True
    begin, keys = manifest.blocks[group.start].due_us, manifest.keys
    first = bisect_left(keys, begin, key=lambda one: one.due_us)
    after = bisect_right(keys, begin, key=lambda one: one.due_us)
    return any(one.track == lead.id and one.block == group.start for one in keys[first:after])


def _reference(manifest: Manifest, lead: Track, places: Sequence[Place]) -> Reference:
    blocks, first, last = manifest.blocks, places[0].blocks, places[-1].blocks.stop
    begin = blocks[first.start].due_us
    end = blocks[last].due_us if last < len(blocks) else blocks[-1].end_us
    lasts = end * lead.clock_rate // 1_000_000 - begin * lead.clock_rate // 1_000_000
    size = sum(one.size for one in places)
    return Reference(size, lasts, 0 if _enters(manifest, first, lead) else None)
