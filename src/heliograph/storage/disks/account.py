"""How much lies on a disk, kept in step with its files instead of looking at them all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import threading
from collections.abc import Callable

from heliograph.storage.disks import files
from heliograph.storage.errors import DiskError

USAGE = "helio-usage.json"
#: Bytes that every file takes a multiple of, on nearly all file systems.
GRAIN = 4096


class Account:
    """Bytes and blocks of a disk.

    Noted in a file when the disk is closed, which is removed before the first change: who finds
    none, after a crash, counts.
    """

    def __init__(self, root: str, limit: int | None, disk: str) -> None:
        """``root``: the disk's directory; ``limit``: bytes it may hold, None: any."""
        self._path = os.path.join(root, USAGE)
        self._limit = limit
        self._disk = disk
        self._lock = threading.Lock()
        self._used, self._blocks = 0, 0
        self._noted = False

    def read(self) -> tuple[int, int]:
        """Bytes and blocks."""
        with self._lock:
            return self._used, self._blocks

    def add(self, size: int, blocks: int) -> None:
        """Something came, or went where negative."""
        with self._lock:
            self._used += size
            self._blocks += blocks

    def reserve(self, size: int, blocks: int, path: str) -> None:
        """The same for what is about to come; ``DiskError`` when the disk may not hold it."""
        with self._lock:
            if self._limit is not None and self._used + size > self._limit:
                reason = f"the disk is full: {self._used} of {self._limit} bytes are used"
                raise DiskError(reason, errno=errno.ENOSPC, path=path, subject=self._disk)
            self._used += size
            self._blocks += blocks

    def load(self) -> bool:
        """Take what the last user of the disk noted; False when there is nothing to be trusted."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            document = json.loads(b"".join(files.read(self._path, GRAIN)))
            self._used, self._blocks = int(document["used"]), int(document["blocks"])
            self._noted = True
        return self._noted

    def count(self, directory: str, is_block: Callable[[str], bool]) -> None:
        """Add the files of a directory and of those in it."""
        for name, size in files.sizes(directory):
            if size is None:
                self.count(os.path.join(directory, name), is_block)
            else:
                self.add(rounded(size), int(is_block(name)))

    def note(self, temporary: str) -> None:
        """Write down what there is, for the next user."""
        with self._lock:
            if self._noted:
                return
            text = json.dumps({"used": self._used, "blocks": self._blocks}).encode()
            self._noted = True
        files.write_new(temporary, (text,))
        files.replace(temporary, self._path)

    def change(self) -> None:
        """Before the first change: what was noted is no longer true."""
        with self._lock:
            if self._noted:
                with contextlib.suppress(FileNotFoundError):
                    files.remove(self._path)
                files.sync(os.path.dirname(self._path))
                self._noted = False


def rounded(size: int) -> int:
    """Bytes that a file of that size takes."""
    return -(-size // GRAIN) * GRAIN
