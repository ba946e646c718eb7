"""What each client plays of titles by HTTP: told when it begins, each minute, and at its end.

Requests for media stand for a viewer: those of one title from one address are one play, which has
ended when none came for a while.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from heliograph.catalogue.contents.batches import Addresses, shown
from heliograph.catalogue.contents.statistics import Play

#: Seconds without a request after which a play has ended: players ask again well before the half
#: minute that they have in hand is over.
GONE = 60.0
#: Seconds between two words of one play, and between looks at all.
PROGRESS, LOOK = 60.0, 5.0
#: Plays that are followed; more are counted.
MAX_OPEN = 20_000


@dataclass(slots=True)
class _Open:
    """A play under way."""

    id: str
    started: datetime
    bytes: int
    seen: float
    """When something was asked for last, seconds."""
    told: float
    """When it was told last, seconds."""


class Watching:
    """Follows the plays of all titles. To be closed."""

    def __init__(
        self,
        node: str = "",
        tell: Callable[[Play], None] | None = None,
        *,
        addresses: Addresses = Addresses.NETWORK,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``node``: id of this one. ``tell`` takes what became of a play so far; None: nobody wants
        to know. ``clock``: seconds of any origin."""
        self.unfollowed = 0
        """Plays that began while too many were followed."""
        self._node = node
        self._tell = tell
        self._addresses = addresses
        self._clock = clock
        self._now = now
        self._open: dict[tuple[str, str, str], _Open] = {}
        self._count: Counter[str] = Counter()
        """Plays by title."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._open)

    def count(self, name: str) -> int:
        """Who plays a title now."""
        return self._count[name]

    def sent(self, name: str, peer: str, way: str, size: int) -> None:
        """Media of a title are sent to ``peer`` by ``way`` (``hls``, ``mp4``)."""
        key, seen = (name, peer, way), self._clock()
        play = self._open.get(key)
        if play is not None:
            play.seen = seen
            play.bytes += size
            return
        if len(self._open) >= MAX_OPEN:
            self.unfollowed += 1
            return
        play = _Open(secrets.token_hex(12), self._now(), size, seen, seen)
        self._open[key] = play
        self._count[name] += 1
        self._say(key, play)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK, self._tick)

    def look(self) -> None:
        """Tell what is due, and end those from whom nothing is heard."""
        now = self._clock()
        for key, play in list(self._open.items()):
            gone = now - play.seen >= GONE
            if gone:
                del self._open[key]
                self._count[key[0]] -= 1
                if not self._count[key[0]]:
                    del self._count[key[0]]
            if gone or now - play.told >= PROGRESS:
                play.told = now
                self._say(key, play)

    def close(self) -> None:
        """Tell the last of all."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for key, play in self._open.items():
            self._say(key, play)
        self._open.clear()
        self._count.clear()

    def _tick(self) -> None:
        self.look()
        again = asyncio.get_running_loop().call_later(LOOK, self._tick) if self._open else None
        self._timer = again

    def _say(self, key: tuple[str, str, str], play: _Open) -> None:
        if self._tell is None:
            return
        name, peer, way = key
        client = shown(peer, self._addresses)
        now = max(self._now(), play.started)
        self._tell(Play(play.id, name, self._node, client, way, play.started, now, play.bytes, 0))
