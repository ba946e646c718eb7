"""What each viewer of this node's channels played, and for how long: ``Following`` is told of them.

Counters of a connection that broke are gone with it: then what was seen last counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from heliograph.catalogue.contents.following import Following, OpenPlay, Sent
from heliograph.live.readers import Reader, ReaderKind
from heliograph.live.states import LiveEvent

_WAYS: Mapping[ReaderKind, str] = {ReaderKind.WHEP: "webrtc"}


@dataclass(slots=True, eq=False)
class _Counters:
    """What one reader got, by counters that may begin anew."""

    reader: Reader
    counted: int = 0
    """What the reader's counter said; it begins anew when the format changes."""
    bytes: int = 0
    stalls: int = 0
    dropped: int = 0
    behind: bool = False

    def measure(self) -> Sent:
        """What it got until now."""
        reader = self.reader
        stats = reader.stats()
        # A reader whose counters are gone has zeros: they add nothing.
        grown = stats.bytes - self.counted
        self.bytes += grown if grown >= 0 else stats.bytes
        self.counted = stats.bytes
        dropped = stats.dropped_video + stats.dropped_audio
        behind = dropped > self.dropped
        self.stalls += behind and not self.behind
        self.behind, self.dropped = behind, dropped
        # Who asked for media plays; by WebRTC nobody is there before something was sent.
        asked = reader.playing and reader.kind is not ReaderKind.WHEP
        return Sent(int(asked or self.bytes > 0), self.bytes + reader.sent_bytes, self.stalls)


class Plays:
    """Follows the readers of all channels, which tell ``observe``."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._open: dict[int, OpenPlay] = {}
        """By the reader's id."""

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
            play = self._open.pop(reader.id, None)
            if play is not None:
                self._following.end(play)

    def _begin(self, reader: Reader) -> None:
        counters = _Counters(reader)
        if reader.kind is ReaderKind.MULTICAST:  # the counter is the group's
            counters.counted = reader.stats().bytes
        way = _WAYS.get(reader.kind, reader.kind.value)
        play = self._following.begin(
            reader.channel.name, reader.peer, way, counters.measure, reader.since
        )
        if play is not None:
            self._open[reader.id] = play
