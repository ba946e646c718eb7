"""The system calls of a disk, all of them: files that are whole or not there.

Everything raises ``OSError``; what it means for a disk is said one level up. Tests put another
``os`` here, which fails or dies at a chosen call.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator

from heliograph.storage.disks.format import HEADER, Buffer

#: How often directories are made anew that others, who removed the last file, remove meanwhile.
TRIES = 8

# What is no file must not be waited for, nor be followed elsewhere.
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_MODE = 0o640


def write_new(temporary: str, parts: tuple[Buffer, ...]) -> None:
    """Write a file that is not there yet, and have it on the medium; nothing stays on an error."""
    descriptor = os.open(temporary, _WRITE, _MODE)
    try:
        try:
            _write_all(descriptor, parts)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError:
        discard(temporary)
        raise


def _write_all(descriptor: int, parts: tuple[Buffer, ...]) -> None:
    views = [memoryview(part).cast("B") for part in parts]
    while views:
        done = os.writev(descriptor, views)
        while views and done >= len(views[0]):
            done -= len(views[0])
            views.pop(0)
        if views and done:
            views[0] = views[0][done:]


def place(temporary: str, path: str, depth: int) -> bool:
    """Give a written file its name, for good; False when that name is taken, and then stays so.

    The temporary name is gone in any case. Up to ``depth`` directories above are made.
    """
    try:
        _link(temporary, path, depth)
    except FileExistsError:
        return False
    finally:
        discard(temporary)
    try:
        sync(os.path.dirname(path))
    except FileNotFoundError:
        pass  # another has removed the file already, and then the directory
    except OSError:
        # Nobody was told that it is there, and asking the kernel again would not tell the truth.
        discard(path)
        raise
    return True


def _link(temporary: str, path: str, depth: int) -> None:
    for _ in range(TRIES):
        try:
            return os.link(temporary, path)
        except FileNotFoundError:
            with contextlib.suppress(FileNotFoundError):
                make_directory(os.path.dirname(path), depth)
    return os.link(temporary, path)


def replace(temporary: str, path: str) -> None:
    """Give a written file the name of another, which is gone then."""
    try:
        os.rename(temporary, path)
    except OSError:
        discard(temporary)
        raise
    sync(os.path.dirname(path))


def make_directory(path: str, depth: int = 64) -> None:
    """Have a directory on the medium, and up to ``depth`` - 1 above it that are missing."""
    missing: list[str] = []
    while len(missing) < depth and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for one in reversed(missing):
        with contextlib.suppress(FileExistsError):
            os.mkdir(one, 0o750)
        sync(os.path.dirname(one))


def read(path: str, limit: int, *, fresh: bool = False) -> tuple[bytes, bytes]:
    """Header and payload of a file, not checked; what is larger than ``limit`` is cut there.

    ``fresh``: from the medium, and not kept in memory.
    """
    descriptor = os.open(path, _READ)
    try:
        if fresh:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(descriptor).st_size
        # The payload goes into the object that is given away and is never copied. It is read before
        # the header, which lies in the same page as its beginning: the kernel sees one large read.
        payload = (
            os.pread(descriptor, min(size - HEADER, limit + 1), HEADER) if size > HEADER else b""
        )
        header = os.pread(descriptor, HEADER, 0)
        if fresh:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return header, payload
    finally:
        os.close(descriptor)


def size_of(path: str) -> int | None:
    """Bytes of a file; None when there is none."""
    try:
        return os.stat(path, follow_symlinks=False).st_size
    except FileNotFoundError:
        return None


def remove(path: str) -> None:
    """Take a file's name away; the system may forget that in a power cut."""
    os.unlink(path)


def remove_empty(path: str) -> bool:
    """Remove a directory unless something is in it."""
    try:
        os.rmdir(path)
    except OSError:
        return False
    return True


def discard(path: str) -> None:
    """Remove a file that nobody was promised, where that can be done."""
    with contextlib.suppress(OSError):
        os.unlink(path)


def sync(directory: str) -> None:
    """Have a directory's names on the medium."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def names(directory: str) -> list[str]:
    """What is in a directory, sorted."""
    return sorted(os.listdir(directory))


def sizes(directory: str) -> Iterator[tuple[str, int | None]]:
    """Files of a directory with their bytes; None for what is a directory or something else."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                yield entry.name, entry.stat(follow_symlinks=False).st_size
            else:
                yield entry.name, None


def space(path: str) -> tuple[int, int]:
    """Bytes of a file system, and those that are free for us."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


class Hold:
    """A directory that is ours until it is let go; no other process may hold it."""

    def __init__(self, path: str) -> None:
        """``BlockingIOError`` when another holds it."""
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(self._descriptor)
        except OSError:
            os.close(self._descriptor)
            raise
        self._identity = (found.st_dev, found.st_ino)

    @property
    def held(self) -> bool:
        """Whether it is still ours."""
        return self._descriptor >= 0

    def check(self) -> None:
        """Raise ``OSError`` when it was let go, or the path leads elsewhere by now, or nowhere."""
        if not self.held:
            raise OSError(errno.ESHUTDOWN, os.strerror(errno.ESHUTDOWN), self._path)
        found = os.stat(self._path)
        if (found.st_dev, found.st_ino) != self._identity:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self._path)

    def release(self) -> None:
        """Let go; twice is once."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
