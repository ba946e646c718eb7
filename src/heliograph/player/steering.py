"""Flow control applied: levels in, requests to one server out, one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from heliograph.model.errors import HelioError
from heliograph.player.control import Uncontrolled
from heliograph.player.flow import (
    DEFAULT_MARKS,
    MultiThreshold,
    PauseResume,
    Rate,
    Spacing,
    watermarks,
)
from heliograph.player.synchrony import common_target

#: Outermost watermarks as shares of the buffer: what is left is for a round trip and for bursts.
LOW, HIGH = 0.15, 0.85
#: What servers are asked for beside the usual rate.
LEAST, MOST = 0.5, 2.0
#: The rate at which a server sends between pauses.
PAUSING_RATE = 1.5
#: Seconds between requests to one server at least, whatever the level does.
CALM = 0.25
#: The same after no node was there to take the request.
UNCONTROLLED_CALM = 2.0


class FlowKind(StrEnum):
    """How servers are steered."""

    RATE = "rate"
    """Δp: other rates, by several watermarks."""
    PAUSE = "pause"
    """Pause and resume, by two."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class FlowOptions:
    """How to steer."""

    kind: FlowKind = FlowKind.RATE
    marks: int = DEFAULT_MARKS
    """Watermarks, for Δp."""
    spacing: Spacing = Spacing.LINEAR


class Steered(Protocol):
    """What is steered; see ``network.Feed``."""

    @property
    def live(self) -> bool: ...

    @property
    def paused(self) -> bool: ...

    async def pause(self) -> None: ...

    async def resume(self, *, speed: float | None = None) -> None: ...

    async def change_speed(self, factor: float) -> bool: ...


class Steering:
    """Steers the server of one feed."""

    def __init__(self, feed: Steered, capacity: float, options: FlowOptions) -> None:
        """``capacity``: seconds of its buffers."""
        self._feed = feed
        self.capacity = capacity
        self.kind = FlowKind.NONE if feed.live else options.kind
        """What is done; becomes ``NONE`` where the server does not do it."""
        low, high = LOW * capacity, HIGH * capacity
        self.marks: tuple[float, ...] = ()
        """Watermarks, in seconds."""
        self.rate = 1.0
        """Factor asked for last; 0 is a pause."""
        self.requests = 0
        """Requests made."""
        self.reason = ""
        """Why the server is not steered."""
        self._task: asyncio.Task[None] | None = None
        self._last = 0.0
        self._held = False
        self._pausing: PauseResume | None = None
        self._marking: MultiThreshold | None = None
        if self.kind is FlowKind.PAUSE:
            self._pausing = PauseResume(low, high, PAUSING_RATE)
            self.marks = self._pausing.marks
        elif self.kind is FlowKind.RATE:
            self.marks = watermarks(low, high, options.marks, options.spacing)
            self._marking = MultiThreshold(self.marks, window=capacity / 2, least=LEAST, most=MOST)
        self._first = True

    def report(self, level: float, levels: Sequence[float], now: float) -> None:
        """The buffer holds ``level`` seconds, and those of all feeds ``levels``."""
        if self._task is not None and self._task.done():
            task, self._task = self._task, None
            if not task.cancelled() and (error := task.exception()) is not None:
                if not isinstance(error, HelioError):
                    raise error
                self._failed(error, now)
        if self._task is not None or self._held or now - self._last < CALM:
            return
        made = self._decide(level, levels)
        if made is not None and made.rate != self.rate:
            self._last = now
            self.requests += 1
            self._task = asyncio.create_task(self._apply(made.rate), name="flow control")

    def _decide(self, level: float, levels: Sequence[float]) -> Rate | None:
        if self._pausing is not None:
            if self._first:
                self._first = False
                return Rate(PAUSING_RATE, level, 0)
            return self._pausing.decide(level)
        if self._marking is not None:
            if len(levels) > 1:  # tight synchrony: all buffers at about the same level
                self._marking.target = common_target(
                    levels, self.capacity * 0.4, self.capacity * 0.6
                )
            return self._marking.decide(level, 1.0)
        return None

    async def _apply(self, rate: float) -> None:
        feed = self._feed
        if rate == 0.0:
            await feed.pause()
        elif feed.paused:
            await feed.resume(speed=rate)
        elif not await feed.change_speed(rate):
            if self._marking is not None:
                self._give_up("the server sends at its own rate")
                return
            rate = 1.0  # a server that sends between pauses at the usual rate
        self.rate = rate

    def _failed(self, error: HelioError, now: float) -> None:
        if isinstance(error, Uncontrolled):  # it goes on at the rate it has; another may take over
            self.forget(rate=self.rate)
            self._last = now + UNCONTROLLED_CALM
        else:
            self._give_up(error.message)

    def _give_up(self, reason: str) -> None:
        self.kind, self.reason = FlowKind.NONE, reason
        self._pausing = self._marking = None

    async def hold(self) -> None:
        """The viewer pauses: so does the server."""
        self._held = True
        await self._settle()
        if not self._feed.paused:
            await self._feed.pause()

    async def release(self) -> None:
        """The viewer goes on."""
        if self._feed.paused:
            await self._feed.resume()
        self.rate = 1.0
        self.forget()
        self._held = False

    def forget(self, rate: float = 1.0) -> None:
        """Decide anew: after a seek or a pause. ``rate``: what the server does then."""
        if self._marking is not None:
            self._marking.forget()
        if self._pausing is not None:
            self._pausing.paused = False
        self._first = True
        self.rate = rate

    async def _settle(self) -> None:
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def close(self) -> None:
        """Cancel what is under way."""
        if self._task is not None:
            self._task.cancel()
        await self._settle()
