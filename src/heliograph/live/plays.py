"""What each viewer of this node played, and for how long: told when it begins, each minute, and
when it ends, so that a node that dies has told most of it.

Whoever never played, as who asked and went, is not told of. Counters of a connection that broke
are gone with it: then what was seen last counts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from heliograph.catalogue.contents.batches import Addresses, shown
from heliograph.catalogue.contents.statistics import Play
from heliograph.live.readers import Reader, ReaderKind
from heliograph.live.states import LiveEvent

#: Seconds between two calls of ``look``.
LOOK = 1.0
#: Seconds between two words of one play.
PROGRESS = 60.0
#: Readers whose counters are looked at in one go, about 3 ms; of up to so many each is looked at
#: every time, of more in turn.
LOOKS = 500
#: Plays under way that are followed; more are counted.
MAX_OPEN = 100_000

_WAYS: Mapping[ReaderKind, str] = {ReaderKind.WHEP: "webrtc"}


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True, eq=False)
class _Open:
    """A play under way."""

    reader: Reader
    id: str
    bytes: int = 0
    stalls: int = 0
    told: datetime | None = None
    """When it was told last; None: never."""
    counted: int = 0
    """What the reader's counter said; it begins anew when the format changes."""
    dropped: int = 0
    behind: bool = False


class Plays:
    """Follows the readers of all channels: ``observe`` is told by them, ``look`` by a clock."""

    def __init__(
        self,
        node: str,
        tell: Callable[[Play], None],
        *,
        addresses: Addresses = Addresses.NETWORK,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``node``: id of this one. ``tell`` takes what became of a play so far."""
        self.unfollowed = 0
        """Readers that came while too many were followed."""
        self._node = node
        self._tell = tell
        self._addresses = addresses
        self._now = now
        self._run = secrets.token_hex(8)
        self._open: dict[int, _Open] = {}
        self._fresh: dict[int, _Open] = {}
        """Those that were not told yet: they may play at any time."""

    def __len__(self) -> int:
        return len(self._open)

    def observe(self, event: LiveEvent) -> None:
        """Hear of whatever happens to channels."""
        reader = event.reader
        if reader is None or not reader.counted:
            return
        if event.kind == "reader-joined":
            self._begin(reader)
        elif event.kind == "reader-left":
            self._end(reader)

    def look(self) -> None:
        """Look at the counters of some, and tell what is due."""
        for play in [*self._fresh.values()]:
            self._sample(play)
            if _plays(play):
                self._say(play)
        for id in [*self._open][:LOOKS]:
            play = self._open.pop(id)
            self._open[id] = play  # the last in turn now
            self._sample(play)
            if play.told is not None and (self._now() - play.told).total_seconds() >= PROGRESS:
                self._say(play)

    def _begin(self, reader: Reader) -> None:
        if len(self._open) >= MAX_OPEN:
            self.unfollowed += 1
            return
        play = _Open(reader, f"{self._run}-{reader.id}")
        if reader.kind is ReaderKind.MULTICAST:  # the counter is the group's
            play.counted = reader.stats().bytes
        self._open[reader.id] = self._fresh[reader.id] = play

    def _end(self, reader: Reader) -> None:
        play = self._open.pop(reader.id, None)
        if play is None:
            return
        self._sample(play)
        if play.told is not None or _plays(play):
            self._say(play)
        self._fresh.pop(reader.id, None)

    def _sample(self, play: _Open) -> None:
        stats = play.reader.stats()
        # A reader whose counters are gone has zeros: they add nothing.
        grown = stats.bytes - play.counted
        play.bytes += grown if grown >= 0 else stats.bytes
        play.counted = stats.bytes
        dropped = stats.dropped_video + stats.dropped_audio
        behind = dropped > play.dropped
        play.stalls += behind and not play.behind
        play.behind, play.dropped = behind, dropped

    def _say(self, play: _Open) -> None:
        reader, now = play.reader, self._now()
        self._fresh.pop(reader.id, None)
        play.told = now
        self._tell(
            Play(
                id=play.id,
                name=reader.channel.name,
                unit=self._node,
                client=shown(reader.peer, self._addresses),
                way=_WAYS.get(reader.kind, reader.kind.value),
                started=reader.since,
                ended=max(now, reader.since),
                sent_bytes=play.bytes + reader.sent_bytes,
                stalls=play.stalls,
            )
        )


def _plays(play: _Open) -> bool:
    """Whether anything was sent, or asked for; by WebRTC nobody is there before that."""
    asked = play.reader.playing and play.reader.kind is not ReaderKind.WHEP
    return asked or play.bytes > 0
