"""What was recorded and is not written down yet, on disk.

One run of a process has a *counter*, a page of memory that is a file as well, and *segments*. The
counter says how many records were made; each *frame* of a segment holds counts of the records from
``first`` to ``to`` of the run, and says how many of these it really has. So whoever reads them
later knows how many are missing, wherever the process was killed: both are in the kernel's hands
as soon as they are written. The end of a play counts as made when the play begins: of whoever plays
when the process is killed it is missing, and what the play got until then is in a third file.

A frame: length of the rest and CRC-32 of it (each 4 bytes, little endian); ``first`` and ``to``
(each 8 bytes); a batch as JSON.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from heliograph.catalogue.contents.batches import Batch
from heliograph.dispatcher.statistics.open_plays import OpenPlays
from heliograph.model.errors import MalformedError, ResourceError

log = structlog.get_logger(__name__)

#: Entries of one frame: it is packed, and written down, in one go of some milliseconds, while
#: nothing else runs.
FRAME_ENTRIES = 500
#: Bytes after which a segment is sealed.
SEGMENT_BYTES = 1 << 20
#: Bytes of one frame; entries have some 200 at most.
MAX_FRAME = 1 << 20

_HEAD = struct.Struct("<II")
_RANGE = struct.Struct("<QQ")
_PAGE = mmap.PAGESIZE
_COUNTER, _SEGMENT, _OPEN = ".made", ".part", ".open"


@dataclass(frozen=True, slots=True)
class Frame:
    """Counts of the records ``first`` to ``to`` of a run, the latter not with it."""

    first: int
    to: int
    batch: Batch


def pack(frame: Frame) -> bytes:
    """A frame as bytes."""
    text = json.dumps(frame.batch.to_json(), ensure_ascii=False, separators=(",", ":"))
    body = _RANGE.pack(frame.first, frame.to) + text.encode("utf-8", "replace")
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def unpack(data: bytes) -> Iterator[Frame]:
    """The frames of a segment, up to where it was cut off or spoilt, or to one that this version
    does not understand."""
    at = 0
    while at + _HEAD.size <= len(data):
        length, check = _HEAD.unpack_from(data, at)
        body = data[at + _HEAD.size : at + _HEAD.size + length]
        if not _RANGE.size <= length <= MAX_FRAME or len(body) < length:
            return
        if zlib.crc32(body) != check:
            return
        first, to = _RANGE.unpack_from(body)
        try:
            yield Frame(first, to, Batch.from_json(json.loads(body[_RANGE.size :])))
        except (MalformedError, ValueError, RecursionError) as error:
            # Whole, so it was written so: by another version. What is left out counts as missing.
            log.error("journal of statistics not understood", first=first, error=str(error)[:200])
            return
        at += _HEAD.size + length


class Run:
    """What one process recorded: its counter and its segments."""

    def __init__(self, directory: Path, id: str, descriptor: int) -> None:
        self.id = id
        """Names it everywhere."""
        self._directory = directory
        self._descriptor = descriptor
        self._page = mmap.mmap(descriptor, _PAGE)
        self.made = memoryview(self._page).cast("Q")
        """Its first number: records that were made."""
        self.plays = OpenPlays(directory / f"{id}{_OPEN}")
        """Those under way."""
        self._out: int | None = None
        self._out_path: Path | None = None

    @classmethod
    def begin(cls, directory: Path) -> Run:
        """A new one; ``ResourceError`` where nothing can be written."""
        id = secrets.token_hex(8)
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = directory / f"{id}{_COUNTER}"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.posix_fallocate(descriptor, 0, _PAGE)  # a full disk is told now, not by a signal
            return cls(directory, id, descriptor)
        except OSError as error:
            raise ResourceError(f"statistics in {directory}: {error}") from error

    @classmethod
    def left(cls, directory: Path) -> list[Run]:
        """Those whose process is gone, the oldest first."""
        found = []
        for path in sorted(directory.glob(f"*{_COUNTER}"), key=_age):
            try:
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except OSError as error:
                log.warning("statistics not readable", file=str(path), error=str(error))
                continue
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_size < _PAGE:  # killed while it began
                    os.ftruncate(descriptor, _PAGE)
                found.append(cls(directory, path.name.removesuffix(_COUNTER), descriptor))
            except OSError:  # it lives
                os.close(descriptor)
        return found

    # writing

    def write(self, frame: Frame) -> None:
        """Append a frame; ``OSError`` where it cannot be, and then nothing of it is there."""
        if self._out is not None and os.fstat(self._out).st_size > SEGMENT_BYTES:
            self.seal()
        if self._out is None:
            self._out_path = self._path(frame.first)
            self._out = os.open(
                self._out_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
        size = os.fstat(self._out).st_size
        data = pack(frame)
        try:
            written = os.write(self._out, data)
            if written < len(data):
                written += os.write(self._out, data[written:])
            if written < len(data):
                raise OSError("disk full")
        except OSError:
            os.ftruncate(self._out, size)
            raise

    def seal(self) -> None:
        """What was written is a segment that nothing is added to."""
        out, self._out, self._out_path = self._out, None, None
        if out is not None:
            os.close(out)

    # reading

    def segments(self) -> list[Path]:
        """Those that are sealed, in their order."""
        paths = sorted(self._directory.glob(f"{self.id}.*{_SEGMENT}"))  # by their first records
        return [path for path in paths if path != self._out_path]

    def size(self) -> int:
        """Bytes on disk."""
        return sum(map(_size, self.segments()))

    def fold(self, paths: Sequence[Path], beyond: int) -> None:
        """Make one segment of several: counts of the same take one entry. Frames below ``beyond``
        are left as they are; ``OSError`` where there is no room, and then all is as before."""
        kept: list[Frame] = []
        first, to, late = -1, 0, Batch()
        for path in paths:
            for frame in unpack(path.read_bytes()):
                if frame.to <= beyond:
                    kept.append(frame)
                elif frame.first >= to:
                    first = frame.first if first < 0 else first
                    to = frame.to
                    late.add(frame.batch)
        if first >= 0:
            self.replace(paths, [*kept, *frames(first, to, late)])

    def replace(self, paths: Sequence[Path], instead: Sequence[Frame]) -> None:
        """Have other frames in the place of sealed segments; errors as of ``fold``."""
        fresh = paths[0].with_suffix(".new")
        try:
            with fresh.open("wb") as out:
                for frame in instead:
                    out.write(pack(frame))
                    time.sleep(0)  # let the loop have its turn
            fresh.replace(paths[0])
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        for path in paths[1:]:  # a kill in between does no harm: what comes twice is read once
            path.unlink()

    def forget(self) -> None:
        """It is all written down: keep nothing of it on disk."""
        self.seal()
        for path in self._directory.glob(f"{self.id}.*"):
            if path.suffix != _COUNTER:  # without it the rest would be nobody's
                path.unlink(missing_ok=True)
        (self._directory / f"{self.id}{_COUNTER}").unlink(missing_ok=True)

    def close(self) -> None:
        """Let it be for now."""
        self.seal()
        self.plays.close()
        self.made.release()
        self._page.close()
        os.close(self._descriptor)

    def _path(self, first: int) -> Path:
        return self._directory / f"{self.id}.{first:020}{_SEGMENT}"


def frames(first: int, to: int, batch: Batch, entries: int = 0) -> list[Frame]:
    """A batch as frames of at most ``entries``, usually ``FRAME_ENTRIES``; what is missing of its
    records counts with the last."""
    found = []
    for part in batch.parts(entries or FRAME_ENTRIES):
        found.append(Frame(first, first + part.records, part))
        first += part.records
    found[-1] = Frame(found[-1].first, to, found[-1].batch)
    return found


def first_of(path: Path) -> int:
    """The first record of a segment."""
    return int(path.name.split(".")[1])


def parcels(path: Path, beyond: int, entries: int) -> Iterator[tuple[int, Batch]]:
    """What a segment has that is not counted up to ``beyond`` yet: up to where each goes, and
    counts of at most so many ``entries``, or one frame's. What is there twice, by a kill while
    segments were folded, comes once."""
    batch = Batch()
    for frame in unpack(path.read_bytes()):
        if frame.first < beyond:
            continue
        if batch.records and len(batch) + len(frame.batch) > entries:
            yield beyond, batch
            batch = Batch()
        batch.add(frame.batch)
        beyond = frame.to
    if batch.records:
        yield beyond, batch


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
