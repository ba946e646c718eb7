"""Simulcast layers of a WebRTC publisher as renditions of its channel, while somebody wants them.

The best layer that comes is the channel's picture. Each rendition below it is relayed into a plane
channel of its own, of which nobody knows but who opened it: readers of the channel see one picture,
and what nobody wants costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from heliograph.model.media import Track
from heliograph.plane import PlaneLoop, ReaderClosed, RtcPort, TapReady, TrackSpec
from heliograph.plane.types import TapItem
from heliograph.protocols.sdp import aac_lengths, parameter_sets

#: Bytes that a rendition's packets and frames may take each, and how far back they reach: it is
#: read at once, and from a keyframe on.
RING_BYTES, RING_MS = 8 << 20, 1000
#: A rendition says nothing while its publisher does not: an hour is never.
SILENCE_MS = 3_600_000


class Layers:
    """The layers of one publisher's picture."""

    def __init__(
        self, loop: PlaneLoop, port: RtcPort, session: int, place: int, track: Track, count: int
    ) -> None:
        """``place``: of the track in the answer, ``count``: of its layers."""
        self.track = track
        """The picture, as the publisher described it."""
        self.count = count
        """How many there may be."""
        self._loop = loop
        self._port = port
        self._session = session
        self._place = place

    def open(self, below: int, ready: Callable[[], None], capacity: int) -> Lower:
        """The rendition so many places below the best, of those that come; ``ready`` is called
        when there is something to read. Raises ``KeyError`` when the publisher has gone."""
        lower = Lower(self._loop, self.track, ready, capacity)
        try:
            self._port.attach_lower(self._session, lower.input, self._place, self.track.id, below)
        except BaseException:
            lower.close()
            raise
        return lower

    def ask(self, channel: int) -> None:
        """Ask for a keyframe of a plane channel's picture: the publisher's or a rendition's."""
        self._loop.plane.want_keyframe(channel, self.track.id)


class Lower:
    """A rendition below the best, as access units; made by ``Layers.open``."""

    def __init__(
        self, loop: PlaneLoop, track: Track, ready: Callable[[], None], capacity: int
    ) -> None:
        self._loop = loop
        plane = loop.plane
        self.channel = plane.open_channel(
            depth_ms=RING_MS, max_bytes=RING_BYTES, silence_ms=SILENCE_MS
        )
        """The plane channel."""
        loop.on_channel(self.channel, lambda event: None)
        spec = TrackSpec.of(track, parameter_sets(track), aac_lengths(track))
        self.input = plane.add_input(plane.add_source(self.channel, 0, [spec]))
        """The way in."""
        self._tap = plane.add_tap(self.channel, [track.id], frames=True, capacity=capacity)

        def on_reader(event: ReaderClosed | TapReady) -> None:
            if isinstance(event, TapReady):
                ready()

        loop.on_reader(self._tap, on_reader)
        plane.start_reader(self._tap)

    def read(self) -> tuple[Sequence[TapItem], int]:
        """What came since the last time, and how many units were lost as nobody read."""
        items, lost = self._loop.plane.read_tap(self._tap)
        return [TapItem(*item) for item in items], lost

    def close(self) -> None:
        """It is wanted no more; harmless twice."""
        self._loop.forget_channel(self.channel)
        self._loop.forget_reader(self._tap)
        self._loop.plane.remove_reader(self._tap)
        self._loop.plane.close_channel(self.channel)
