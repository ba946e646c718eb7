"""Which blocks of a title a viewer gets, and how far ahead of what is sent they are read: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from heliograph.model.media import Kind
from heliograph.vod.blocks import HEADER, RECORD, read
from heliograph.vod.manifest import KeyPoint, Manifest, TitleTrack

#: Read-ahead in µs of the viewer's time: at least, usually, at most. Blocks hold up to 2 s.
LEAST_US, USUAL_US, MOST_US = 2_000_000, 3_000_000, 10_000_000
#: By how many times the time that reads take lately the usual read-ahead grows.
SLOWNESS = 4
#: Part of the newest sample where reads get faster; slower ones count at once.
_FADING = 0.1


class Window:
    """How much is read ahead: more while reads take long."""

    def __init__(self, usual_us: int = USUAL_US) -> None:
        self._usual = usual_us
        self.latency = 0.0
        """Seconds that reads take lately, the slow ones remembered."""

    def observe(self, seconds: float) -> None:
        """A block was read in that time."""
        faded = self.latency + _FADING * (seconds - self.latency)
        self.latency = max(seconds, faded)

    @property
    def us(self) -> int:
        """The read-ahead, in µs of the viewer's time."""
        wanted = self._usual + round(SLOWNESS * self.latency * 1e6)
        return max(LEAST_US, min(wanted, MOST_US))


def picture_of(titled: Iterable[TitleTrack], chosen: Collection[int]) -> int | None:
    """The track, one of those chosen, whose key units decide where a viewer enters."""
    pictures = (one.track for one in titled if one.track.kind is Kind.VIDEO)
    return next((track.id for track in pictures if track.id in chosen), None)


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a title is entered."""

    due_us: int
    """What is due from then on is sent."""
    block: int


def entry(manifest: Manifest, wanted_us: int, picture: int | None) -> Entry:
    """Where to enter for what is shown at ``wanted_us``.

    ``picture``: the track whose key units decide; without one any time will do. ``NotFoundError``
    in a title without blocks.
    """
    key = None if picture is None else manifest.key_before(wanted_us, picture)
    if key is not None:
        return Entry(key.due_us, key.block)
    return Entry(max(wanted_us, 0), manifest.block_at(wanted_us))


def key_after(manifest: Manifest, block: int, due_us: int, picture: int) -> KeyPoint | None:
    """The first key unit of a track behind block ``block`` that is due at ``due_us`` or later."""
    low, high = 0, len(manifest.keys)
    while low < high:
        middle = (low + high) // 2
        if manifest.keys[middle].due_us < due_us:
            low = middle + 1
        else:
            high = middle
    while low < len(manifest.keys):
        key = manifest.keys[low]
        if key.track == picture and key.block > block:
            return key
        low += 1
    return None


def following(
    manifest: Manifest, block: int, scale: float, picture: int | None, pace: float = 1.0
) -> int | None:
    """The block that is sent after ``block``; None: that was the last.

    Above a scale of 1 only key units are shown: of the blocks that have any, ``pace`` times as many
    are read as would be at 1, so that no more is asked of the disks than was promised.
    """
    if scale <= 1 or picture is None or not manifest.keys:
        return block + 1 if block + 1 < len(manifest.blocks) else None
    one = manifest.blocks[block]
    jump = round(max(scale / pace, 1.0) * (one.end_us - one.due_us))
    key = key_after(manifest, block, one.due_us + jump, picture)
    return None if key is None else key.block


def next_entry(manifest: Manifest, block: int, picture: int | None) -> tuple[int | None, int]:
    """Where to enter if a block is lost: the block behind it, and when its part is due."""
    due = manifest.blocks[block].due_us
    if picture is not None and manifest.keys:
        key = key_after(manifest, block, due, picture)
        return (None, due) if key is None else (key.block, key.due_us)
    number = following(manifest, block, 1.0, None)
    return number, due if number is None else manifest.blocks[number].due_us


def without_pictures(block: bytes, picture: int, before_us: int) -> bytes:
    """A block without what a track has due before ``before_us``; empty where nothing is left.

    After a gap the units up to the next key unit cannot be decoded. ``MalformedError`` for what is
    no block.
    """
    found = read(block)
    dropped = 0
    kept = []
    for record in found.records:
        if record.track == picture and record.due_us < before_us:
            dropped += 1
        else:
            kept.append(record)
    if not dropped or not kept:
        return block if kept else b""
    first = list(found.header.first)
    first[picture] += dropped
    due = kept[0].due_us
    parts = [
        HEADER.pack(b"HGB1", 1, len(first), 0, len(kept), due, found.header.end_us, sum(first))
    ]
    parts += [number.to_bytes(8) for number in first]
    for record in kept:
        head = (record.due_us - due, record.track, record.flags, len(record.payload))
        parts += [RECORD.pack(*head, record.timestamp), record.payload]
    return b"".join(parts)
