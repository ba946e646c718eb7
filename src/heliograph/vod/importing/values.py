"""What is said of an import: what is wanted, how far it is, what came of it; and its limits."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name
from heliograph.storage.values import DEFAULT_BLOCK, ObjectId, new_object
from heliograph.vod.manifest import Manifest

#: Before each message of the process: kind, bytes that follow.
MESSAGE = struct.Struct("!BI")
BLOCK, PROGRESS, MANIFEST, FAILED = 1, 2, 3, 4
#: Bytes of a message: a manifest is the longest.
MAX_MESSAGE = 16 << 20

#: Renditions of one title, at most, beside the first: more than any ladder has steps.
MAX_RENDITIONS = 15
#: Characters of what people call it.
MAX_TITLE = 200
#: Seconds without a word until the process is taken to hang: it tells its progress four times a
#: second, but opening a file on a slow disk may take a while.
SILENCE = 120.0
#: Address space of the process, bytes: libraries, the index of a long film, and what waits to be
#: put in order.
MEMORY = 3 << 30
#: Seconds of processor time: to begin with, and for each MiB of the files.
CPU, CPU_PER_MIB = 60, 0.5
#: Seconds of media by which tracks may lie apart in a file. What is further apart is not
#: interleaved, and could not be played from a disc either.
MAX_APART = 10.0
#: Bytes that wait to be put in order.
MAX_WAITING = 256 << 20
#: Seconds from one unit of a track to its next: slides stand for minutes, not for longer.
MAX_JUMP = 600.0
#: Seconds between decoding a picture and showing it: 16 pictures of one a second, and room.
MAX_REORDER = 60.0
#: Seconds a title may last: a week.
MAX_DURATION = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What is to be made of a file."""

    name: str
    """The title's logical id, as of a channel."""
    title: str = ""
    """For people; "": as the file says, or its name."""
    source: str = ""
    """What the file is called, for people; "": as it is. Uploads have other names on the disk."""
    object: ObjectId = field(default_factory=new_object)
    """Under which the volume keeps it."""
    renditions: tuple[Path, ...] = ()
    """Further files with the same picture in other sizes; of them only pictures are taken."""
    called: tuple[str, ...] = ()
    """What each of them is called, for people; those that are missing: as they are."""
    block: int = DEFAULT_BLOCK
    """Bytes of a block, at most, as the volume's scheme has it."""
    leave_out: bool = False
    """Leave out sound that cannot be carried, instead of refusing the file."""
    partial: bool = False
    """Take what is there of a file that ends too soon, instead of refusing it."""


def check_wish(name: str, title: str, renditions: int) -> None:
    """``MalformedError`` where no file can become such a title, whatever is in it."""
    check_channel_name(name)
    if len(title) > MAX_TITLE:
        raise MalformedError("title", f"more than {MAX_TITLE} characters")
    if not 0 <= renditions <= MAX_RENDITIONS:
        raise MalformedError("renditions", f"{renditions} (at most {MAX_RENDITIONS})")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is."""

    bytes: int
    """Read of the files so far."""
    total: int
    """Bytes of the files."""
    media: float
    """Seconds of media so far."""
    duration: float
    """Seconds of media there will be, as the file says; 0 where it does not."""
    elapsed: float
    """Seconds since the import began."""
    remaining: float | None
    """Forecast in seconds; None where nothing can be said yet."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    manifest: Manifest
    remarks: tuple[str, ...]
    """What a person should know: what was left out, how renditions fit."""


class Sink(Protocol):
    """Where blocks go: a volume's writer, or a directory."""

    async def put(self, block: bytes) -> None:
        """The next block of the object."""

    async def finish(self, head: bytes) -> None:
        """All blocks were put; ``head`` is the manifest, with which the object begins to exist."""

    async def abort(self) -> None:
        """Nothing more comes: forget what was put. Harmless twice, and after a failed ``put``."""


ProgressHook: TypeAlias = Callable[[Progress], None]
