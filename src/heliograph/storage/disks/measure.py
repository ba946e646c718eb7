"""How fast a disk writes and reads, found out by doing it for a moment."""

from __future__ import annotations

import errno
import mmap
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from heliograph.storage.errors import DiskError

#: Seconds each of writing and reading may take.
SECONDS = 0.9
#: Bytes written, at most: what a fast disk writes in a moment.
SPACE = 256 << 20
#: Bytes of one call, as of a block.
PIECE = 1 << 20
#: Part of the free space that may be taken meanwhile.
SHARE = 8


@dataclass(frozen=True, slots=True)
class Speed:
    """What a disk does with pieces of a block's size, one after another."""

    read_bps: float
    """Bytes a second, from the medium."""
    write_bps: float
    """Bytes a second, until they are on the medium."""


def measure(path: str | Path) -> Speed:
    """Measure the disk a directory lies on; takes two seconds at most, unless the disk hangs.

    Its file has no name, so nothing stays behind, whatever happens. ``DiskError``: cannot be
    written, or has no room for a few pieces.
    """
    name = os.path.abspath(path)
    try:
        found = os.statvfs(name)
        pieces = min(SPACE, found.f_bavail * found.f_frsize // SHARE) // PIECE
        if pieces < 4:
            raise DiskError("no room to measure it", errno=errno.ENOSPC, path=name)
        descriptor, direct = _open(name)
        try:
            return _run(descriptor, direct, pieces)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DiskError.of(error, name) from error


def _open(directory: str) -> tuple[int, bool]:
    """A file without a name, past the kernel's memory where the file system can do that."""
    path = os.path.join(directory, f".measure-{os.getpid():x}-{time.monotonic_ns():x}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    direct = True
    try:
        descriptor = os.open(path, flags | os.O_DIRECT, 0o600)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        with suppress(FileNotFoundError):  # some make it before they refuse
            os.unlink(path)
        descriptor, direct = os.open(path, flags, 0o600), False
    os.unlink(path)
    return descriptor, direct


def _run(descriptor: int, direct: bool, pieces: int) -> Speed:
    with mmap.mmap(-1, PIECE) as piece:  # aligned to pages, as a direct call wants it
        piece.write(os.urandom(PIECE))
        began = time.monotonic()
        written = 0
        while written < pieces and time.monotonic() - began < SECONDS:
            if os.pwrite(descriptor, piece, written * PIECE) != PIECE:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            written += 1
            if not direct:  # so that what is left for the end takes no longer than the rest
                os.fdatasync(descriptor)
        os.fdatasync(descriptor)
        wrote = time.monotonic() - began
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        began = time.monotonic()
        read = 0
        while read < written and time.monotonic() - began < SECONDS:
            os.preadv(descriptor, [piece], read * PIECE)
            read += 1
        return Speed(read * PIECE / (time.monotonic() - began), written * PIECE / wrote)
