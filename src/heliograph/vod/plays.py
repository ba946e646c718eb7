"""What each viewer of a title played, and for how long: told when packets flow, each minute, and at
the end, as ``live.plays`` does of channels, so that a node that dies has told most of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from heliograph.catalogue.contents.batches import Addresses, shown
from heliograph.catalogue.contents.statistics import Play
from heliograph.vod.sessions import PlaySession, SessionEvent

#: Seconds between two words of one play.
PROGRESS = 60.0
#: Sessions whose counters are looked at in one go, about 5 ms; of more, each in turn.
LOOKS = 500
#: Sessions that are followed at once; more are counted.
MAX_OPEN = 100_000


@dataclass(slots=True, eq=False)
class _Open:
    """A session under way."""

    session: PlaySession
    told: datetime | None = None
    """When it was told last; None: never."""


class TitlePlays:
    """Follows sessions: ``observe`` is told by them, ``look`` by a clock, each second or so."""

    def __init__(
        self,
        node: str,
        tell: Callable[[Play], None],
        *,
        addresses: Addresses = Addresses.NETWORK,
        now: Callable[[], datetime],
    ) -> None:
        """``node``: id of this one. ``tell`` takes what became of a play so far. ``now``: UTC."""
        self.unfollowed = 0
        """Sessions that began while too many were followed."""
        self._node = node
        self._tell = tell
        self._addresses = addresses
        self._now = now
        self._run = secrets.token_hex(8)
        self._open: dict[int, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def observe(self, event: SessionEvent) -> None:
        """Hear of sessions that begin and end."""
        session = event.session
        if event.kind == "session-joined":
            if len(self._open) >= MAX_OPEN:
                self.unfollowed += 1
            else:
                self._open[session.id] = _Open(session)
            return
        play = self._open.pop(session.id, None)
        if play is not None:
            self._say(play)

    def look(self) -> None:
        """Tell what is due."""
        for id in [*self._open][:LOOKS]:
            play = self._open.pop(id)
            self._open[id] = play  # the last in turn now
            if play.told is None or (self._now() - play.told).total_seconds() >= PROGRESS:
                self._say(play)

    def _say(self, play: _Open) -> None:
        session = play.session
        stats = session.stats()
        if not stats.packets:
            return  # whoever never got anything is not told of
        play.told = now = self._now()
        self._tell(
            Play(
                id=f"{self._run}-t{session.id}",
                name=session.manifest.name,
                unit=self._node,
                client=shown(session.viewer.peer, self._addresses),
                way=session.viewer.way,
                started=session.since,
                ended=max(now, session.since),
                sent_bytes=stats.bytes,
                stalls=stats.underruns,
            )
        )
