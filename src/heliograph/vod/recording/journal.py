"""What a recording has that the volume has not, on a local disk: a killed server loses no more than
what came in its last moments.

A recording's journal is a directory named after its object: ``title`` says what is recorded,
``NNNNNNNN.units`` has the units from the begin of block N on. A file of units begins with the state
of the writer of blocks; the same units make the same blocks again. Once the volume's manifest has
a block, the files before the next one are deleted.

``title``: JSON in one line (bytes of a block, the volume), the manifest without blocks behind it.
Units: ``HGJ1``, a header, then records of length, CRC-32, and body. Numbers are big endian. A
record that is torn ends the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct

from heliograph.model.errors import MalformedError, ResourceError
from heliograph.protocols.payload import MAX_UNIT_SIZE
from heliograph.storage.values import MAX_BLOCK, check_object
from heliograph.vod.blocks import MAX_TIME_US, Written
from heliograph.vod.encoding import MAX_MANIFEST, decode_manifest, encode_manifest
from heliograph.vod.manifest import Manifest
from heliograph.vod.recording.recorder import Replay, State
from heliograph.vod.recording.values import RecordedUnit

MAGIC = b"HGJ1"
#: Magic, block, due, peak, tracks.
_HEAD = Struct(">4sQQQB")
_WRITTEN = Struct(">QQQ")
#: Length and CRC-32 of what follows.
_RECORD = Struct(">II")
#: Track, key, due in µs, presentation in units of the clock.
_UNIT = Struct(">BBQQ")
#: Behind the name of a journal that is being deleted; the file that says that one is to be.
_GONE, _DROPPED = ".deleted", "dropped"
_NAME = re.compile(r"(\d{8})\.units")
#: Bytes of a file that are read: it has the units of one block, or of a few where units are larger
#: than blocks.
MAX_FILE = 1 << 30
#: Files that wait to be synced; at two syncs a second there is one, or none.
MAX_FULL = 16


def encode_unit(unit: RecordedUnit) -> bytes:
    """A record."""
    body = _UNIT.pack(unit.track, unit.key, unit.due_us, unit.pts) + unit.data
    return _RECORD.pack(len(body), zlib.crc32(body)) + body


class Journal:
    """One recording's journal. Blocking: for threads. Raises ``ResourceError``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        """On the disk, about."""
        self.unread = 0
        """Bytes of units that the last replay passed over, as what is before them is damaged. What
        was torn off at the end is none of it: that was never written whole."""
        self._file: int | None = None
        self._files: list[int] = []
        self._full: list[int] = []  # descriptors of files that get no more, and are not synced

    @classmethod
    def create(cls, root: Path, title: Manifest, block: int, volume: str) -> Journal:
        """Begin one; ``title`` without blocks, which go to ``volume``."""
        journal = cls(root / title.object)
        head = (
            json.dumps({"block": block, "volume": volume}).encode() + b"\n" + encode_manifest(title)
        )
        with _disk(journal.path):
            journal.path.mkdir(parents=True)
            temporary = journal.path / ".title"
            with temporary.open("wb") as file:
                file.write(head)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(journal.path / "title")
            _sync_directory(journal.path)
            _sync_directory(root)
        return journal

    def begin(self, state: State, *, anew: bool = False) -> None:
        """A new file: what comes next begins a block. ``anew``: what was before is of no use."""
        if len(self._full) >= MAX_FULL:
            self.sync()
        head = _HEAD.pack(MAGIC, state.number, state.due_us, state.peak_bits, len(state.written))
        head += b"".join(_WRITTEN.pack(w.packets, w.units, w.bytes) for w in state.written)
        with _disk(self.path):
            if self._file is not None:
                self._full.append(self._file)
                self._file = None
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
            self._file = os.open(self.path / f"{state.number:08}.units", flags, 0o600)
            _write(self._file, head + _RECORD.pack(0, zlib.crc32(head)))
        if state.number not in self._files:
            self._files.append(state.number)
        self.bytes += len(head)
        if anew:
            self.trim(state.number)

    def append(self, records: bytes) -> None:
        """Units, as ``encode_unit`` made them."""
        if self._file is None:
            raise ResourceError(f"journal {self.path.name}: no file was begun")
        with _disk(self.path):
            _write(self._file, records)
        self.bytes += len(records)

    def sync(self) -> None:
        """What was appended survives a power cut."""
        if self._file is None:
            return
        with _disk(self.path):
            while self._full:
                os.fdatasync(self._full[0])
                os.close(self._full.pop(0))
            os.fdatasync(self._file)
            _sync_directory(self.path)

    def trim(self, number: int) -> None:
        """Blocks before ``number`` are safe: forget the files that are not needed any more."""
        while len(self._files) > 1 and self._files[1] <= number:
            path = self.path / f"{self._files.pop(0):08}.units"
            with _disk(self.path):
                self.bytes -= path.stat().st_size
                path.unlink()

    def close(self) -> None:
        """Let go of it; it stays."""
        for file in (*self._full, *([] if self._file is None else [self._file])):
            os.close(file)
        self._full.clear()
        self._file = None

    def delete(self) -> None:
        """The title is finished, or nobody wants what this has. Harmless twice."""
        self.close()
        gone = self.path.with_name(f".{self.path.name}{_GONE}")
        shutil.rmtree(gone, ignore_errors=True)  # what is left of it where it was begun before
        with contextlib.suppress(OSError):
            self.path.rename(gone)  # in one step: units whose title is gone count as damaged
        shutil.rmtree(gone, ignore_errors=True)

    def drop(self) -> None:
        """From now on nobody wants what this has, whenever it is deleted. Harmless twice."""
        with _disk(self.path), contextlib.suppress(FileNotFoundError):
            (self.path / _DROPPED).touch()
            _sync_directory(self.path)

    @property
    def dropped(self) -> bool:
        """Whether that was said; blocking, ``ResourceError``."""
        with _disk(self.path):
            return (self.path / _DROPPED).exists()

    def replay(self) -> Replay:
        """Read it from its begin. Raises ``MalformedError`` where it has no begin.

        ``unread`` counts once all units were asked for."""
        self.unread = 0
        with _disk(self.path):
            try:
                data = (self.path / "title").read_bytes()[: MAX_MANIFEST + 4096]
            except FileNotFoundError:
                raise MalformedError("journal", "its title is gone") from None
            self._files = sorted(
                int(match[1])
                for one in self.path.iterdir()
                if (match := _NAME.fullmatch(one.name)) is not None
            )
        line, _, rest = data.partition(b"\n")
        try:
            fields = json.loads(line)
            block, volume = fields["block"], fields["volume"]
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedError("journal", "its title is not readable") from error
        if type(block) is not int or not 4096 <= block <= MAX_BLOCK:
            raise MalformedError("journal", "blocks of a size that cannot be")
        if not isinstance(volume, str):
            raise MalformedError("journal", "a volume that cannot be")
        title = decode_manifest(rest)
        tracks = len(title.tracks)
        state = None
        while self._files and state is None:
            head = self._read_head(self._files[0], tracks)
            if head is None:  # torn as it was begun
                self._files.pop(0)
            else:
                state = head[0]
        self.bytes = sum((self.path / f"{one:08}.units").stat().st_size for one in self._files)
        return Replay(title, block, volume, state, self._units(tracks))

    def _read(self, number: int, limit: int = MAX_FILE) -> bytes:
        with _disk(self.path), (self.path / f"{number:08}.units").open("rb") as file:
            return file.read(limit)

    def _read_head(self, number: int, tracks: int) -> tuple[State, int] | None:
        """What a file begins with, and where its units do; None where it is torn before them."""
        data = self._read(number, 4096)
        size = _HEAD.size + _WRITTEN.size * tracks
        if len(data) < size + _RECORD.size:
            return None
        magic, block, due, peak, count = _HEAD.unpack_from(data)
        head = data[:size]
        fits = count == tracks and block == number and due <= MAX_TIME_US
        if magic != MAGIC or not fits:
            raise MalformedError("journal", f"file {number} is none of this recording")
        if _RECORD.unpack_from(data, size) != (0, zlib.crc32(head)):
            raise MalformedError("journal", f"file {number} is damaged at its head")
        written = tuple(
            Written(*_WRITTEN.unpack_from(data, _HEAD.size + _WRITTEN.size * index))
            for index in range(tracks)
        )
        return State(block, due, peak, written), size + _RECORD.size

    def _units(self, tracks: int) -> Iterator[RecordedUnit | State]:
        for number in self._files:
            last = number == self._files[-1]
            head = self._read_head(number, tracks)
            if head is None:
                self._pass_over(number)
                return  # it was begun when the server was killed
            state, at = head
            if number != self._files[0]:
                yield state
            data = self._read(number)
            while at + _RECORD.size <= len(data):
                size, sum_ = _RECORD.unpack_from(data, at)
                begin = at + _RECORD.size
                body = data[begin : begin + size]
                torn = last and len(body) < size <= MAX_UNIT_SIZE + _UNIT.size
                unit = _unit(body, tracks) if zlib.crc32(body) == sum_ else None
                if unit is None or len(body) < size:
                    if not torn and any(data[at:]):  # zeros: a power cut before it was written
                        self.unread = len(data) - at
                    self._pass_over(number)
                    return
                at += _RECORD.size + size
                yield unit

    def _pass_over(self, number: int) -> None:
        """Count the files behind one that ends before its time."""
        with _disk(self.path):
            for one in self._files:
                if one > number:
                    self.unread += (self.path / f"{one:08}.units").stat().st_size


def _unit(body: bytes, tracks: int) -> RecordedUnit | None:
    """What a record has; None where that is no unit."""
    if not _UNIT.size < len(body) <= MAX_UNIT_SIZE + _UNIT.size:
        return None
    track, key, due, pts = _UNIT.unpack_from(body)
    if track >= tracks or key > 1 or due > MAX_TIME_US:
        return None
    return RecordedUnit(track, due, pts, bool(key), body[_UNIT.size :])


def journals(root: Path) -> list[Journal]:
    """Those under ``root``: of recordings that did not end, by name. Raises ``ResourceError``."""
    found = []
    with _disk(root):
        if not root.is_dir():
            return []
        for path in sorted(root.iterdir()):
            if path.name.endswith(_GONE):  # killed over it
                shutil.rmtree(path, ignore_errors=True)
                continue
            with contextlib.suppress(MalformedError):
                check_object(path.name)
                if (path / "title").is_file() or any(path.glob("*.units")):
                    found.append(Journal(path))
                else:  # killed while it began: nothing was recorded
                    shutil.rmtree(path, ignore_errors=True)
    return found


@contextlib.contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(f"journal {path.name}: {error.strerror or error}") from error


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
