"""The text channel beside a channel: rooms, members, history, limits, moderation.

Pure: ``now`` is given, in seconds since 1970; nothing waits and nothing is sent. What happens is an
*entry* with a number that grows by one. A client keeps the *cursor* of the last entry it saw and
shows it when it comes back: it is then given exactly what it missed. A room that was made anew has
another epoch, and a client from before it, or one that was away for too long, is given the
history as a whole. A message carries the client's own id (nonce), so that one sent again after a
lost connection is there once.

Texts are plain: nothing is escaped here, and a page must not take them for HTML.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from math import ceil
from typing import Final, TypeAlias

from heliograph.catalogue.names import clean_line, clean_name, likeness
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    TooLargeError,
)

NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_CURSOR = re.compile(r"([0-9a-f]{16})\.([0-9]{1,15})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ChatLimits:
    """Bounds of one room."""

    max_text: int = 500
    """Characters of a message."""
    max_members: int = 5000
    """Connections in the room."""
    max_per_author: int = 10
    """Connections of one author: windows of one browser."""
    history: int = 200
    """Entries kept for late comers and those that come back."""
    queue: int = 100
    """Entries that wait for one member; above it the member is told to resynchronise."""
    burst: int = 5
    """Messages that an author may send at once."""
    refill: float = 1.0
    """Seconds until one more may be sent."""
    authors: int = 10_000
    """Authors whose rate is remembered; the one longest silent is forgotten first."""
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
class Muted:
    """An author may not write until then."""

    id: int
    author: str
    until: float | None
    """Seconds since 1970; None: until unmuted."""


@dataclass(frozen=True, slots=True)
class Unmuted:
    """An author may write again."""

    id: int
    author: str


@dataclass(frozen=True, slots=True)
class Slow:
    """Each author may write once in so many seconds; 0: as usual."""

    id: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Resync:
    """Too much was missed: forget everything shown and take ``Room.resume``."""


Entry: TypeAlias = Message | Deleted | Muted | Unmuted | Slow
Event: TypeAlias = Entry | Resync


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
    badge: Badge
    moderator: bool
    wake: Callable[[], None]
    """Called when there is something to ``take`` after there was nothing."""
    queue: deque[Event] = field(default_factory=deque)
    behind: bool = False
    """Whether entries are left out until it resumes."""

    def take(self) -> tuple[Event, ...]:
        """What is to be sent, in order."""
        events = tuple(self.queue)
        self.queue.clear()
        return events


@dataclass(slots=True)
class _Rate:
    tokens: float
    at: float
    last: float = float("-inf")
    """When this author last said something."""


class Room:
    """One channel's chat."""

    def __init__(
        self,
        limits: ChatLimits | None = None,
        *,
        past: Iterable[Message] = (),
        mutes: Iterable[tuple[str, float | None]] = (),
        slow: float = 0.0,
    ) -> None:
        """``past`` is what was said before, in order; ``mutes`` who may not write, until when."""
        self.limits = limits or ChatLimits()
        self.epoch = secrets.token_hex(8)
        self.slow = slow
        self.resyncs = 0
        """Members that fell too far behind."""
        self.refused = 0
        """Messages refused for any reason."""
        self.unsaved_lost = 0
        """Changes that were not written down because too many waited."""
        self._entries: deque[Entry] = deque()
        self._members: set[Member] = set()
        self._windows: dict[str, int] = {}
        self._names: dict[str, tuple[str, int]] = {}  # likeness → author, windows under it
        self._reserved: dict[str, str] = {}  # likeness → author
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._nonces: OrderedDict[tuple[str, str], Message] = OrderedDict()
        self._mutes: OrderedDict[str, float | None] = OrderedDict(mutes)
        self._unsaved: deque[Entry] = deque(maxlen=self.limits.unsaved)
        self._last = 0
        self._floor = 0  # the newest entry that fell out of the history
        for message in past:
            self._last = message.id
            self._append(message)
            self._remember(message)

    # ── members

    @property
    def members(self) -> int:
        return len(self._members)

    @property
    def cursor(self) -> str:
        """Place of the newest entry."""
        return self.cursor_at(self._last)

    def cursor_at(self, entry: int) -> str:
        """Place of an entry, for the client to keep."""
        return f"{self.epoch}.{entry}"

    def join(
        self,
        author: str,
        name: str,
        now: float,
        *,
        wake: Callable[[], None],
        cursor: str = "",
        badge: Badge = Badge.NONE,
        moderator: bool = False,
    ) -> tuple[Member, Backlog]:
        """Bring a connection in.

        ``author`` must be what a person cannot choose or change by reconnecting: limits and mutes
        hang on it. ``BusyError`` without a place, ``MalformedError`` or ``TooLargeError`` for a
        name that cannot be, ``ConflictError`` where it is, or looks like, that of another author.
        """
        name = clean_name(name)
        if len(self._members) >= self.limits.max_members:
            raise BusyError("the chat has no free place", subject="places", retry_after=10)
        alike = likeness(name)
        holder, windows = self._names.get(alike, (author, 0))
        if author != holder or author != self._reserved.get(alike, author):
            raise ConflictError("somebody here has this name", subject="name")
        if self._windows.get(author, 0) >= self.limits.max_per_author:
            raise BusyError("too many windows of one person", subject="windows", retry_after=10)
        member = Member(author, name, badge, moderator, wake)
        self._members.add(member)
        self._windows[author] = self._windows.get(author, 0) + 1
        self._names[alike] = (author, windows + 1)
        return member, self.resume(member, now, cursor)

    def resume(self, member: Member, now: float, cursor: str = "") -> Backlog:
        """What the member has missed since ``cursor``; what waited for it is left out."""
        member.queue.clear()
        member.behind = False
        missed = self._since(cursor)
        return Backlog(
            entries=tuple(self._entries) if missed is None else missed,
            cursor=self.cursor,
            whole=missed is None,
            slow=self.slow,
            muted_until=self._muted_until(member.author, now),
        )

    def leave(self, member: Member) -> None:
        """Take a connection out; twice is once."""
        if member not in self._members:
            return
        self._members.remove(member)
        member.queue.clear()
        self._windows[member.author] -= 1
        if not self._windows[member.author]:
            del self._windows[member.author]
        alike = likeness(member.name)
        author, windows = self._names.pop(alike)
        if windows > 1:
            self._names[alike] = (author, windows - 1)

    def reserve(self, author: str, name: str) -> None:
        """Keep a name, and all that look like it, for one author: the channel's owner."""
        self._reserved[likeness(clean_name(name))] = author

    # ── saying

    def say(self, member: Member, text: str, nonce: str, now: float) -> Said:
        """Say something.

        A nonce this author used already gives the message as it is there. Otherwise
        ``MalformedError`` (nothing to say, a nonce that is none), ``TooLargeError``,
        ``ForbiddenError`` (``subject`` is ``"muted"``), ``BusyError`` with ``retry_after``
        (``subject`` is ``"rate"`` or ``"slow"``).
        """
        try:
            return self._say(member, text, nonce, now)
        except (MalformedError, TooLargeError, ForbiddenError, BusyError):
            self.refused += 1
            raise

    def _say(self, member: Member, text: str, nonce: str, now: float) -> Said:
        if not NONCE.fullmatch(nonce):
            raise MalformedError("chat", "the message's id is missing or malformed")
        known = self._nonces.get((member.author, nonce))
        if known is not None:
            return Said(known, repeated=True)
        if member not in self._members:
            raise ForbiddenError("you are not in this chat", subject="gone")
        if not member.moderator and self._muted_until(member.author, now) is not None:
            raise ForbiddenError("you are muted in this chat", subject="muted")
        # Before anything of the text is looked at: a flood of bad ones is a flood as well.
        rate = self._spend(member, now)
        line = clean_line(text, limit=self.limits.max_text, what="message")
        if not line:
            raise MalformedError("chat", "the message is empty")
        message = Message(self._next(), member.author, member.name, line, now, nonce, member.badge)
        rate.last = now
        self._remember(message)
        self._tell(message)
        return Said(message, repeated=False)

    # ── moderation

    def delete(self, by: Member, message_id: int) -> Deleted:
        """Delete a message: a moderator any, an author his own. ``NotFoundError`` once it is out
        of the history."""
        found = next(
            (e for e in self._entries if isinstance(e, Message) and e.id == message_id), None
        )
        if not by.moderator and (found is None or found.author != by.author):
            raise ForbiddenError("only a moderator may delete this", subject="moderate")
        if found is None:
            raise NotFoundError(f"no message {message_id}", subject=str(message_id)[:20])
        self._entries.remove(found)
        # Its nonce stays known, without the text: sent again, it does not come back.
        blank = Message(found.id, found.author, found.name, "", found.at, found.nonce, found.badge)
        self._nonces[(found.author, found.nonce)] = blank
        deleted = Deleted(self._next(), message_id)
        self._forget_queued(found)
        self._tell(deleted)
        return deleted

    def mute(self, by: Member, author: str, now: float, *, seconds: float | None = None) -> Muted:
        """Take an author the right to write, for a time or until unmuted.

        ``ForbiddenError`` where ``by`` is no moderator or the author is one that is here.
        """
        _moderates(by)
        if any(m.author == author and m.moderator for m in self._members):
            raise ForbiddenError("a moderator cannot be muted", subject="moderator")
        if not 0 < len(author) <= 80:
            raise MalformedError("chat", "no author's id")
        if seconds is not None and not 0 < seconds <= 366 * 86400:
            raise MalformedError("chat", "a mute lasts up to a year")
        self._mutes.pop(author, None)
        while len(self._mutes) >= self.limits.mutes:
            self._mutes.popitem(last=False)
        until = None if seconds is None else now + seconds
        self._mutes[author] = until
        muted = Muted(self._next(), author, until)
        self._tell(muted)
        return muted

    def unmute(self, by: Member, author: str) -> Unmuted | None:
        """Give the right back; None where it was not taken."""
        _moderates(by)
        if author not in self._mutes:
            return None
        del self._mutes[author]
        unmuted = Unmuted(self._next(), author)
        self._tell(unmuted)
        return unmuted

    def set_slow(self, by: Member, seconds: float) -> Slow:
        """Let each author but moderators write once in so many seconds, up to an hour."""
        _moderates(by)
        if not 0 <= seconds <= 3600:
            raise MalformedError("chat", "slow mode is 0 to 3600 seconds")
        self.slow = seconds
        slow = Slow(self._next(), seconds)
        self._tell(slow)
        return slow

    def take_unsaved(self) -> tuple[Entry, ...]:
        """What happened since the last call, to be written down."""
        entries = tuple(self._unsaved)
        self._unsaved.clear()
        return entries

    # ── inside

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _since(self, cursor: str) -> tuple[Entry, ...] | None:
        """Entries after the cursor; None where they are not all there."""
        match = _CURSOR.fullmatch(cursor)
        if match is None or match[1] != self.epoch:
            return None
        seen = int(match[2])
        if not self._floor <= seen <= self._last:
            return None
        return tuple(entry for entry in self._entries if entry.id > seen)

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        if len(self._entries) > self.limits.history:
            self._floor = self._entries.popleft().id

    def _muted_until(self, author: str, now: float) -> float | None:
        if author not in self._mutes:
            return None
        until = self._mutes[author]
        if until is None:
            return float("inf")
        if until <= now:
            del self._mutes[author]
            return None
        return until

    def _spend(self, member: Member, now: float) -> _Rate:
        limits = self.limits
        rate = self._rates.get(member.author)
        if rate is None:
            while len(self._rates) >= limits.authors:
                self._rates.popitem(last=False)
            rate = self._rates[member.author] = _Rate(limits.burst, now)
        self._rates.move_to_end(member.author)
        elapsed = max(0.0, now - rate.at)
        rate.tokens = min(float(limits.burst), rate.tokens + elapsed / limits.refill)
        rate.at = now
        if self.slow and not member.moderator:
            wait = rate.last + self.slow - now
            if wait > 0:
                raise BusyError(
                    f"slow mode: write again in {ceil(wait)} s",
                    subject="slow",
                    retry_after=ceil(wait),
                )
        if rate.tokens < 1:
            wait = (1 - rate.tokens) * limits.refill
            raise BusyError("you write too fast", subject="rate", retry_after=max(1, ceil(wait)))
        rate.tokens -= 1
        return rate

    def _remember(self, message: Message) -> None:
        while len(self._nonces) >= self.limits.nonces:
            self._nonces.popitem(last=False)
        self._nonces[(message.author, message.nonce)] = message

    def _tell(self, entry: Entry) -> None:
        self._append(entry)
        if len(self._unsaved) == self._unsaved.maxlen:
            self.unsaved_lost += 1
        self._unsaved.append(entry)
        for member in self._members:
            if member.behind:
                continue
            was_empty = not member.queue
            if len(member.queue) >= self.limits.queue:
                member.queue.clear()
                member.behind = True
                self.resyncs += 1
                member.queue.append(Resync())
            else:
                member.queue.append(entry)
            if was_empty:
                member.wake()

    def _forget_queued(self, message: Message) -> None:
        """A deleted message is not shown to those that have not got it yet."""
        for member in self._members:
            if message in member.queue:
                member.queue.remove(message)


def _moderates(member: Member) -> None:
    if not member.moderator:
        raise ForbiddenError("only a moderator may do this", subject="moderate")
