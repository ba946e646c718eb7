"""What a reflector keeps of the channels that come to it and go from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.live.links import MeshLink
from heliograph.live.publish import Publishing
from heliograph.model.media import Track


@dataclass(slots=True)
class Inflow:
    """A neighbour that sends a channel here."""

    link: MeshLink
    wire: int
    input: int | None = None
    """At the plane; None until the tracks are known."""
    delivering: bool = False
    before: int = 0
    """Packets that had come by the input when it was asked for."""
    casts: bool = False
    """Whether it was asked for by casts too, where there are."""


@dataclass(slots=True)
class Outflow:
    """A channel that a neighbour gets from here."""

    channel: str
    media: bool = False
    """Whether it asked for the media too."""


@dataclass(slots=True)
class Feed:
    """A channel that comes from elsewhere, or went out of date here."""

    tracks: tuple[Track, ...] = ()
    publishing: Publishing | None = None
    inflows: dict[str, Inflow] = field(default_factory=dict)
    moving: dict[str, Inflow] = field(default_factory=dict)
    """Those that are to take the place of the one of the same neighbour, once media come by it."""
    awake: bool = False
    """Whether somebody needs its media; until then neighbours only tell of it."""
    current: bool = False
    """Whether media have come since it is awake: others can go on after what is here."""
    asleep_at: float | None = None
    """When nobody will have needed them for a while."""

    def every(self) -> list[Inflow]:
        """All inflows, those that are to take another's place included."""
        return [*self.inflows.values(), *self.moving.values()]

    def by(self, link: MeshLink) -> Inflow | None:
        """The one by a link."""
        return next((inflow for inflow in self.every() if inflow.link is link), None)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Of one channel at one node."""

    sources: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
