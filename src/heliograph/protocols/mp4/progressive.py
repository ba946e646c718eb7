"""Files that are not fragmented: one ``moov`` with the tables of all samples (ISO/IEC 14496-12 §8).

Times that people see are in µs (the movie's timescale), those of a track in units of its clock.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from heliograph.model.errors import MalformedError
from heliograph.model.media import Kind
from heliograph.protocols.mp4.boxes import box, full_box, numbers
from heliograph.protocols.mp4.entries import Entry

#: Of the movie: µs, so that edits are exact.
TIMESCALE = 1_000_000
_UNITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
#: §8.3.2.3: in the movie and in the preview; and enabled.
_IN_MOVIE, _ENABLED = 6, 1
_UNDETERMINED = "und"


def _samples() -> array[int]:
    return array("Q")


@dataclass(slots=True)
class SampleTable:
    """What a file says of one track's samples; filled as they are written."""

    entry: Entry
    """What the track is."""
    language: str = ""
    """ISO 639-2, three letters; "": undetermined."""
    enabled: bool = True
    """Whether players take it unasked."""
    group: int = 0
    """Tracks of one group that is not 0 are alternatives."""
    begin: int = 0
    """What is shown first: units of the clock after the decoding time of the first sample."""
    after: int = 0
    """µs of the movie before the track is shown at all."""
    lasts: int = 0
    """µs for which it is shown."""
    last: int = 0
    """Units of the clock from the last sample's decoding to the end."""
    sizes: array[int] = field(default_factory=_samples, repr=False)
    times: array[int] = field(default_factory=_samples, repr=False)
    """Decoding times; the first may be anything, they do not fall."""
    shifts: array[int] = field(default_factory=lambda: array("q"), repr=False)
    """From decoding to presentation, in units of the clock."""
    keys: array[int] = field(default_factory=_samples, repr=False)
    """Numbers from 1 of the samples at which decoding can begin; unused for sound."""
    chunks: array[int] = field(default_factory=_samples, repr=False)
    """Where runs of samples begin in the file."""
    counts: array[int] = field(default_factory=_samples, repr=False)
    """Samples in each run."""

    @property
    def duration(self) -> int:
        """Units of the clock from the first sample's decoding to the end."""
        return self.times[-1] - self.times[0] + self.last if self.times else 0


def movie(tables: Sequence[SampleTable]) -> bytes:
    """The ``moov`` box. Raises ``MalformedError`` for numbers that a file cannot hold."""
    if not tables:
        raise MalformedError("mp4", "no tracks")
    lasts = max(table.after + table.lasts for table in tables)
    head = numbers(8, 0, 0) + numbers(4, TIMESCALE) + numbers(8, lasts)
    head += numbers(4, 0x10000) + numbers(2, 0x100) + bytes(10)
    following = max(table.entry.track.id for table in tables) + 2
    header = full_box("mvhd", 1, 0, head, numbers(4, *_UNITY), bytes(24), numbers(4, following))
    try:
        return box("moov", header, *(_track(table) for table in tables))
    except OverflowError as error:
        raise MalformedError("mp4", "a number that does not fit a file") from error


def most(samples: int, chunks: int) -> int:
    """Bytes that ``movie`` needs at most for a track, to leave room before its samples are known.

    Sizes, keys: 4 bytes a sample; times and shifts: 8 each; chunks: 8, and 12 for their counts.
    """
    return 24 * samples + 20 * chunks + 16_384


def _track(table: SampleTable) -> bytes:
    entry, track = table.entry, table.entry.track
    video = track.kind is Kind.VIDEO
    shown = table.after + table.lasts
    header = full_box(
        "tkhd",
        1,
        _IN_MOVIE | (_ENABLED if table.enabled else 0),
        numbers(8, 0, 0) + numbers(4, track.id + 1, 0) + numbers(8, shown) + bytes(8),
        numbers(2, 0, table.group, 0 if video else 0x100, 0),
        numbers(4, *_UNITY, entry.width << 16, entry.height << 16),
    )
    edits = numbers(8, table.lasts, table.begin) + numbers(4, 0x10000)
    count = 1
    if table.after:
        edits = numbers(8, table.after, (1 << 64) - 1) + numbers(4, 0x10000) + edits
        count = 2
    edit = box("edts", full_box("elst", 1, 0, numbers(4, count), edits))
    times = numbers(8, 0, 0) + numbers(4, track.clock_rate) + numbers(8, table.duration)
    media = full_box("mdhd", 1, 0, times, numbers(2, _language(table.language), 0))
    handler = b"vide" if video else b"soun"
    name = b"VideoHandler\0" if video else b"SoundHandler\0"
    kind = full_box("hdlr", 0, 0, bytes(4), handler, bytes(12), name)
    first = full_box("vmhd", 0, 1, bytes(8)) if video else full_box("smhd", 0, 0, bytes(4))
    where = box("dinf", full_box("dref", 0, 0, numbers(4, 1), full_box("url ", 0, 1)))
    info = box("minf", first, where, _tables(table, video))
    return box("trak", header, edit, box("mdia", media, kind, info))


def _tables(table: SampleTable, video: bool) -> bytes:
    steps = [after - before for before, after in pairwise(table.times)]
    if table.times:
        steps.append(table.last)
    parts = [
        full_box("stsd", 0, 0, numbers(4, 1), table.entry.data),
        full_box("stts", 0, 0, _runs(steps)),
    ]
    if any(table.shifts):
        # Version 1 has signed numbers; old readers know version 0 only.
        negative = min(table.shifts) < 0
        plain = [shift & 0xFFFFFFFF for shift in table.shifts]
        parts.append(full_box("ctts", int(negative), 0, _runs(plain)))
    if video:
        parts.append(full_box("stss", 0, 0, numbers(4, len(table.keys)), _words(table.keys)))
    runs: list[tuple[int, int]] = []
    for number, count in enumerate(table.counts, 1):
        if not runs or runs[-1][1] != count:
            runs.append((number, count))
    stsc = b"".join(numbers(4, number, count, 1) for number, count in runs)
    parts.append(full_box("stsc", 0, 0, numbers(4, len(runs)), stsc))
    sizes = numbers(4, 0, len(table.sizes)) + _words(table.sizes)
    parts.append(full_box("stsz", 0, 0, sizes))
    chunks = numbers(4, len(table.chunks))
    if table.chunks and max(table.chunks) >> 32:
        parts.append(full_box("co64", 0, 0, chunks, _big_endian(table.chunks)))
    else:
        parts.append(full_box("stco", 0, 0, chunks, _words(table.chunks)))
    return box("stbl", *parts)


def _runs(values: Sequence[int]) -> bytes:
    """Equal values that follow each other, counted."""
    found = [(len(list(same)), value) for value, same in groupby(values)]
    flat = [number for run in found for number in run]
    return numbers(4, len(found)) + _words(flat)


def _words(values: Iterable[int]) -> bytes:
    return _big_endian(array("I", values))


def _big_endian(values: array[int]) -> bytes:
    if sys.byteorder == "big":
        return values.tobytes()
    swapped = array(values.typecode, values)
    swapped.byteswap()
    return swapped.tobytes()


def _language(code: str) -> int:
    """Three letters of five bits (§8.4.2.3)."""
    good = len(code) == 3 and code.isascii() and code.isalpha()
    letters = code.lower() if good else _UNDETERMINED
    value = 0
    for letter in letters:
        value = value << 5 | ord(letter) - 0x60
    return value
