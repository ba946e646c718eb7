"""The text channel beside a channel: rooms, members, history, limits, moderation.

Pure: ``now`` is given, in seconds since 1970; nothing waits and nothing is sent. What happens is an
*entry* with a number that grows by one. A client keeps the *cursor* of the last entry it saw and
shows it when it comes back: it is then given exactly what it missed. A room that was made anew has
another epoch, and a client from before it, or one that was away for too long, is given the
history as a whole. A message carries the client's own id (nonce), so that one sent again after a
lost connection is there once.

Nothing is queued for a member: the history is the queue of all, and a member has its place in it.

Texts are plain: nothing is escaped here, and a page must not take them for HTML.
"""

from __future__ import annotations

import re
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import ceil
from typing import Final

from heliograph.catalogue.names import clean_line, clean_name, likeness
from heliograph.live.chat_entries import (
    Backlog,
    Badge,
    ChatLimits,
    Cleared,
    Deleted,
    Entry,
    Member,
    Message,
    Muted,
    Said,
    Slow,
    Unmuted,
)
from heliograph.live.chat_mutes import Mutes
from heliograph.live.chat_rates import Bucket, Buckets
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    TooLargeError,
)

NONCE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
#: Longest slow mode, seconds.
MAX_SLOW: Final = 3600.0
#: Longest mute that ends by itself, seconds: longer ones are meant for good.
MAX_MUTE: Final = 366 * 86400.0
_CURSOR = re.compile(r"([0-9a-f]{16})\.([0-9]{1,15})", re.ASCII)


