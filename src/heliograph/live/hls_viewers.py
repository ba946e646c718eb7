"""Who watches by HLS: requests without a connection become readers that take a place.

A viewer enters with the multivariant playlist, which names it in the media playlist's address, is
there as long as it asks for that one, and has left when it did not for a while.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Callable

from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.model.addresses import stranger_of
from heliograph.model.errors import ForbiddenError, NotFoundError, TooManyError

#: Seconds without a request after which a viewer has left: several target durations, so that one
#: who plays what it has buffered is not taken for gone.
GONE = 15.0
#: Seconds between looks for those who left.
LOOK = 2.0
#: Viewers of one address: a school behind one, and a bound for who asks by name after name.
MAX_PER_ADDRESS = 256
#: Viewers that were sent away and are remembered; the oldest are forgotten.
MAX_KICKED = 1000

_NAME = re.compile(r"[A-Za-z0-9_-]{16,32}", re.ASCII)


class HlsViewer(ReaderHooks):
    """One player."""

    def __init__(self, viewers: HlsViewers, name: str, now: float) -> None:
        self.name = name
        """Names it in its playlist's address."""
        self.seen = now
        """When it asked last, seconds."""
        self.network = ""
        """Whose viewers it counts with; empty: it is not counted."""
        self.reader: Reader
        self._viewers = viewers

    def closed(self, reason: str) -> None:
        self._viewers.dismissed(self, reason)


class HlsViewers:
    """The viewers of all channels; ``look`` is to be called every ``LOOK`` seconds."""

    def __init__(
        self,
        most: int = MAX_PER_ADDRESS,
        counters: Counter[str] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``most``: viewers of one address. ``counters`` takes what is counted. ``clock``: seconds
        of any origin."""
        self._most = most
        self._counters = Counter() if counters is None else counters
        self._networks: Counter[str] = Counter()
        """Viewers of each address, over all channels."""
        self._clock = clock
        self._viewers: dict[tuple[str, str], HlsViewer] = {}
        self._kicked: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._at: dict[tuple[str, str], HlsViewer] = {}
        """Of each channel and address, who asked for a playlist last."""
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._viewers)

    def enter(
        self, channel: Channel, *, peer: str, grant: Grant, agent: str = "", name: str = ""
    ) -> str:
        """Take a viewer whom the gate let in, new or known by ``name``; its name.

        Raises as ``Audience.check`` does, ``NotFoundError`` for a name that cannot be one of
        ours, ``ForbiddenError`` for one who was sent away, ``TooManyError`` for a new one above
        the bound of its address: who watches already goes on, and places become free when others
        have not asked for ``GONE`` seconds.
        """
        now = self._clock()
        if name and not _NAME.fullmatch(name):
            raise NotFoundError("no such viewer: ask for index.m3u8", subject=name[:80])
        key = channel.name, name
        if key in self._kicked:
            raise ForbiddenError("you were sent away from this channel", subject=channel.name)
        known = self._viewers.get(key)
        if known is not None and known.reader.channel is channel:
            known.seen = now
            self._at[channel.name, known.reader.peer] = known
            return name
        network = stranger_of(peer)
        if network and self._networks[network] >= self._most:
            self._counters["hls_viewers_refused"] += 1
            raise TooManyError(
                f"{network} has {self._most} viewers by HLS already",
                subject="viewers",
                retry_after=round(GONE),
            )
        channel.audience.check(peer, grant=grant)
        viewer = HlsViewer(self, name or secrets.token_urlsafe(16), now)
        viewer.reader = channel.audience.add_hls(peer=peer, hooks=viewer, grant=grant, agent=agent)
        if network:
            viewer.network = network
            self._networks[network] += 1
        self._viewers[channel.name, viewer.name] = self._at[channel.name, peer] = viewer
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK, self._tick)
        return viewer.name

    def sent(self, channel: str, peer: str, size: int) -> None:
        """Count bytes of media. Their addresses are the same for all viewers, so that of several
        at one address they count for who asked last."""
        viewer = self._at.get((channel, peer))
        if viewer is not None:
            viewer.reader.sent_bytes += size

    def dismissed(self, viewer: HlsViewer, reason: str) -> None:
        """The channel ended a viewer."""
        key = viewer.reader.channel.name, viewer.name
        self._viewers.pop(key, None)
        self._forget(viewer)
        if reason == "kicked":
            self._kicked[key] = None
            if len(self._kicked) > MAX_KICKED:
                self._kicked.popitem(last=False)

    def look(self) -> None:
        """Let those go who did not ask for a while."""
        now = self._clock()
        for key, viewer in list(self._viewers.items()):
            if now - viewer.seen > GONE:
                del self._viewers[key]
                viewer.reader.remove()
                self._forget(viewer)

    def _forget(self, viewer: HlsViewer) -> None:
        """It counts no more; harmless twice."""
        network, viewer.network = viewer.network, ""
        if network:
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]
        place = viewer.reader.channel.name, viewer.reader.peer
        if self._at.get(place) is viewer:
            del self._at[place]

    def _tick(self) -> None:
        self.look()
        again = asyncio.get_running_loop().call_later(LOOK, self._tick) if self._viewers else None
        self._timer = again

    def close(self) -> None:
        """Let all go."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for viewer in list(self._viewers.values()):
            viewer.reader.remove()
            self._forget(viewer)
        self._viewers.clear()
        self._at.clear()
