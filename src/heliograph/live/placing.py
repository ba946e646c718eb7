"""Where a viewer is served: what a portal asks, and what it does with the answer.

Who decides is not known here: a ``Placer`` is given from above, and without one everybody is served
by the node that was asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Protocol

from heliograph.bus import Bus
from heliograph.live.channel import Channel
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    NotFoundError,
    RemoteError,
    TooManyError,
    WrongStateError,
)

#: Seconds for which a place is kept from the moment in which the unit hears of it.
KEPT = 10.0
#: Reason of viewers and publishers that are to come to another unit: pages come again by
#: themselves, and RTSP viewers are told where.
MOVED = "moved"
#: Seconds after which somebody asks again for whom no unit answered that has places: those that
#: are gone are known as such by then.
SOON = 1
#: Units that are tried for one viewer.
ATTEMPTS = 2
#: Units that a viewer may be kept from at once.
MAX_AVOIDED = 8
#: Seconds that who knows the places has to name one, each time.
PATIENCE = 0.5
#: Seconds that a unit has to say that it takes a viewer: it takes a millisecond, or waits a little
#: for the layout. A unit that froze holds him up for as long.
ANSWER_TIMEOUT = 1.2
#: Seconds that a unit waits for the layout of a channel that it has just been told to take.
LAYOUT = 0.8


class Place(Protocol):
    """Where somebody is to be served."""

    @property
    def id(self) -> str:
        """Of the place kept for him; empty: none is."""
        ...

    @property
    def unit(self) -> str:
        """The node."""
        ...

    @property
    def index(self) -> int:
        """Of the group that the place is in."""
        ...


class Placer(Protocol):
    """Says where viewers are served."""

    async def place(
        self, channel: str, *, peer: str, origin: str = "", avoid: Collection[str] = ()
    ) -> Place | None:
        """The unit that serves a viewer best; None: the node that asks.

        ``peer``: his numeric address. ``origin``: the unit he was sent away from, or that died
        under him: places may be held for its viewers. ``avoid``: those that took him not, or gave
        no answer, a moment ago. ``BusyError`` where there is no room at all.
        """
        ...


class Expecting(Protocol):
    """Keeps places at this node for those who are on their way: ``seats.Seats``."""

    def expect(self, id: str, channel: str, expires: float, index: int | None = None) -> None:
        """Keep place ``id``, in group ``index`` if it can be, until ``expires`` by ``time.time``.

        ``ConflictError``: somebody took it before; ``NotFoundError``: it is kept no more.
        """
        ...


def keep(seats: Expecting | None, id: str, channel: str, index: int) -> str:
    """Keep a place here; the id to show for it, empty where there is none to be had by it."""
    if seats is None or not id:
        return ""
    try:
        seats.expect(id, channel, time.time() + KEPT, index)
    except (ConflictError, NotFoundError):
        return ""  # he may still find a free one
    return id


def home_of(bus: Bus, channel: Channel) -> str:
    """Which channel of its name one of this node is, as all nodes understand it."""
    return channel.home or bus.node


async def until_laid_out(channel: Channel, timeout: float = LAYOUT) -> None:
    """Wait a little until it is known what a channel carries."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout
    while not channel.tracks and loop.time() < end:  # noqa: ASYNC110 - nobody tells of the layout
        await asyncio.sleep(0.02)


def elsewhere(error: HelioError) -> bool:
    """Whether somebody whom one unit refused so may be served by another."""
    if isinstance(error, TooManyError):
        return False
    return isinstance(error, BusyError | RemoteError | NotFoundError | WrongStateError)


def unserved(trouble: HelioError, channel: Channel) -> HelioError:
    """What a viewer is told whom no unit took: to come again soon, unless nothing is on air.

    ``trouble``: what the first or the last of them said, or that it said nothing.
    """
    if isinstance(trouble, BusyError) and trouble.retry_after is not None:
        return trouble
    if isinstance(trouble, NotFoundError) and not channel.on_air:
        return trouble
    return BusyError(
        f"no unit takes viewers of channel {channel.name!r} just now",
        subject="units",
        retry_after=SOON,
    )


def node_rtsp(bus: Bus, unit: str) -> tuple[str, int] | None:
    """Where a node takes RTSP viewers, as it announces; None where it does not.

    It stands in the value of its name of kind ``node`` or ``unit``:
    ``{"rtsp": {"host": …, "port": …}}``.
    """
    for kind in ("unit", "node"):
        for (node, _), value in bus.present(kind).items():
            where = _rtsp(value) if node == unit else None
            if where is not None:
                return where
    return None


def units_with_rtsp(bus: Bus) -> dict[str, bool]:
    """The units that are there, and whether each takes RTSP viewers."""
    units: dict[str, bool] = {
        node: _rtsp(value) is not None for (node, _), value in bus.present("unit").items()
    }
    for (node, _), value in bus.present("node").items():
        if units.get(node) is False:
            units[node] = _rtsp(value) is not None
    return units


def _rtsp(value: object) -> tuple[str, int] | None:
    found = value.get("rtsp") if isinstance(value, dict) else None
    host, port = (found.get("host"), found.get("port")) if isinstance(found, dict) else ("", 0)
    if isinstance(host, str) and host and isinstance(port, int) and 0 < port < 65_536:
        return host, port
    return None
