"""Titles written to files: a progressive MP4 with the pictures and sound of the blocks."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from heliograph.model.errors import MalformedError, ResourceError, UnsupportedError
from heliograph.model.media import Codec, Kind
from heliograph.protocols.mp4 import Entry, TimedUnit, describe, writable
from heliograph.protocols.mp4.boxes import box, numbers
from heliograph.protocols.mp4.muxer import sample
from heliograph.protocols.mp4.progressive import SampleTable, most, movie
from heliograph.protocols.payload import h264, h265, nal
from heliograph.vod import blocks
from heliograph.vod.manifest import BlockSource, Manifest, TitleTrack
from heliograph.vod.units import UnitReader, readers, units_of

_BRANDS = box("ftyp", b"isom" + numbers(4, 0x200) + b"isomiso2iso6mp41")
#: Of an ``mdat`` whose length has 64 bits.
_DATA_HEAD = 16


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    bytes: int
    samples: int
    broken: int
    """Access units that could not be put together out of the blocks, and are missing."""
    tracks: tuple[int, ...]
    """Ids of the tracks in the file."""


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """How far an export is."""

    block: int
    """Blocks done."""
    blocks: int
    bytes: int
    """Written so far."""


async def export_mp4(
    manifest: Manifest,
    source: BlockSource,
    path: Path,
    *,
    tracks: Collection[int] | None = None,
    progress: Callable[[ExportProgress], None] | None = None,
) -> Exported:
    """Write a title, or some of its ``tracks``, as a progressive MP4.

    The file is there as a whole or not at all; a file of that name is replaced. Raises
    ``UnsupportedError`` for a codec that MP4 has no place for, ``MalformedError`` for blocks that
    are not the manifest's, ``ResourceError`` for what the disk refuses, and what the source raises.
    """
    chosen = [one for one in manifest.tracks if tracks is None or one.track.id in tracks]
    refused = [one.track.codec.value for one in chosen if not writable(one.track.codec)]
    if refused:
        raise UnsupportedError(
            f"title {manifest.name}: MP4 has no place for {', '.join(refused)}",
            subject=manifest.name,
        )
    if not any(one.units for one in chosen):
        raise UnsupportedError(f"title {manifest.name}: nothing to export", subject=manifest.name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(await asyncio.to_thread(temporary.open, "wb"))
            writer = _Writer(manifest, chosen, file)
            await asyncio.to_thread(writer.begin)
            for number in range(len(manifest.blocks)):
                data = await source.block(number)
                await asyncio.to_thread(writer.block, number, data)
                if progress is not None:
                    told = ExportProgress(number + 1, len(manifest.blocks), writer.at)
                    progress(told)
            exported = await asyncio.to_thread(writer.finish)
        temporary.replace(path)
    except OSError as error:
        raise ResourceError(f"{path}: {error.strerror or error}", subject=path.name) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return exported


class _Writer:
    """One export. Blocking."""

    def __init__(self, manifest: Manifest, chosen: list[TitleTrack], file: BinaryIO) -> None:
        self._manifest = manifest
        self._chosen = chosen
        self._file = file
        self._readers = readers([one.track for one in chosen])
        self._outputs: dict[int, _Output] = {
            one.track.id: _Output(one, self._readers[one.track.id]) for one in chosen
        }
        chunks = len(manifest.blocks)
        # Several units of sound may come in one packet; few more than one do in practice.
        room = sum(most(2 * one.units + chunks, chunks) for one in chosen)
        self._data = len(_BRANDS) + room
        self.at = self._data + _DATA_HEAD
        """Where the next sample goes."""

    def begin(self) -> None:
        """Leave room for what is known at the end only."""
        self._file.seek(self.at)

    def block(self, number: int, data: bytes) -> None:
        """Write the samples that the block completes, a run for each track."""
        block = blocks.read(data)
        entry = self._manifest.blocks[number]
        if block.header.first != entry.first or block.header.due_us != entry.due_us:
            raise MalformedError("block", f"number {number} is not the one of the manifest")
        runs: dict[int, list[TimedUnit]] = {}
        for unit in units_of(block.records, self._readers):
            runs.setdefault(unit.track, []).append(unit)
        for track, units in runs.items():
            data = self._outputs[track].take(units, self.at)
            self._file.write(data)
            self.at += len(data)

    def finish(self) -> Exported:
        """Write the tables into the room that was left."""
        end = self.at
        used = [one for one in self._outputs.values() if one.table is not None]
        start = min((one.begin_us for one in used), default=0)
        tables = []
        seen: set[Kind] = set()
        for one in used:
            kind = one.track.track.kind
            alternatives = sum(other.track.track.kind is kind for other in used) > 1
            group = (1 if kind is Kind.VIDEO else 2) if alternatives else 0
            tables.append(one.finish(start, enabled=kind not in seen, group=group))
            seen.add(kind)
        head = movie(tables)
        room = self._data - len(_BRANDS) - len(head)
        if room < 8:
            raise MalformedError("mp4", f"tables of {len(head)} bytes do not fit")
        size = end - self._data
        self._file.seek(0)
        self._file.write(_BRANDS + head + numbers(4, room) + b"free")
        self._file.seek(self._data)
        self._file.write(numbers(4, 1) + b"mdat" + numbers(8, size))
        self._file.flush()
        os.fsync(self._file.fileno())
        return Exported(
            end,
            sum(len(table.sizes) for table in tables),
            sum(reader.broken for reader in self._readers.values()),
            tuple(table.entry.track.id for table in tables),
        )


class _Output:
    """A track on its way into the file."""

    def __init__(self, track: TitleTrack, reader: UnitReader) -> None:
        self.track = track
        self.table: SampleTable | None = None
        self._reader = reader
        self._clock = track.track.clock_rate
        self._sets: frozenset[bytes] = frozenset()
        self._others = False  # other parameter sets come later
        self._first_shown = 0
        self._last: TimedUnit | None = None

    @property
    def begin_us(self) -> int:
        """When it is shown first."""
        first = self._ticks(self.track.begin_us)
        if self.table is not None:
            first = max(first, min(self.table.times[0], self._first_shown))
        return first * 1_000_000 // self._clock

    def take(self, units: list[TimedUnit], at: int) -> bytes:
        """The samples of a run that begins at ``at`` in the file."""
        samples = []
        for unit in units:
            if self.table is None:
                if not unit.key:
                    continue  # nothing can be made of it
                self._open(unit)
            samples.append(self._sample(unit))
        if samples:
            assert self.table is not None
            self.table.chunks.append(at)
            self.table.counts.append(len(samples))
        return b"".join(samples)

    def _open(self, unit: TimedUnit) -> None:
        entry = describe(self.track.track, unit.data)
        self.table = SampleTable(entry, self.track.language)
        self._sets = frozenset(_sets(self.track.track.codec, unit.data))
        self._first_shown = unit.pts

    def _sample(self, unit: TimedUnit) -> bytes:
        table = self.table
        assert table is not None
        codec = self.track.track.codec
        if unit.key and self._sets and not self._sets.issuperset(_sets(codec, unit.data)):
            self._others = True
            kept = nal.split_annexb(unit.data)
            data = b"".join(numbers(4, len(one)) + one for one in kept)
        else:
            data = sample(codec, unit.data)
        before = table.times[-1] if table.times else None
        decoded = max(0, unit.dts) if before is None else max(unit.dts, before)
        table.sizes.append(len(data))
        table.times.append(decoded)
        table.shifts.append(unit.pts - decoded)
        if unit.key and self.track.track.kind is Kind.VIDEO:
            table.keys.append(len(table.sizes))
        self._last = unit
        return data

    def finish(self, start_us: int, *, enabled: bool, group: int) -> SampleTable:
        """The table with what is known at the end; ``start_us``: when the movie starts."""
        table = self.table
        assert table is not None
        assert self._last is not None
        begin_us = self.begin_us
        first = table.times[0]
        steps = len(table.times)
        usual = table.times[-1] - table.times[-2] if steps > 1 else self._clock // 50
        video = self.track.track.kind is Kind.VIDEO
        shown = max(
            time + shift for time, shift in zip(table.times[-64:], table.shifts[-64:], strict=True)
        )
        end = self._ticks(self.track.end_us) or shown + usual
        left = end - table.times[-1]
        table.last = usual if video or not 0 < left <= 2 * usual else left
        table.begin = max(0, self._ticks(begin_us) - first)
        table.after = begin_us - start_us
        table.lasts = max(1, end * 1_000_000 // self._clock - begin_us)
        table.enabled, table.group = enabled, group
        table.entry = self._entry(table)
        return table

    def _entry(self, table: SampleTable) -> Entry:
        entry = table.entry
        if self._others:  # ISO/IEC 14496-15: sets in samples need another name
            kind = {b"avc1": b"avc3", b"hvc1": b"hev1"}[entry.data[4:8]]
            entry = replace(entry, data=entry.data[:4] + kind + entry.data[8:])
        if self.track.track.codec is Codec.OPUS:
            # Opus in ISOBMFF §4.3.2: samples to skip at the start, as the edit list says too
            at = entry.data.index(b"dOps") + 6
            skip = numbers(2, min(table.begin, 0xFFFF))
            entry = replace(entry, data=entry.data[:at] + skip + entry.data[at + 2 :])
        return entry

    def _ticks(self, us: int) -> int:
        return (2 * us * self._clock + 1_000_000) // 2_000_000


def _sets(codec: Codec, unit: bytes) -> list[bytes]:
    """The parameter sets in a unit."""
    match codec:
        case Codec.H264:
            return [n for n in nal.split_annexb(unit) if h264.nal_type(n) in (h264.SPS, h264.PPS)]
        case Codec.H265:
            kinds = (h265.VPS, h265.SPS, h265.PPS)
            return [n for n in nal.split_annexb(unit) if h265.nal_type(n) in kinds]
        case _:
            return []
