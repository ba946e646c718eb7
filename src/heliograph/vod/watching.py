"""Who plays titles by HTTP, and what was promised to each.

Requests for a title from one address by one way that show the same session are one viewer, who is
there as long as something is asked for or sent, and a while longer. What was promised to who has
left is kept while nobody else wants it: most have only paused.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from heliograph.catalogue.contents.following import OpenPlay, Sent
from heliograph.model.addresses import stranger_of
from heliograph.model.errors import BusyError
from heliograph.vod.manifest import Manifest
from heliograph.vod.plays import TitlePlays
from heliograph.vod.promises import Admission, Promise

#: Seconds without a request after which a viewer has left: players ask again well before the half
#: minute that they have in hand is over.
GONE = 60.0
#: The same of who got no media yet: it may only have looked. Making the first segment may take 15.
BEGIN = 30.0
#: Seconds for which what was promised to who has left is kept at most.
PAUSED = 1800.0
#: Sessions of one address that are told apart: anybody can name as many as he likes, each of which
#: would be promised a stream; further ones are one viewer.
MAX_SESSIONS = 100
#: Seconds between two looks for those who left.
LOOK = 5.0
#: Viewers at a time: beyond them new ones are turned away.
MAX_VIEWERS = 20_000
#: Seconds after which who was turned away may ask again.
RETRY_AFTER = 10

_Key = tuple[str, str, str, str]


@dataclass(slots=True, eq=False)
class HttpViewer:
    """Who plays a title."""

    seen: float
    """When something was asked for last, seconds."""
    promise: Promise | None
    network: str = ""
    """Whose sessions it counts with; empty: it is not counted."""
    pieces: int = 0
    bytes: int = 0
    sending: int = 0
    """Files that are being sent to it."""
    play: OpenPlay | None = None
    """None: nobody follows it."""

    def sent(self, size: int) -> None:
        """Media are sent to it, so many bytes."""
        self.pieces += 1
        self.bytes += size

    def measure(self) -> Sent:
        """For statistics; when a player runs dry is not known here."""
        return Sent(self.pieces, self.bytes, 0)

    def left(self, now: float) -> bool:
        """Whether it is to be taken for gone."""
        return not self.sending and now - self.seen >= (GONE if self.pieces else BEGIN)


class Watching:
    """The viewers of all titles of a node by HTTP. To be closed."""

    def __init__(
        self,
        plays: TitlePlays | None = None,
        admission: Admission | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``plays`` hears of each play. ``admission``: promises streams; None: nothing is short.
        ``clock``: seconds of any origin."""
        self.plays = TitlePlays() if plays is None else plays
        self.refused = 0
        """Viewers turned away for want of a place or a budget."""
        self._admission = admission
        self._clock = clock
        self._viewers: dict[_Key, HttpViewer] = {}
        self._sessions: Counter[str] = Counter()
        """Viewers with a session by network."""
        self._left: OrderedDict[_Key, tuple[Promise, float]] = OrderedDict()
        """What was promised to those who left, and when, the first to leave first."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._viewers)

    def enter(
        self, manifest: Manifest, tracks: Sequence[int], peer: str, way: str, session: str = ""
    ) -> HttpViewer:
        """The viewer of a title at ``peer`` by ``way`` (``hls``, ``mp4``), who asks for something.

        A new one is promised a stream of ``tracks``, which is kept until it has left, and while
        nobody else wants it afterwards; ``BusyError`` where that cannot be. ``session``: which of
        several at the address it is, by what it shows; empty: that is not known.
        """
        network = stranger_of(peer) or peer
        key = (manifest.object, peer, way, session)
        if session and key not in self._viewers and self._sessions[network] >= MAX_SESSIONS:
            session, key = "", (manifest.object, peer, way, "")
        viewer = self._viewers.get(key)
        if viewer is None:
            viewer = self._back(key) or self._admit(manifest, tracks)
            viewer.play = self.plays.begin(manifest.name, peer, way, viewer.measure)
            self._viewers[key] = viewer
            if session:
                viewer.network = network
                self._sessions[network] += 1
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(LOOK, self._tick)
        viewer.seen = self._clock()
        return viewer

    def _back(self, key: _Key) -> HttpViewer | None:
        """One that has left and comes again, if its room was not given to others."""
        if key not in self._left:
            return None
        promise, _ = self._left.pop(key)
        return HttpViewer(self._clock(), promise) if promise.wake() else None

    def _admit(self, manifest: Manifest, tracks: Sequence[int]) -> HttpViewer:
        try:
            if len(self._viewers) >= MAX_VIEWERS:
                reason = f"{MAX_VIEWERS} titles are played by HTTP already"
                raise BusyError(reason, subject="places", retry_after=RETRY_AFTER)
            admission = self._admission
            promise = None if admission is None else admission.promise(manifest, tracks)
        except BusyError:
            self.refused += 1
            raise
        return HttpViewer(self._clock(), promise)

    def begin_sending(self, viewer: HttpViewer) -> None:
        """A file is sent from now on, as long as that takes."""
        viewer.sending += 1

    def end_sending(self, viewer: HttpViewer) -> None:
        """That one is sent, or was broken off."""
        viewer.sending -= 1
        viewer.seen = self._clock()

    def look(self) -> None:
        """Let those go from whom nothing is heard."""
        now = self._clock()
        for key, viewer in list(self._viewers.items()):
            if viewer.left(now):
                del self._viewers[key]
                promise, viewer.promise = viewer.promise, None
                self._end(viewer)
                if promise is None:
                    continue
                if viewer.pieces:
                    promise.rest()
                    self._left[key] = promise, now
                else:
                    promise.release()
        while self._left:
            promise, since = next(iter(self._left.values()))
            if now - since < PAUSED and len(self._left) <= MAX_VIEWERS:
                break
            promise.release()
            self._left.popitem(last=False)

    def close(self) -> None:
        """Let all go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for viewer in self._viewers.values():
            self._end(viewer)
        self._viewers.clear()
        for promise, _ in self._left.values():
            promise.release()
        self._left.clear()

    def _end(self, viewer: HttpViewer) -> None:
        if viewer.network:
            self._sessions[viewer.network] -= 1
            if not self._sessions[viewer.network]:
                del self._sessions[viewer.network]
        if viewer.promise is not None:
            viewer.promise.release()
        if viewer.play is not None:
            self.plays.end(viewer.play)

    def _tick(self) -> None:
        self.look()
        wanted = self._viewers or self._left
        again = asyncio.get_running_loop().call_later(LOOK, self._tick) if wanted else None
        self._timer = again
