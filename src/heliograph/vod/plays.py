"""What each viewer of a title played, and for how long, whatever way it came: told when media flow,
each minute, and at the end, as ``live.plays`` does of channels, so that a node that dies has told
most of it.

Sessions by RTSP tell of themselves (``observe``); of those by HTTP ``vod.watching`` tells.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from heliograph.catalogue.contents.batches import Addresses, shown
from heliograph.catalogue.contents.statistics import Play
from heliograph.vod.sessions import Session, SessionEvent

#: Seconds between two words of one play.
PROGRESS = 60.0
#: Plays whose counters are looked at in one go, about 5 ms; of more, each in turn.
LOOKS = 500
#: Plays that are followed at once; more are counted.
MAX_OPEN = 100_000


class Sent(NamedTuple):
    """What a viewer got so far."""

    packets: int
    """Or pieces; 0: nothing yet."""
    bytes: int
    stalls: int
    """Times that nothing was there when it was due."""


@dataclass(slots=True, eq=False)
class OpenPlay:
    """A play under way."""

    id: str
    name: str
    """Of the title."""
    peer: str
    """Address of the viewer."""
    way: str
    started: datetime
    measure: Callable[[], Sent]
    told: datetime | None = None
    """When it was told last; None: never."""


class TitlePlays:
    """Follows plays: ``look`` is called by a clock, each second or so."""

    def __init__(
        self,
        node: str = "",
        tell: Callable[[Play], None] | None = None,
        *,
        addresses: Addresses = Addresses.NETWORK,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``node``: id of this one. ``tell`` takes what became of a play so far; None: nobody wants
        to know. ``now``: UTC."""
        self.unfollowed = 0
        """Plays that began while too many were followed."""
        self._node = node
        self._tell = tell
        self._addresses = addresses
        self._now = now
        self._run = secrets.token_hex(8)
        self._begun = 0
        self._open: dict[str, OpenPlay] = {}
        self._sessions: dict[int, OpenPlay] = {}
        """Of those by RTSP, by the session's number."""
        self._counts: Counter[str] = Counter()
        """Plays by title."""

    def __len__(self) -> int:
        return len(self._open)

    def count(self, name: str) -> int:
        """How many play a title now."""
        return self._counts[name]

    def begin(self, name: str, peer: str, way: str, measure: Callable[[], Sent]) -> OpenPlay | None:
        """Follow a play of a title; ``measure`` says what was sent. None: too many are followed."""
        if len(self._open) >= MAX_OPEN:
            self.unfollowed += 1
            return None
        self._begun += 1
        play = OpenPlay(f"{self._run}-t{self._begun}", name, peer, way, self._now(), measure)
        self._open[play.id] = play
        self._counts[name] += 1
        return play

    def end(self, play: OpenPlay) -> None:
        """It is over; once."""
        if self._open.pop(play.id, None) is None:
            return
        self._counts[play.name] -= 1
        if not self._counts[play.name]:
            del self._counts[play.name]
        self._say(play)

    def observe(self, event: SessionEvent) -> None:
        """Hear of sessions by RTSP that begin and end."""
        session = event.session
        if event.kind == "session-joined":
            viewer, name = session.viewer, session.manifest.name
            play = self.begin(name, viewer.peer, viewer.way, lambda: _of(session))
            if play is not None:
                play.started = session.since
                self._sessions[session.id] = play
            return
        ended = self._sessions.pop(session.id, None)
        if ended is not None:
            self.end(ended)

    def look(self) -> None:
        """Tell what is due."""
        for id in [*self._open][:LOOKS]:
            play = self._open.pop(id)
            self._open[id] = play  # the last in turn now
            if play.told is None or (self._now() - play.told).total_seconds() >= PROGRESS:
                self._say(play)

    def _say(self, play: OpenPlay) -> None:
        if self._tell is None:
            return
        sent = play.measure()
        if not sent.packets:
            return  # whoever never got anything is not told of
        play.told = now = self._now()
        self._tell(
            Play(
                id=play.id,
                name=play.name,
                unit=self._node,
                client=shown(play.peer, self._addresses),
                way=play.way,
                started=play.started,
                ended=max(now, play.started),
                sent_bytes=sent.bytes,
                stalls=sent.stalls,
            )
        )


def _of(session: Session) -> Sent:
    stats = session.stats()
    return Sent(stats.packets, stats.bytes, stats.underruns)
