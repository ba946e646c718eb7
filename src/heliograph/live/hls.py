"""Low-latency HLS of channels, made on demand.

The first request for a channel taps its frames; the last one was half a minute ago, and the tap is
gone. All viewers share the renditions, and what they keep is bounded.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator

import structlog

from heliograph.live.channel import Channel
from heliograph.live.hls_ladder import Ladder
from heliograph.live.hls_output import Output
from heliograph.live.hls_viewers import MAX_PER_ADDRESS, HlsViewers
from heliograph.live.states import State
from heliograph.live.transcoding import Transcodes
from heliograph.model.errors import BusyError, NotFoundError

log = structlog.get_logger(__name__)

#: Outputs at once: a channel has one, and two for a while after its publisher began to send in
#: several layers, or ceased to.
MAX_OUTPUTS = 64
#: Requests that wait at once, of all channels.
MAX_WAITING = 2000

_NAME = re.compile(r"([0-9a-f]{8})(?:-([0-9]))?", re.ASCII)


class _Place:
    """One of the requests that wait."""

    def __init__(self, hls: Hls) -> None:
        self._hls = hls

    def __enter__(self) -> None:
        if self._hls.held >= MAX_WAITING:
            self._hls.counters["hls_refused"] += 1
            raise BusyError("too many requests wait", subject="hls", retry_after=1)
        self._hls.held += 1

    def __exit__(self, *_: object) -> None:
        self._hls.held -= 1


class Hls:
    """The renditions of all channels."""

    def __init__(
        self,
        transcodes: Transcodes | None = None,
        viewers_per_address: int = MAX_PER_ADDRESS,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock``: seconds of any origin."""
        self.transcodes = Transcodes() if transcodes is None else transcodes
        """Makes sound that players take."""
        self.clock = clock
        self.held = 0
        """Requests that wait now."""
        self.counters = Counter(hls_started=0, hls_refused=0, hls_timeouts=0, hls_viewers_refused=0)
        """For the metrics."""
        self.viewers = HlsViewers(viewers_per_address, self.counters, clock=clock)
        """Who watches."""
        self._outputs: dict[str, Output] = {}
        self._newest: dict[str, Output] = {}
        self._closed = False

    def __iter__(self) -> Iterator[Output]:
        return iter(list(self._outputs.values()))

    def __len__(self) -> int:
        return len(self._outputs)

    def open(self, channel: Channel) -> Output:
        """The channel's output, started if there is none.

        Raises ``NotFoundError``, ``IncompatibleError`` or ``BusyError``.
        """
        on_air = channel.state is State.ON_AIR and not channel.closed
        layered = channel.active is not None and channel.active.layers is not None
        found = self._newest.get(channel.name)
        if found is not None and (found.layered == layered or not on_air):
            found.touch()
            return found
        if channel.lately_on_air and not channel.closed:
            raise BusyError(
                f"channel {channel.name!r} has just lost its source",
                subject=channel.name,
                retry_after=1,
            )
        if not on_air:
            raise NotFoundError(f"channel {channel.name!r} is not on air", subject=channel.name)
        if self._closed or len(self._outputs) >= MAX_OUTPUTS:
            self.counters["hls_refused"] += 1
            raise BusyError("too many channels are sent by HLS", subject="hls", retry_after=5)
        output = Ladder(self, channel) if layered else Output(self, channel)
        self._outputs[output.name] = self._newest[channel.name] = output
        self.counters["hls_started"] += 1
        log.info("hls started", channel=channel.name, layered=layered)
        return output

    def find(self, channel: Channel, name: str) -> tuple[Output, int]:
        """The rendition of this name, as its output and its place there; ``NotFoundError`` where it
        was given up."""
        match = _NAME.fullmatch(name)
        found = self._outputs.get(match[1]) if match else None
        place = int(match[2] or 0) if match else 0
        if found is None or found.channel is not channel or not found.has(place):
            raise NotFoundError("this rendition has ended: ask for index.m3u8", subject=name[:80])
        found.touch()
        return found, place

    def forget(self, output: Output) -> None:
        """It ended."""
        self._outputs.pop(output.name, None)
        if self._newest.get(output.channel.name) is output:
            del self._newest[output.channel.name]

    def waiting(self) -> _Place:
        """A place among the requests that wait; ``BusyError`` where there is none."""
        return _Place(self)

    def close(self) -> None:
        """End all."""
        self._closed = True
        self.viewers.close()
        for output in self:
            output.end("server stopping")
