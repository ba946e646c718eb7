"""Plays under way, of channels and titles alike: what each got so far, and when that is told.

A play is told of when media flow, each minute, and when it ends; in between it is noted where a
kill of the process leaves it. Whoever never got anything is not told of.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple, Protocol

from heliograph.catalogue.contents.batches import Addresses, shown
from heliograph.catalogue.contents.statistics import Play

#: Seconds between two calls of ``look``.
LOOK = 0.25
#: Seconds between two looks at one play's counters, with up to ``LOOKS / LOOK`` plays.
NOTE = 1.0
#: Plays whose counters are looked at in one go, about 3 ms; of more, each in turn.
LOOKS = 500
#: Seconds between two words of one play: each costs the database a write.
PROGRESS = 60.0
#: Plays that are followed at once; more are counted.
MAX_OPEN = 100_000


class Sent(NamedTuple):
    """What a viewer got so far."""

    packets: int
    """Or pieces; 0: nothing yet."""
    bytes: int
    stalls: int
    """Times that nothing was there when it was due, or that it fell behind."""


class Notes(Protocol):
    """Takes what becomes of plays; see ``dispatcher.statistics.recorder``."""

    def begun(self) -> None:
        """One began: its end will be told."""

    def played(self, play: Play) -> None:
        """What became of one so far."""

    def noted(self, id: str, sent_bytes: int, stalls: int) -> None:
        """What one that was told of got until now, in case that nothing more is told."""

    def alive(self, at: datetime) -> None:
        """All that did not end play at this time."""

    def ended(self, play: Play | None) -> None:
        """One is over; None: it never got anything."""


@dataclass(slots=True, eq=False)
class OpenPlay:
    """A play under way."""

    id: str
    name: str
    """Logical id of the channel or title."""
    client: str
    """As it is to be kept."""
    way: str
    started: datetime
    measure: Callable[[], Sent]
    looked: datetime
    """When its counters were looked at last."""
    told: datetime | None = None
    """When it was told last; None: never."""


def utc_now() -> datetime:
    return datetime.now(UTC)


class Following:
    """Follows plays: ``look`` is called by a clock."""

    def __init__(
        self,
        node: str = "",
        notes: Notes | None = None,
        *,
        addresses: Addresses = Addresses.NETWORK,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``node``: id of this one. ``notes``: None: nobody wants to know. ``now``: UTC."""
        self.unfollowed = 0
        """Plays that began while too many were followed."""
        self._node = node
        self._notes = notes
        self._addresses = addresses
        self._now = now
        self._run = secrets.token_hex(8)
        self._begun = 0
        self._open: dict[str, OpenPlay] = {}
        """The one looked at longest ago first."""
        self._fresh: dict[str, OpenPlay] = {}
        """Those that were not told yet: they may play at any time. In turn as well."""

    def __len__(self) -> int:
        return len(self._open)

    def begin(
        self,
        name: str,
        peer: str,
        way: str,
        measure: Callable[[], Sent],
        started: datetime | None = None,
    ) -> OpenPlay | None:
        """Follow a play; ``measure`` says what was sent. None: too many are followed."""
        if len(self._open) >= MAX_OPEN:
            self.unfollowed += 1
            return None
        self._begun += 1
        now = self._now()
        id = f"{self._run}-{self._begun}"
        client = shown(peer, self._addresses)
        play = OpenPlay(id, name, client, way, started or now, measure, now)
        self._open[id] = self._fresh[id] = play
        if self._notes is not None:
            self._notes.begun()
        return play

    def end(self, play: OpenPlay) -> bool:
        """It is over; whether it was not known to be so."""
        if self._open.pop(play.id, None) is None:
            return False
        self._fresh.pop(play.id, None)
        if self._notes is not None:
            sent = play.measure()
            told = play.told is not None or sent.packets
            self._notes.ended(self._word(play, sent, self._now()) if told else None)
        return True

    def look(self) -> None:
        """Look at the counters of some, note them, and tell what is due."""
        if self._notes is None:
            return
        now = self._now()
        for play in [*islice(self._fresh.values(), LOOKS)]:
            self._look(play, now)
            if self._fresh.pop(play.id, None) is not None and play.told is None:
                self._fresh[play.id] = play
        share = len(self._open) * LOOK / NOTE
        for index, play in enumerate([*islice(self._open.values(), LOOKS)]):
            if index >= share and (now - play.looked).total_seconds() < NOTE - LOOK:
                break
            if play.told is not None:
                self._look(play, now)
            play.looked = now
            self._open[play.id] = self._open.pop(play.id)  # the last in turn now
        self._notes.alive(now)

    def _look(self, play: OpenPlay, now: datetime) -> None:
        assert self._notes is not None
        sent = play.measure()
        if play.told is None:
            due = sent.packets > 0
        else:
            due = (now - play.told).total_seconds() >= PROGRESS
        if due:
            play.told = now
            self._notes.played(self._word(play, sent, now))
        elif play.told is not None:
            self._notes.noted(play.id, sent.bytes, sent.stalls)

    def _word(self, play: OpenPlay, sent: Sent, now: datetime) -> Play:
        return Play(
            id=play.id,
            name=play.name,
            unit=self._node,
            client=play.client,
            way=play.way,
            started=play.started,
            ended=max(now, play.started),
            sent_bytes=sent.bytes,
            stalls=sent.stalls,
        )
