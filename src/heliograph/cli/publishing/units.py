"""What a source gives: timed access units of described tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from heliograph.model.media import Track


@dataclass(frozen=True, slots=True)
class Unit:
    """One access unit and when it goes out."""

    track: int
    """Index of its track."""
    due: float
    """Media time in seconds at which it is sent: decoding order, never far back."""
    timestamp: int
    """Presentation time in the track's clock rate, counted from media time 0; not wrapped."""
    key: bool
    """Whether decoding can begin here."""
    data: bytes = field(repr=False)
    """As ``protocols.payload`` takes it."""


class Source(Protocol):
    """Opened, it knows its tracks; its iterator blocks and belongs to one thread."""

    tracks: tuple[Track, ...]
    """What will be sent; ids are their places."""
    live: bool
    """Whether units cannot wait: what finds no room is dropped."""
    remarks: list[str]
    """What a person should know, such as that a stream is transcoded."""
    dropped: int
    """Frames that were left out because encoding was too slow."""

    def units(self) -> Iterator[Unit]:
        """Units in the order they are to be sent."""

    def stop(self) -> None:
        """End ``units`` soon; called from another thread."""

    def close(self) -> None:
        """Let go of files and devices, once ``units`` has ended."""