class Room:
    """One channel's chat."""

    def __init__(
        self,
        limits: ChatLimits | None = None,
        *,
        past: Iterable[Message] = (),
        mutes: Iterable[tuple[str, str, float | None]] = (),
        slow: float = 0.0,
        news: Callable[[], None] = lambda: None,
    ) -> None:
        """``past`` is what was said before, in order, deleted messages without a text among it;
        ``mutes`` who may not write, as of ``Mutes``. ``news`` is called after each entry."""
        self.limits = limits or ChatLimits()
        self.epoch = secrets.token_hex(8)
        self.slow = slow
        self.last = 0
        """Number of the newest entry."""
        self.resyncs = 0
        """Members that fell too far behind."""
        self.refused = 0
        """Messages refused for any reason."""
        self.unsaved_lost = 0
        """Changes that were not written down because too many waited."""
        self._news = news
        self._entries: deque[Entry] = deque()
        self._members: set[Member] = set()
        self._windows: dict[str, int] = {}
        self._names: dict[str, tuple[str, int]] = {}  # likeness → author, windows under it
        self._reserved: tuple[str, str] | None = None  # likeness, author
        self._rates = Buckets(self.limits.authors)
        self._all = Bucket(self.limits.room_burst, 0.0)
        self._nonces: OrderedDict[tuple[str, str], Message] = OrderedDict()
        self._mutes = Mutes(self.limits.mutes, mutes)
        self._nets: OrderedDict[str, str] = OrderedDict()  # guests that wrote → network
        self._unsaved: deque[Entry] = deque(maxlen=self.limits.unsaved)
        self._floor = 0  # the newest entry that fell out of the history
        for message in past:
            self.last = message.id
            if message.text:
                self._append(message)
            self._remember(message)

    # ── members

    @property
    def members(self) -> int:
        return len(self._members)

    @property
    def cursor(self) -> str:
        """Place of the newest entry."""
        return self.cursor_at(self.last)

    def cursor_at(self, entry: int) -> str:
        """Place of an entry, for the client to keep."""
        return f"{self.epoch}.{entry}"

    def join(
        self,
        author: str,
        name: str,
        now: float,
        *,
        cursor: str = "",
        badge: Badge = Badge.NONE,
        moderator: bool = False,
        net: str = "",
    ) -> tuple[Member, Backlog]:
        """Bring a connection in.

        ``author`` must be what a person cannot choose or change by reconnecting: limits and mutes
        hang on it, and on ``net`` for guests. Without a name it reads only. ``BusyError`` without a
        place, ``MalformedError`` or ``TooLargeError`` for a name that cannot be, ``ConflictError``
        where it is, or looks like, that of another author.
        """
        if name:
            name = clean_name(name)
            self._check_name(author, name)
        if len(self._members) >= self.limits.max_members:
            raise BusyError("the chat has no free place", subject="places", retry_after=10)
        if self._windows.get(author, 0) >= self.limits.max_per_author:
            raise BusyError("too many windows of one person", subject="windows", retry_after=10)
        member = Member(author, "", badge, moderator, net)
        self._members.add(member)
        self._windows[author] = self._windows.get(author, 0) + 1
        self._take_name(member, name)
        return member, self.resume(member, now, cursor)

    def rename(self, member: Member, name: str, now: float) -> None:
        """Give a member another name, or its first; errors as of ``join`` and ``say``'s rate."""
        self._check_here(member)
        self._spend(member, now)
        name = clean_name(name)
        self._check_name(member.author, name)
        self._leave_name(member)
        self._take_name(member, name)

    def resume(self, member: Member, now: float, cursor: str = "") -> Backlog:
        """What the member has missed since ``cursor``; it has then seen everything."""
        missed = self._since(cursor)
        member.seen = self.last
        return Backlog(
            entries=tuple(self._entries) if missed is None else missed,
            cursor=self.cursor,
            whole=missed is None,
            slow=self.slow,
            muted_until=self.muted_until(member, now),
        )

    def after(self, seen: int) -> tuple[Entry, ...] | None:
        """Entries after that one, in order; None where they are too many or not all there.

        Members at the same place are given the same: ask once for them all, and set ``seen``.
        """
        if seen < self._floor or self.last - seen > self.limits.queue:
            return None
        return self._behind(seen)

    def leave(self, member: Member) -> None:
        """Take a connection out; twice is once."""
        if member not in self._members:
            return
        self._members.remove(member)
        self._windows[member.author] -= 1
        if not self._windows[member.author]:
            del self._windows[member.author]
        self._leave_name(member)

    def reserve(self, author: str, name: str) -> None:
        """Keep a name, and all that look like it, for one author: the channel's owner."""
        self._reserved = (likeness(clean_name(name)), author)

    def muted_until(self, member: Member, now: float) -> float | None:
        """Until when the member may not write; infinity: until unmuted; None: it may."""
        if member.moderator:
            return None
        return self._mutes.until(member.author, _guests_net(member), now)

    # ── saying

    def say(self, member: Member, text: str, nonce: str, now: float) -> Said:
        """Say something.

        A nonce this author used already gives the message as it is there. Otherwise
        ``MalformedError`` (nothing to say, a nonce that is none), ``TooLargeError``,
        ``ForbiddenError`` (``subject`` is ``"muted"``, or ``"name"`` without one), ``BusyError``
        with ``retry_after`` (``subject`` is ``"rate"`` or ``"slow"``).
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
        self._check_here(member)
        if not member.name:
            raise ForbiddenError("choose a name first", subject="name")
        if self.muted_until(member, now) is not None:
            raise ForbiddenError("you are muted in this chat", subject="muted")
        # Before anything of the text is looked at: a flood of bad ones is a flood as well.
        rate = self._spend(member, now)
        line = clean_line(text, limit=self.limits.max_text, what="message")
        if not line:
            raise MalformedError("chat", "the message is empty")
        message = Message(self._next(), member.author, member.name, line, now, nonce, member.badge)
        rate.last = now
        self._remember(message)
        self._note_net(member)
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
        self._blank(found)
        deleted = Deleted(self._next(), message_id)
        self._tell(deleted)
        return deleted

    def clear(self, by: Member) -> Cleared:
        """Delete all messages."""
        _moderates(by)
        cleared = self._clear()
        self._tell(cleared)
        return cleared

    def mute(self, by: Member, author: str, now: float, *, seconds: float | None = None) -> Muted:
        """Take an author the right to write, for a time or until unmuted.

        ``ForbiddenError`` where ``by`` is no moderator or the author is one that is here.
        """
        _moderates(by)
        if any(m.author == author and m.moderator for m in self._members):
            raise ForbiddenError("a moderator cannot be muted", subject="moderator")
        if not 0 < len(author) <= 40 or "@" in author:
            raise MalformedError("chat", "no author's id")
        if seconds is not None and not 0 < seconds <= MAX_MUTE:
            raise MalformedError("chat", "a mute lasts up to a year")
        until = None if seconds is None else now + seconds
        net = self._mutes.add(author, self._nets.get(author, ""), until)
        muted = Muted(self._next(), author, until, net)
        self._tell(muted)
        return muted

    def unmute(self, by: Member, author: str) -> Unmuted | None:
        """Give the right back; None where it was not taken."""
        _moderates(by)
        net = self._mutes.remove(author)
        if net is None:
            return None
        unmuted = Unmuted(self._next(), author, net)
        self._tell(unmuted)
        return unmuted

    def set_slow(self, by: Member | None, seconds: float) -> Slow:
        """Let each author but moderators write once in so many seconds, up to ``MAX_SLOW``.

        ``by`` is None where the channel was changed elsewhere.
        """
        if by is not None:
            _moderates(by)
        if not 0 <= seconds <= MAX_SLOW:
            raise MalformedError("chat", f"slow mode is 0 to {MAX_SLOW:.0f} seconds")
        self.slow = seconds
        slow = Slow(self._next(), seconds)
        self._tell(slow)
        return slow

    # ── what happened in another node's room of the channel, which writes it down

    def heard(self, message: Message) -> Message | None:
        """Something was said there: it has a number of its own here. None where it is known."""
        if (message.author, message.nonce) in self._nonces:
            return None
        message = replace(message, id=self._next())
        self._remember(message)
        self._show(message)
        return message

    def heard_deleted(self, author: str, nonce: str) -> None:
        """A message was deleted there."""
        found = self._nonces.get((author, nonce))
        if found is None or not found.text:
            return
        if found in self._entries:
            self._entries.remove(found)
        self._blank(found)
        self._show(Deleted(self._next(), found.id))

    def heard_cleared(self) -> None:
        """All messages were deleted there."""
        self._show(self._clear())

    def heard_muted(self, author: str, net: str, until: float | None) -> None:
        """An author may not write."""
        self._mutes.add(author, net, until)
        self._show(Muted(self._next(), author, until, net))

    def heard_unmuted(self, author: str) -> None:
        """An author may write again."""
        net = self._mutes.remove(author)
        if net is not None:
            self._show(Unmuted(self._next(), author, net))

    def known(self, message_id: int) -> Message | None:
        """A message that is remembered, without a text once it is deleted."""
        return next((one for one in self._nonces.values() if one.id == message_id), None)

    def take_unsaved(self) -> tuple[Entry, ...]:
        """What happened since the last call, to be written down."""
        entries = tuple(self._unsaved)
        self._unsaved.clear()
        return entries

    # ── inside

    def _next(self) -> int:
        self.last += 1
        return self.last

    def _since(self, cursor: str) -> tuple[Entry, ...] | None:
        """Entries after the cursor; None where they are not all there."""
        match = _CURSOR.fullmatch(cursor)
        if match is None or match[1] != self.epoch:
            return None
        seen = int(match[2])
        return self._behind(seen) if self._floor <= seen <= self.last else None

    def _behind(self, seen: int) -> tuple[Entry, ...]:
        newest: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.id <= seen:
                break
            newest.append(entry)
        return tuple(reversed(newest))

    def _append(self, entry: Entry) -> None:
        self._entries.append(entry)
        if len(self._entries) > self.limits.history:
            self._floor = self._entries.popleft().id

    def _check_here(self, member: Member) -> None:
        if member not in self._members:
            raise ForbiddenError("you are not in this chat", subject="gone")

    def _check_name(self, author: str, name: str) -> None:
        alike = likeness(name)
        holder, _ = self._names.get(alike, (author, 0))
        reserved = self._reserved is not None and self._reserved[0] == alike
        if author != holder or (reserved and self._reserved != (alike, author)):
            raise ConflictError("somebody here has this name", subject="name")

    def _take_name(self, member: Member, name: str) -> None:
        member.name = name
        if name:
            alike = likeness(name)
            self._names[alike] = (member.author, self._names.get(alike, ("", 0))[1] + 1)

    def _leave_name(self, member: Member) -> None:
        if member.name:
            alike = likeness(member.name)
            author, windows = self._names.pop(alike)
            if windows > 1:
                self._names[alike] = (author, windows - 1)

    def _spend(self, member: Member, now: float) -> Bucket:
        """Take a token of all that bound the member, or of none; the member's own bucket."""
        limits = self.limits
        own = self._rates.of(member.author, limits.burst, now)
        waits = [own.wait(now, limits.burst, limits.refill)]
        buckets = [own]
        if self.slow and not member.moderator:
            wait = own.last + self.slow - now
            if wait > 0:
                raise BusyError(
                    f"slow mode: write again in {ceil(wait)} s",
                    subject="slow",
                    retry_after=ceil(wait),
                )
        if net := _guests_net(member):
            shared = self._rates.of(f"net:{net}", limits.net_burst, now)
            waits.append(shared.wait(now, limits.net_burst, limits.net_refill))
            buckets.append(shared)
        if not member.moderator:
            waits.append(self._all.wait(now, limits.room_burst, limits.room_refill))
            buckets.append(self._all)
        if max(waits) > 0:
            raise BusyError(
                "you write too fast" if waits[0] else "too much is written here",
                subject="rate",
                retry_after=max(1, ceil(max(waits))),
            )
        for bucket in buckets:
            bucket.take()
        return own

    def _remember(self, message: Message) -> None:
        while len(self._nonces) >= self.limits.nonces:
            self._nonces.popitem(last=False)
        self._nonces[(message.author, message.nonce)] = message

    def _blank(self, message: Message) -> None:
        """Keep the nonce without the text: sent again, the message does not come back."""
        self._nonces[(message.author, message.nonce)] = replace(message, text="")

    def _note_net(self, member: Member) -> None:
        if net := _guests_net(member):
            while len(self._nets) >= self.limits.authors:
                self._nets.popitem(last=False)
            self._nets[member.author] = net
            self._nets.move_to_end(member.author)

    def _clear(self) -> Cleared:
        self._entries = deque(e for e in self._entries if not isinstance(e, Message))
        for message in list(self._nonces.values()):
            self._blank(message)
        return Cleared(self._next())

    def _tell(self, entry: Entry) -> None:
        if len(self._unsaved) == self._unsaved.maxlen:
            self.unsaved_lost += 1
        self._unsaved.append(entry)
        self._show(entry)

    def _show(self, entry: Entry) -> None:
        self._append(entry)
        self._news()


def _guests_net(member: Member) -> str:
    return member.net if member.badge is Badge.GUEST else ""


def _moderates(member: Member) -> None:
    if not member.moderator:
        raise ForbiddenError("only a moderator may do this", subject="moderate")
