"""What a configurator is told, and what it asks for: frozen values.

A *neighbour* is another reflector, named by its node's id. ``configurator`` takes events and gives
orders; ``links`` carries them out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from heliograph.protocols.mesh import Finished, Message, Started


@dataclass(frozen=True, slots=True)
class Rules:
    """How patient a configurator is; all times in seconds."""

    redundancy: int = 1
    """Sources that feed a channel at a time: two hide the death of one altogether, for twice the
    bandwidth."""
    warm: int = 1
    """Further alternatives to which a link is kept open, so that a change needs no greeting."""
    answer: float = 1.0
    """From asking for a link or a channel until another alternative is asked as well."""
    overlap: float = 1.0
    """How long the old source of a channel goes on beside a new one that has answered and yet
    delivers nothing: nobody may be publishing just now."""
    heal: float = 0.25
    """How long a source that has lost its own is given to find another before it is left: all
    that hang from it would have to move otherwise."""
    well: float = 5.0
    """How long a better source must have been reachable until it is gone back to."""
    retry: float = 0.5
    """Until one that refused or was not reached is tried again; doubled each time."""
    most_retry: float = 8.0
    confirm: float = 4.0
    """How long one that leaves goes on forwarding for clients that do not confirm; for those that
    could get the channel from nobody else, no longer than it takes to stop."""
    ask: float = 1.0
    """Between two requests for more alternatives while no source is left."""
    seek: float = 5.0
    """The same while there are some, but fewer than ``redundancy``."""


# events


@dataclass(frozen=True, slots=True)
class Wanted:
    """This node carries a channel; its sources, the best first, as configured."""

    channel: str
    sources: tuple[str, ...] = ()
    at_once: bool = False
    """Whether the first is to be gone to as soon as it is reached, however well others deliver."""


@dataclass(frozen=True, slots=True)
class Unwanted:
    """It carries the channel no more."""

    channel: str


@dataclass(frozen=True, slots=True)
class Ingest:
    """A publisher feeds the channel here, or does no more."""

    channel: str
    here: bool


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link to a neighbour stands, or something is heard over it again."""

    node: str


@dataclass(frozen=True, slots=True)
class LinkSilent:
    """Nothing is heard of a neighbour; the link is kept for a while."""

    node: str


@dataclass(frozen=True, slots=True)
class LinkDown:
    """There is no link any more, or it could not be made."""

    node: str


@dataclass(frozen=True, slots=True)
class Appeared:
    """A node has come, or come back: it is worth a try at once."""

    node: str


@dataclass(frozen=True, slots=True)
class Answered:
    """A neighbour sends a channel that was asked of it, or tells a new way by which it comes."""

    channel: str
    node: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivering:
    """Media of a channel have come from a neighbour since it was asked."""

    channel: str
    node: str


@dataclass(frozen=True, slots=True)
class Denied:
    """A neighbour does not send a channel, or has ended it."""

    channel: str
    node: str


@dataclass(frozen=True, slots=True)
class ClientJoined:
    """A neighbour gets the channel from here."""

    channel: str
    node: str


@dataclass(frozen=True, slots=True)
class ClientLeft:
    """It does no more."""

    channel: str
    node: str


@dataclass(frozen=True, slots=True)
class Told:
    """A neighbour said that it leaves, or has come back."""

    node: str
    message: Finished | Started


@dataclass(frozen=True, slots=True)
class Returned:
    """This node was away, and had these neighbours for a channel before."""

    channel: str
    sources: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leave:
    """This node is to leave in order."""


Event: TypeAlias = (
    Wanted
    | Unwanted
    | Ingest
    | LinkUp
    | LinkSilent
    | LinkDown
    | Appeared
    | Answered
    | Delivering
    | Denied
    | ClientJoined
    | ClientLeft
    | Told
    | Returned
    | Leave
)


# orders


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a link, to be its client; ``LinkUp`` or ``LinkDown`` follows."""

    node: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Nothing is wanted over the link any more."""

    node: str


@dataclass(frozen=True, slots=True)
class SubscribeTo:
    """Ask a neighbour for a channel, after what is held already."""

    channel: str
    node: str


@dataclass(frozen=True, slots=True)
class UnsubscribeFrom:
    """End that."""

    channel: str
    node: str


@dataclass(frozen=True, slots=True)
class TellPath:
    """The way by which the channel comes has changed: its clients are to be told."""

    channel: str
    path: tuple[str, ...]
    """Ends with this node; empty while there is no source."""


@dataclass(frozen=True, slots=True)
class Tell:
    """Say something to a neighbour, over whatever link there is or can be."""

    node: str
    message: Message


@dataclass(frozen=True, slots=True)
class AskForSources:
    """No alternative is left: whoever knows the whole may name others."""

    channel: str
    tried: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Left:
    """Everybody who could go elsewhere has confirmed, or had time enough: the node may stop."""


Order: TypeAlias = (
    Connect | Disconnect | SubscribeTo | UnsubscribeFrom | TellPath | Tell | AskForSources | Left
)


def unique(nodes: Sequence[str], but: str) -> tuple[str, ...]:
    """The nodes in their order, each once, without one."""
    return tuple(dict.fromkeys(node for node in nodes if node != but))
