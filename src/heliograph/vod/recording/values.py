"""What is said of recordings, and their limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from heliograph.storage.values import DEFAULT_BLOCK, ObjectId, new_object

#: Seconds between two writes of the journal: what a killed server loses, beside what waits to be
#: put in order.
FLUSH = 0.2
#: Seconds between two syncs of the journal to the disk: what a power cut loses.
SYNC = 0.5
#: Seconds by which units of several tracks may come out of order.
SETTLE = 0.25
#: Seconds at the begin of a run for which units wait, so that the order of pictures is known.
LEARN = 0.4
#: Seconds without media, or by which times jump, at which a run ends and the next one begins.
JUMP = 2.0
#: Seconds of media that stand for a longer gap: viewers need not sit through it.
KEPT_GAP = 1.0
#: Seconds between two manifests of a title that grows; more where making one takes long.
GROW = 2.0
#: A manifest may take this share of the time.
GROW_SHARE = 0.02
#: Bytes of blocks that the volume has not taken yet. Beyond, it is too slow for the channel: the
#: recording ends, and what the journal has is kept.
MAX_PENDING = 128 << 20
#: Seconds between tries to put a block, doubled each time up to the second value.
AGAIN, AGAIN_MOST = 0.25, 5.0
#: Seconds between decoding a picture and showing it; more is no journal of ours.
MAX_REORDER = 60.0
#: Seconds for one block, or one manifest, until the volume is asked again.
PATIENCE = 30.0
#: Gaps and losses that are named one by one; more are counted.
MAX_NAMED = 200


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """What is to be recorded, and how far."""

    name: str
    """The title's logical id."""
    title: str = ""
    """For people."""
    source: str = ""
    """The channel, for people."""
    object: ObjectId = field(default_factory=new_object)
    block: int = DEFAULT_BLOCK
    """Bytes of a block, at most, as the volume's scheme has it."""
    volume: str = ""
    """Where it goes: the journal says so to whoever finishes it."""
    max_seconds: float = 0.0
    """Of media; 0: no limit."""
    max_bytes: int = 0
    """Of blocks; 0: no limit."""


class RecordedUnit(NamedTuple):
    """An access unit on the title's clock."""

    track: int
    """Its place among the title's tracks."""
    due_us: int
    pts: int
    """Presentation in units of the track's clock."""
    key: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that is not in the recording."""

    at_us: int
    """Media time where it is missing."""
    track: int | None
    """The title's track; None for all."""
    units: int
    """Access units lost; 0 where nobody can tell."""
    seconds: float
    """For a gap: how long nothing came."""
    reason: str
    """``source`` (another one took over), ``gap``, ``loss``, ``slow`` (we did not keep up),
    ``restart``."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a recording is."""

    seconds: float
    """Of media so far."""
    bytes: int
    """Of blocks so far."""
    blocks: int
    units: int
    lost_units: int
    losses: tuple[Loss, ...]
    """The last ``MAX_NAMED``."""
    pending: int
    """Bytes of blocks that the volume has not taken yet."""
    journal: int
    """Bytes on the local disk."""
    retries: int
    """How often the volume refused a block."""
    unsafe: bool
    """Whether the journal cannot be written: a crash now would lose what the volume has not."""
    ended: str
    """Why it ended; "" while it goes on."""


class GrowingSink(Protocol):
    """Where the blocks of a recording go: a volume's object that can be read while it grows."""

    async def put(self, number: int, block: bytes) -> None:
        """Block ``number``. The next one, or one that was put before, with the same bytes."""

    async def grow(self, head: bytes) -> None:
        """The manifest of the blocks put so far; they can be read from now on."""

    async def finish(self, head: bytes) -> None:
        """The last manifest: nothing more comes."""
