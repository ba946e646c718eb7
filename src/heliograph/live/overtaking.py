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

import structlog

from heliograph.bus import Bus
from heliograph.model.errors import HelioError

log = structlog.get_logger(__name__)

OVERTAKE = "channel.overtake"
"""The bus's method by which a channel goes on above an epoch."""

#: Seconds that an epoch must be ahead of the one that is announced before anybody asks: media come
#: sooner than what is announced of them.
PATIENCE = 2.0
#: Seconds between two requests at most; they are doubled from the first on.
MOST_PAUSE = 30.0


class Overtaking:
    """Of one node."""

    def __init__(
        self, bus: Bus, ahead: Callable[[str], tuple[str, str, int] | None], counters: Counter[str]
    ) -> None:
        """``ahead``: of a channel's name the node at which it enters, its home and the epoch that
        is here; None as long as that is not above the entrance's. ``counters``: ``overtakings``
        that were asked for are counted there."""
        self._bus, self._ahead, self._counters = bus, ahead, counters
        self._counters["overtakings"] = 0
        self._asking: dict[str, asyncio.Task[None]] = {}

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
                node, home, epoch = found
                self._counters["overtakings"] += 1
                log.warning("the entrance's epoch is behind", channel=name, node=node, epoch=epoch)
                try:
                    await self._bus.call(node, OVERTAKE, [name, home, epoch])
                except HelioError as error:
                    log.warning("epoch not overtaken", channel=name, error=error.message)
                await asyncio.sleep(pause)
                pause = min(2 * pause, MOST_PAUSE)
        finally:
            del self._asking[name]
