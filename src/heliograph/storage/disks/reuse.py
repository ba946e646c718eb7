"""Directories that were disks before: what they hold, and how they become disks again.

Taken back by its own volume a disk keeps its blocks, which are for ever what they were, but neither
heads nor a state: those would bring back titles that were removed meanwhile. It gets another id, as
the volume may still count the old one as lost.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heliograph.model.errors import ConflictError
from heliograph.storage.disks import files
from heliograph.storage.disks.account import USAGE
from heliograph.storage.disks.disk import Disk
from heliograph.storage.disks.marker import DIRECTORIES, MARKER
from heliograph.storage.errors import DiskError
from heliograph.storage.values import DiskId

#: What says which objects there are, and which disks.
_DOCUMENTS = ("heads", "state")


@dataclass(frozen=True, slots=True)
class Former:
    """A directory that is a disk already."""

    id: DiskId
    volume: str
    blocks: int
    bytes: int
    documents: bool
    """Whether it has heads or a state: it was in use."""


def former(path: str | Path) -> Former | None:
    """What a directory holds; None: it is no disk. ``ConflictError``: somebody uses it;
    ``CorruptError``, ``UnsupportedError``: it is a disk of which that cannot be said."""
    root = os.path.abspath(path)
    if files.size_of(os.path.join(root, MARKER)) is None:
        return None
    with Disk.open(root) as disk:
        usage = disk.usage()
        documents = disk.state() is not None or next(disk.heads(), None) is not None
        return Former(disk.id, disk.volume, usage.blocks, usage.used, documents)


def take_back(path: str | Path) -> None:
    """Leave nothing of a disk but its blocks, for the disk that it is to become.
    ``ConflictError``: somebody uses it; ``DiskError``."""
    _empty(path, _DOCUMENTS)


def erase(path: str | Path) -> None:
    """Make a disk a plain directory again; files beside those of a disk stay.
    ``ConflictError``: somebody uses it; ``DiskError``."""
    _empty(path, DIRECTORIES)


def _empty(path: str | Path, names: Sequence[str]) -> None:
    root = os.path.abspath(path)
    try:
        try:
            hold = files.Hold(root)
        except BlockingIOError as error:
            raise ConflictError(f"{root} is in use by another process", subject=root) from error
        try:
            files.discard(os.path.join(root, USAGE))  # the next to open it counts
            for name in names:
                directory = os.path.join(root, name)
                if os.path.isdir(directory):
                    shutil.rmtree(directory)
            marker = os.path.join(root, MARKER)
            if files.size_of(marker) is not None:
                files.remove(marker)  # the last: who is killed before finds a disk, and goes on
            files.sync(root)
        finally:
            hold.release()
    except OSError as error:
        raise DiskError.of(error, error.filename or root) from error
