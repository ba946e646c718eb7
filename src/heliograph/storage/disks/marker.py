"""The file that makes a directory a disk: whose it is. Written once, as the last of a new disk."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.storage.disks import files
from heliograph.storage.errors import CorruptError
from heliograph.storage.values import DiskId

MARKER = "helio-disk.json"
#: Another one is of a later version of this program.
FORMAT = 1
DIRECTORIES = ("blocks", "heads", "state", "partial")
#: Bytes of a marker that are looked at.
_LIMIT = 4096

_ID = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Marker:
    """What a disk is."""

    id: DiskId
    volume: str
    capacity: int | None
    """Bytes it may hold; None: as many as its file system does."""


def write_marker(root: str, volume: str, id: DiskId | None, capacity: int | None) -> None:
    """Make a directory a disk unless it is one; raises ``OSError``."""
    if id is not None and not _ID.fullmatch(id):
        raise MalformedError("disk id", f"{id[:80]!r} (16 hexadecimal digits)")
    if capacity is not None and capacity < 1:
        raise MalformedError("disk", f"a capacity of {capacity} bytes")
    path = os.path.join(root, MARKER)
    if files.size_of(path) is not None:
        return
    for name in DIRECTORIES:
        files.make_directory(os.path.join(root, name))
    id = id or DiskId(secrets.token_hex(8))
    document = {"format": FORMAT, "id": id, "volume": volume, "capacity": capacity}
    temporary = os.path.join(root, "partial", f"marker-{secrets.token_hex(8)}")
    files.write_new(temporary, (json.dumps(document).encode(),))
    files.place(temporary, path, 0)


def read_marker(root: str) -> Marker:
    """What a disk says it is; ``CorruptError``, ``UnsupportedError``, ``OSError``."""
    path = os.path.join(root, MARKER)
    text = b"".join(files.read(path, _LIMIT))
    try:
        document = json.loads(text)
        if document["format"] != FORMAT:
            raise UnsupportedError(f"{path}: format {document['format']} (known: {FORMAT})")
        id, volume, capacity = document["id"], document["volume"], document["capacity"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError("is no marker of a disk", path=path) from error
    sound = isinstance(id, str) and _ID.fullmatch(id) and isinstance(volume, str)
    if not sound or not isinstance(capacity, int | None):
        raise CorruptError("is no marker of a disk", path=path)
    return Marker(DiskId(id), volume, capacity)
