"""Channels whose packets are refused because others of a later epoch came before them.

A node at which a channel entered and that was frozen, or cut off, may number a few packets more
before it learns that the channel enters elsewhere by now: in an epoch above the one of there. Who
has one of these takes nothing that comes from the entrance. Whoever sees that for a while asks the
entrance to go on in an epoch above.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from heliograph.bus import Bus
from heliograph.bus.wire import Json
from heliograph.model.errors import HelioError, MalformedError

log = structlog.get_logger(__name__)

OVERTAKE = "channel.overtake"
"""The bus's method by which a channel goes on above an epoch."""

#: Seconds that an epoch must be ahead of the one that is announced before anybody asks: media come
#: sooner than what is announced of them.
PATIENCE = 2.0
#: Tracks that numbers are told of.
MOST_TRACKS = 256
#: Seconds between two requests at most; they are doubled from the first on.
MOST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far a channel is, at a node that takes nothing of where it enters."""

    name: str
    home: str
    epoch: int
    """32 bits."""
    numbers: tuple[tuple[int, int], ...] = ()
    """(track, newest number) in that epoch: players drop what has a number they saw."""

    @classmethod
    def read(cls, value: Json) -> Ahead:
        """``[name, home, epoch, [[track, number], …]]``; ``MalformedError``."""
        if not isinstance(value, list) or len(value) != 4:
            raise MalformedError(OVERTAKE, "no name, home, epoch and numbers")
        name, home, epoch, numbers = value
        if not isinstance(name, str) or not isinstance(home, str):
            raise MalformedError(OVERTAKE, "name and home are texts")
        if not _whole(epoch, 1 << 32):
            raise MalformedError(OVERTAKE, f"no epoch: {epoch!r:.20}")
        if not isinstance(numbers, list) or len(numbers) > MOST_TRACKS:
            raise MalformedError(OVERTAKE, f"not up to {MOST_TRACKS} numbers")
        for one in numbers:
            pair = isinstance(one, list) and len(one) == 2
            if not pair or not _whole(one[0], 1 << 8) or not _whole(one[1], 1 << 48):
                raise MalformedError(OVERTAKE, f"no track and number: {one!r:.40}")
        return cls(name, home, epoch, tuple((track, number) for track, number in numbers))

    def write(self) -> Json:
        """What ``read`` reads."""
        return [self.name, self.home, self.epoch, [[*one] for one in self.numbers]]


def _whole(value: object, bound: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < bound


class Overtaking:
    """Of one node."""

    def __init__(
        self, bus: Bus, ahead: Callable[[str], tuple[str, Ahead] | None], counters: Counter[str]
    ) -> None:
        """``ahead``: of a channel's name the node at which it enters, and how far it is here; None
        as long as that is not above the entrance's epoch. ``counters``: ``overtakings``
        that were asked for are counted there."""
        self._bus, self._ahead, self._counters = bus, ahead, counters
        self._counters["overtakings"] = 0
        self._asking: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        """Channels that are watched for it just now."""
        return len(self._asking)

    def look(self, name: str) -> None:
        """What is known of a channel has changed."""
        if name not in self._asking and self._ahead(name) is not None:
            self._asking[name] = asyncio.get_running_loop().create_task(
                self._ask(name), name=f"epoch of {name}"
            )

    async def close(self) -> None:
        """Ask no more."""
        for task in (asking := list(self._asking.values())):
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    async def _ask(self, name: str) -> None:
        pause = PATIENCE
        try:
            await asyncio.sleep(pause)
            while (found := self._ahead(name)) is not None:
                node, here = found
                self._counters["overtakings"] += 1
                log.warning(
                    "the entrance's epoch is behind", channel=name, node=node, epoch=here.epoch
                )
                try:
                    await self._bus.call(node, OVERTAKE, here.write())
                except HelioError as error:
                    log.warning("epoch not overtaken", channel=name, error=error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_PAUSE)
        finally:
            del self._asking[name]
