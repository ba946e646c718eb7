"""What a node's reconciler tells of its work: values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from heliograph.storage.values import BlockKey, DiskId


class Phase(StrEnum):
    """What is being done."""

    IDLE = "idle"
    LOOKING = "looking"
    """Finding out what is lacking."""
    MOVING = "moving"
    """Bringing what is lacking to this node's disks."""
    CLEANING = "cleaning"
    """Removing what is elsewhere by now."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a node is with what its disks should have."""

    version: int
    """Of the state that is being put into effect."""
    done: int
    """Newest version for which everything of this node's is where it is to be; 0: none yet."""
    phase: Phase
    bytes_done: int
    """Brought to this node's disks by this pass."""
    bytes_all: int
    """To be brought by it, about: blocks differ in size."""
    seconds: float | None
    """Until it is done, by the rate so far; None while that is not known."""
    members_lacking: int
    """Not yet brought."""
    lost: int
    """Members found to be gone for good."""
    waiting: str
    """Why a pass could not end: nodes away, a disk that refuses; empty when nothing is amiss."""
    scrub_rounds: int
    """Times that all of this node's disks were checked."""
    scrub_share: float
    """Of the present round, 0 to 1."""
    scrub_bytes: int
    """Checked since the start."""
    damaged: int
    """Members whose digest was wrong, since the start."""
    mended: int
    """Members made good, since the start."""
    moved: int
    """Members brought to this node's disks, since the start."""
    removed: int
    """Members removed because they are elsewhere, or nobody's, since the start."""


@dataclass(frozen=True, slots=True)
class Settled:
    """All that is to be on this node's disks is there."""

    version: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """A member's digest was wrong; it is being made anew."""

    disk: DiskId
    key: BlockKey


@dataclass(frozen=True, slots=True)
class Mended:
    """A damaged or missing member is whole again."""

    disk: DiskId
    key: BlockKey


@dataclass(frozen=True, slots=True)
class Lost:
    """A member that is to be here cannot be made any more."""

    disk: DiskId
    key: BlockKey


Event: TypeAlias = Settled | Damaged | Mended | Lost
