"""What happens in a chat, and the bounds of one: frozen values that ``chat.Room`` makes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """Bounds of one room."""

    max_text: int = 500
    """Characters of a message."""
    max_members: int = 12_000
    """Connections in the room; most read only."""
    max_per_author: int = 10
    """Connections of one author: windows of one browser."""
    history: int = 200
    """Entries kept for late comers and those that come back."""
    queue: int = 100
    """Entries that one member may be behind; above it the member is given the history anew."""
    burst: int = 5
    """Messages that an author may send at once."""
    refill: float = 1.0
    """Seconds until one more may be sent."""
    net_burst: int = 20
    """Messages at once of all guests of one network: who makes new guests gains nothing by it."""
    net_refill: float = 0.25
    """Seconds until one more of the network may be sent."""
    room_burst: int = 100
    """Messages at once of all but moderators: more than that nobody reads."""
    room_refill: float = 0.02
    """Seconds until one more may be sent."""
    authors: int = 10_000
    """Authors and networks whose rate is remembered; the longest silent is forgotten first."""
    nonces: int = 2000
    """Ids of messages remembered."""
    mutes: int = 1000
    """Authors muted at once."""
    unsaved: int = 2000
    """Changes that wait to be written down; above it the oldest are not."""


class Badge(StrEnum):
    """What others see of a member's standing."""

    NONE = ""
    GUEST = "guest"
    """Without an account: anybody may call himself so."""
    MODERATOR = "moderator"
    OWNER = "owner"


@dataclass(frozen=True, slots=True)
class Message:
    """Something said."""

    id: int
    """Number of its entry."""
    author: str
    """Who said it, for moderation: ``account:7``, ``guest:…``; not for display."""
    name: str
    text: str
    """Plain text, never markup; empty once deleted."""
    at: float
    """Seconds since 1970, by the server's clock."""
    nonce: str
    badge: Badge = Badge.NONE


@dataclass(frozen=True, slots=True)
class Deleted:
    """A message is no more; its text is to vanish."""

    id: int
    message: int
    """The deleted message's id."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """All messages before this entry are no more."""

    id: int


@dataclass(frozen=True, slots=True)
class Muted:
    """An author may not write until then."""

    id: int
    author: str
    until: float | None
    """Seconds since 1970; None: until unmuted."""
    net: str = ""
    """Network whose guests may not write either; empty: none. Told to nobody."""


@dataclass(frozen=True, slots=True)
class Unmuted:
    """An author may write again."""

    id: int
    author: str
    net: str = ""
    """As it was muted with."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Each author may write once in so many seconds; 0: as usual."""

    id: int
    seconds: float


Entry: TypeAlias = Message | Deleted | Cleared | Muted | Unmuted | Slow


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a member is given when it comes or resynchronises."""

    entries: tuple[Entry, ...]
    cursor: str
    """To be shown when coming back; moves on with each entry (``Room.cursor``)."""
    whole: bool
    """Whether this replaces everything shown so far; else it continues it."""
    slow: float
    muted_until: float | None = None
    """Until when the member may not write; infinity: until unmuted; None: it may."""


@dataclass(frozen=True, slots=True)
class Said:
    """What became of a message."""

    message: Message
    repeated: bool
    """Whether it was there already; nobody was told again."""


@dataclass(slots=True, eq=False)
class Member:
    """One connection in a room. Made by ``Room.join``."""

    author: str
    name: str
    """Empty: it reads, and needs a name to write."""
    badge: Badge
    moderator: bool
    net: str = ""
    """Where a guest comes from, as a word that tells nobody the address; empty: not known."""
    seen: int = 0
    """The newest entry it was given."""
