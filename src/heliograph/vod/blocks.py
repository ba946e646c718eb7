"""Blocks of titles: RTP payloads that are ready to be sent, with the times when they are due.

The bytes are written down in ``docs/wire/blocks.md``; the plane's sender reads them as well.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from heliograph.model.errors import MalformedError
from heliograph.protocols.payload.base import Payload
from heliograph.storage.values import DEFAULT_BLOCK, MAX_BLOCK
from heliograph.vod.manifest import BlockEntry, KeyPoint

MAGIC = b"HGB1"
VERSION = 1
#: Magic, version, tracks, zero, packets, due and end in µs, packets of all tracks before.
HEADER = Struct(">4sBBHIQQQ")
#: Due after the block's in µs, track, flags, length, RTP timestamp.
RECORD = Struct(">IBBHI")
#: The packet belongs to a unit at which decoding can begin.
KEY = 1
#: The packet is the first of its access unit.
FIRST = 2
#: The RTP marker bit.
MARKER = 4
#: The packet is the last of its access unit.
LAST = 8
FLAGS = KEY | FIRST | MARKER | LAST
#: A block of a title of few bits holds no more than this, so that it can be entered anywhere
#: without reading much; half a group of pictures, as files have them.
SPAN_US = 2_000_000
#: One byte counts the tracks of a block; no title has more than this many, and no session of a
#: player more than a handful.
MAX_TRACKS = 32
#: 35 years: what is beyond is a mistake, and sums of two fit 63 bits.
MAX_TIME_US = 1 << 50
#: RTP's header: it counts for what a second of a title needs of a network.
_RTP_HEADER = 12


class Record(NamedTuple):
    """One packet of a block."""

    track: int
    due_us: int
    """When it is to be sent, in µs of media time; the same for all packets of an access unit."""
    number: int
    """Counts the packets of its track from the title's start, from 0."""
    flags: int
    """``KEY``, ``FIRST``, ``MARKER``, ``LAST``."""
    timestamp: int
    """Units of the track's clock since the title's start, modulo 2³²."""
    payload: bytes
    """Of RTP, ready to be sent; 1 to 65 535 bytes."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a block says before its records."""

    packets: int
    """Records that follow, 1 at least."""
    due_us: int
    """When the first of them is due, in µs of media time."""
    end_us: int
    """When the packet that follows the last of them is due."""
    before: int
    """Packets of all tracks in the blocks before."""
    first: tuple[int, ...]
    """By track: packets of the track in the blocks before."""

    @property
    def size(self) -> int:
        """Bytes of the header."""
        return HEADER.size + 8 * len(self.first)


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it was read."""

    header: Header
    records: tuple[Record, ...]
    """In the order in which they are due."""

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)


def _malformed(reason: str, offset: int | None = None) -> MalformedError:
    return MalformedError("block", reason, offset=offset)


def read_header(block: bytes) -> Header:
    """What stands before the records. Raises ``MalformedError``."""
    if len(block) > MAX_BLOCK:
        raise _malformed(f"{len(block)} bytes (at most {MAX_BLOCK})")
    if len(block) < HEADER.size:
        raise _malformed(f"{len(block)} bytes are less than a header", len(block))
    magic, version, tracks, zero, packets, due, end, before = HEADER.unpack_from(block)
    if magic != MAGIC:
        raise _malformed("not a block of a title", 0)
    if version != VERSION:
        raise _malformed(f"version {version} (this program reads {VERSION})", 4)
    if not 1 <= tracks <= MAX_TRACKS:
        raise _malformed(f"{tracks} tracks (1 to {MAX_TRACKS})", 5)
    if zero:
        raise _malformed("reserved bytes that are not zero", 6)
    if not due <= end <= MAX_TIME_US:
        raise _malformed(f"due from {due} to {end} µs", 12)
    at = HEADER.size
    if len(block) < at + 8 * tracks + RECORD.size * packets:
        raise _malformed(f"{packets} packets do not fit", 8)
    if not packets:
        raise _malformed("no packets", 8)
    first = _COUNTS[tracks].unpack_from(block, at)
    if sum(first) != before:
        raise _malformed(f"{before} packets before, by tracks {sum(first)}", 28)
    return Header(packets, due, end, before, first)


_COUNTS = [Struct(f">{count}Q") for count in range(MAX_TRACKS + 1)]


def read(block: bytes) -> Block:
    """All of a block, checked. Raises ``MalformedError`` with the place at fault."""
    header = read_header(block)
    at, last = header.size, 0
    base, tracks = header.due_us, len(header.first)
    numbers = list(header.first)
    records: list[Record] = []
    unpack, size = RECORD.unpack_from, RECORD.size
    end = len(block)
    for _ in range(header.packets):
        start = at + size
        if start > end:
            raise _malformed("ends within a record", at)
        due, track, flags, length, timestamp = unpack(block, at)
        if track >= tracks or flags & ~FLAGS or not length:
            raise _malformed(f"record of track {track}, flags {flags}, {length} bytes", at)
        if due < last or (due and not records):
            raise _malformed(f"due at {due} µs after {last} µs", at)
        last = due
        at = start + length
        if at > end:
            raise _malformed("ends within a packet", start)
        records.append(
            Record(track, base + due, numbers[track], flags, timestamp, bytes(block[start:at]))
        )
        numbers[track] += 1
    if at != end:
        raise _malformed(f"{end - at} bytes after the last record", at)
    if base + last > header.end_us:
        raise _malformed(f"due at {last} µs in a block of {header.end_us - base} µs", 20)
    return Block(header, tuple(records))


class WrittenBlock(NamedTuple):
    """A block that is full."""

    number: int
    data: bytes
    entry: BlockEntry
    keys: tuple[KeyPoint, ...]
    """The key units of pictures that begin in it."""


@dataclass(slots=True)
class Written:
    """What was written of one track so far."""

    packets: int = 0
    units: int = 0
    bytes: int = 0


class BlockWriter:
    """Makes blocks of access units that come in the order in which they are due.

    ``pictures``: the tracks whose key units are noted as points of entry. ``limit``: bytes of a
    block, at most. ``span_us``: media time in a block, at most. A recording that goes on passes the
    ``number`` of the next block and what is ``written`` by track; ``WrittenBlock`` come out.
    """

    def __init__(
        self,
        tracks: int,
        *,
        pictures: Collection[int] = (),
        limit: int = DEFAULT_BLOCK,
        span_us: int = SPAN_US,
        number: int = 0,
        written: Sequence[Written] = (),
    ) -> None:
        """Raise ``ValueError`` for numbers that cannot be."""
        if not 1 <= tracks <= MAX_TRACKS or not 4096 <= limit <= MAX_BLOCK:
            raise ValueError(f"{tracks} tracks, blocks of {limit} bytes")
        if not 0 < span_us < 1 << 32 or len(written) not in (0, tracks):
            raise ValueError(f"blocks of {span_us} µs, {len(written)} of {tracks} tracks written")
        self.written = [Written(w.packets, w.units, w.bytes) for w in written] or [
            Written() for _ in range(tracks)
        ]
        self.number = number
        self.peak_bits = 0
        """Most bits, with RTP's headers, that are due within any second."""
        self._limit = limit
        self._span = span_us
        self._pictures = frozenset(pictures)
        self._room = limit - HEADER.size - 8 * tracks
        self._window: deque[tuple[int, int]] = deque()
        self._window_bits = 0
        self._due = 0  # of the newest unit
        self._parts: list[bytes] = []
        self._size = 0
        self._first_due = 0
        self._first = tuple(one.packets for one in self.written)
        self._counts = [0] * tracks
        self._keys: list[KeyPoint] = []

    @property
    def waiting(self) -> int:
        """Bytes of packets that are in no block yet."""
        return self._size

    @property
    def due_us(self) -> int:
        """When the newest unit is due; what follows is not due before."""
        return self._due

    def add(
        self,
        track: int,
        due_us: int,
        pts_us: int,
        timestamp: int,
        key: bool,
        payloads: Sequence[Payload],
    ) -> list[WrittenBlock]:
        """Take an access unit; the blocks that it completed, mostly none.

        ``pts_us``: when it is shown, on the same clock as ``due_us``. ``timestamp``: the same for
        RTP, in units of the track's clock. Raises ``ValueError`` for a unit that is due before one
        that came already, for times out of reach and for packets that do not fit.
        """
        if not self._due <= due_us <= MAX_TIME_US:
            raise ValueError(f"due at {due_us} µs after {self._due} µs")
        if not payloads:
            return []
        done: list[WrittenBlock] = []
        size = 0
        for payload in payloads:
            length = len(payload.data)
            if not 0 < length <= 0xFFFF or length + RECORD.size > self._room:
                raise ValueError(f"a payload of {length} bytes")
            size += length
        self._count(track, due_us, size, len(payloads))
        size += RECORD.size * len(payloads)
        self._due = due_us
        if self._parts and (
            self._size + size > self._room
            or due_us - self._first_due > self._span
            or (key and track in self._pictures and self._worthwhile(due_us))
        ):
            done.append(self._close(due_us))
        if not self._parts:
            self._first_due = due_us
        if key and track in self._pictures:
            self._keys.append(KeyPoint(due_us, pts_us, self.number, track))
        common = KEY if key else 0
        parts, pack = self._parts, RECORD.pack
        after = due_us - self._first_due
        flags, last = common | FIRST, len(payloads) - 1
        whole = size <= self._room
        for index, (data, marker, offset) in enumerate(payloads):
            length = len(data)
            if not whole and parts and self._size + RECORD.size + length > self._room:
                done.append(self._close(due_us))
                self._first_due, after, parts = due_us, 0, self._parts
            if marker:
                flags |= MARKER
            if index == last:
                flags |= LAST
            parts.append(pack(after, track, flags, length, (timestamp + offset) & 0xFFFFFFFF))
            parts.append(data)
            self._counts[track] += 1
            self._size += RECORD.size + length
            flags = common
        return done

    def finish(self, end_us: int) -> list[WrittenBlock]:
        """The rest as a block, if there is one; ``end_us``: when the title ends."""
        return [self._close(max(end_us, self._due))] if self._parts else []

    def _worthwhile(self, due_us: int) -> bool:
        """Whether what is there is enough for a block that ends where players can enter."""
        return self._size * 4 >= self._limit or (due_us - self._first_due) * 2 >= self._span

    def _close(self, end_us: int) -> WrittenBlock:
        tracks = len(self._first)
        head = HEADER.pack(
            MAGIC,
            VERSION,
            tracks,
            0,
            len(self._parts) // 2,
            self._first_due,
            end_us,
            sum(self._first),
        )
        data = b"".join([head, _COUNTS[tracks].pack(*self._first), *self._parts])
        entry = BlockEntry(self._first_due, end_us, len(data), self._first)
        block = WrittenBlock(self.number, data, entry, tuple(self._keys))
        for one, count in zip(self.written, self._counts, strict=True):
            one.packets += count
        self.number += 1
        self._parts, self._size, self._keys = [], 0, []
        self._first, self._counts = tuple(one.packets for one in self.written), [0] * tracks
        return block

    def _count(self, track: int, due_us: int, size: int, packets: int) -> None:
        one = self.written[track]
        one.units += 1
        one.bytes += size
        bits = 8 * (size + _RTP_HEADER * packets)
        self._window.append((due_us, bits))
        self._window_bits += bits
        while self._window[0][0] <= due_us - 1_000_000:
            self._window_bits -= self._window.popleft()[1]
        self.peak_bits = max(self.peak_bits, self._window_bits)
