"""Files read by other means than ours, to compare with."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

#: Bytes of one call of ``cat``.
PIECE = 128 << 10
#: Bytes taken at a time of a socket.
TAKEN = 1 << 20


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and seconds of CPU, of all threads of this process."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.perf_counter() - wall, max(time.process_time() - cpu, 1e-6)


def forget(paths: Iterable[Path]) -> None:
    """Have the kernel forget what it keeps of files in memory."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def cat(paths: Iterable[Path]) -> None:
    """As the program of that name does, with buffers of its size."""
    buffer = bytearray(PIECE)
    nowhere = os.open("/dev/null", os.O_WRONLY)
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        while os.readv(descriptor, [buffer]):
            os.write(nowhere, buffer)
        os.close(descriptor)
    os.close(nowhere)


def cp(paths: Iterable[Path]) -> None:
    """From file to file, in the kernel; what was written is thrown away."""
    for path in paths:
        source = os.open(path, os.O_RDONLY)
        with tempfile.TemporaryFile(dir=path.parent, buffering=0) as into:
            while os.copy_file_range(source, into.fileno(), 1 << 30):
                pass
        os.close(source)


def sendfile(paths: Iterable[Path]) -> None:
    """To a socket pair that another thread drains."""
    here, there = socket.socketpair()

    def drain() -> None:
        buffer = bytearray(TAKEN)
        while there.recv_into(buffer):
            pass

    thread = threading.Thread(target=drain)
    thread.start()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        size, at = os.fstat(descriptor).st_size, 0
        while at < size:
            at += os.sendfile(here.fileno(), descriptor, at, size - at)
        os.close(descriptor)
    here.close()
    thread.join()
    there.close()
