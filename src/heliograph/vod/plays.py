"""What each viewer of a title played, and for how long, whatever way it came: ``Following`` is told
of them.

Sessions by RTSP tell of themselves (``observe``); of those by HTTP ``vod.watching`` tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime

from heliograph.catalogue.contents.following import Following, OpenPlay, Sent
from heliograph.vod.sessions import Session, SessionEvent


class TitlePlays:
    """Follows plays of titles."""

    def __init__(self, following: Following | None = None) -> None:
        """None: nobody wants to know more than how many there are."""
        self._following = Following() if following is None else following
        self._sessions: dict[int, OpenPlay] = {}
        """Of those by RTSP, by the session's number."""
        self._counts: Counter[str] = Counter()
        """Plays by title."""

    def __len__(self) -> int:
        return self._counts.total()

    def count(self, name: str) -> int:
        """How many play a title now."""
        return self._counts[name]

    def begin(
        self,
        name: str,
        peer: str,
        way: str,
        measure: Callable[[], Sent],
        started: datetime | None = None,
    ) -> OpenPlay | None:
        """Follow a play of a title; as of ``Following``."""
        play = self._following.begin(name, peer, way, measure, started)
        if play is not None:
            self._counts[name] += 1
        return play

    def end(self, play: OpenPlay) -> None:
        """It is over."""
        if not self._following.end(play):
            return
        self._counts[play.name] -= 1
        if not self._counts[play.name]:
            del self._counts[play.name]

    def observe(self, event: SessionEvent) -> None:
        """Hear of sessions by RTSP that begin and end."""
        session = event.session
        if event.kind == "session-joined":
            viewer, name = session.viewer, session.manifest.name
            play = self.begin(name, viewer.peer, viewer.way, lambda: _of(session), session.since)
            if play is not None:
                self._sessions[session.id] = play
            return
        ended = self._sessions.pop(session.id, None)
        if ended is not None:
            self.end(ended)


def _of(session: Session) -> Sent:
    stats = session.stats()
    return Sent(stats.packets, stats.bytes, stats.underruns)
