"""What can be wrong with a disk, a block or a group of blocks.

::

    ResourceError
    ├── DiskError       the operating system refused: full, read-only, gone, failing
    └── CorruptError    a disk gave bytes that are not what was written
    GoneError
    └── LostError       more of a group is gone than its redundancy makes up for
"""

from __future__ import annotations

import errno as numbers
import os

from heliograph.model.errors import GoneError, ResourceError


class DiskError(ResourceError):
    """A disk cannot do what was asked; other disks may. ``subject`` is the disk's id."""

    def __init__(self, reason: str, *, errno: int, path: str, subject: str | None = None) -> None:
        """``errno`` is the system's number of the error; ``path`` the file or directory."""
        super().__init__(f"{path}: {reason} ({name_of(errno)})", subject=subject)
        self.errno = errno
        self.path = path

    @classmethod
    def of(cls, error: OSError, path: str, subject: str | None = None) -> DiskError:
        """The same, from what the operating system said."""
        number = error.errno or numbers.EIO
        return cls(os.strerror(number), errno=number, path=path, subject=subject)


class CorruptError(ResourceError):
    """A file on a disk is not what was written there: cut, altered, or another block's.

    ``subject`` is the disk's id.
    """

    def __init__(self, reason: str, *, path: str, subject: str | None = None) -> None:
        super().__init__(f"{path}: {reason}", subject=subject)
        self.reason = reason
        self.path = path


class LostError(GoneError):
    """More members of a group are gone than the others can give back."""


def name_of(errno: int) -> str:
    """``ENOSPC`` and the like."""
    return numbers.errorcode.get(errno, str(errno))
