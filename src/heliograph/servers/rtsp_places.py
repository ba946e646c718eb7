"""Where RTSP viewers are served: sent on by a redirect, let in by a ticket.

Players open the address of a redirect (RFC 2326 section 11.3, RFC 7826 section 13.4) like any
other. Its ticket stands for what they showed here, so that the unit asks for nothing. No player is
sent to a unit that does not say first that it is there and has the channel: he would wait for it.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from dataclasses import replace

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heliograph.bus import Bus, Request
from heliograph.bus.wire import Json
from heliograph.live.channel import Channel
from heliograph.live.gate import Decision
from heliograph.live.grants import Grant
from heliograph.live.placing import (
    ANSWER_TIMEOUT,
    ATTEMPTS,
    LAYOUT,
    MAX_AVOIDED,
    Expecting,
    Place,
    Placer,
    elsewhere,
    home_of,
    keep,
    node_rtsp,
    units_with_rtsp,
    unserved,
    until_laid_out,
)
from heliograph.live.registry import Channels
from heliograph.live.tickets import LIFETIME, Ticket, Tickets, sign
from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    NotFoundError,
    UnreachableError,
)
from heliograph.model.nodes import check_node_id

log = structlog.get_logger(__name__)

READY = "rtsp.ready"
"""The bus's method by which a unit says whether it takes viewers of a channel by now."""
#: Seconds until a unit is asked again that does not know yet what the channel carries.
AGAIN = 0.05


class RtspPlaces:
    """What an RTSP server of a cluster asks for its viewers."""

    def __init__(
        self,
        bus: Bus,
        channels: Channels,
        key: Ed25519PrivateKey,
        tickets: Tickets,
        *,
        placer: Placer | None = None,
        mover: Placer | None = None,
        full: Callable[[], bool] = lambda: False,
        seats: Expecting | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``key``: this node's, which signs. ``tickets``: those that come here. ``placer``: without
        one all are served here who come here. ``mover``: says where those go who cannot stay;
        without one they are not told. ``full``: whether this node takes nobody more. ``seats``:
        keeps places here. ``clock``: s since 1970."""
        self.redirects = 0
        """Viewers and publishers sent on since the start."""
        self._bus = bus
        self._channels = channels
        self._key = key
        self._tickets = tickets
        self._placer = placer
        self._mover = mover
        self._full = full
        self._seats = seats
        self._clock = clock
        self._asking: dict[tuple[str, str, str], asyncio.Task[None]] = {}
        """Under way: by unit, channel and its home."""
        self._registration = bus.serve(READY, self._ready)

    def close(self) -> None:
        """Tell nobody more that viewers may come here."""
        self._registration.close()

    @property
    def sends(self) -> bool:
        """Whether viewers may be served elsewhere."""
        return self._placer is not None or (self._mover is not None and self._full())

    def admit(self, channel: Channel, text: str, peer: str) -> Decision | None:
        """What a ticket allows; None where it is not good, and other things may be shown.

        ``BusyError`` where its place is not to be had.
        """
        home = home_of(self._bus, channel)
        try:
            ticket = self._tickets.accept(
                text, channel=channel.name, home=home, holder=peer, now=self._clock()
            )
        except HelioError as error:
            log.info("ticket refused", channel=channel.name, peer=peer, reason=type(error).__name__)
            return None
        id = keep(self._seats, ticket.reservation, channel.name, ticket.index)
        grant = replace(ticket.grant, reservation=id)
        return grant if channel.tracks else _laid_out(channel, grant)

    async def find(self, channel: Channel, grant: Grant, peer: str) -> Grant | str:
        """The address to which a viewer is sent; or, where he is served here, his grant with the
        place that is kept for him. ``BusyError`` at a node without places where no unit has any, or
        none of those that have one takes him; elsewhere only where this one has no media either.
        Units without RTSP are as if they were not there; where all are, he is served here."""
        leaving = self._mover is not None and self._full()
        placer = self._mover if leaving else self._placer
        if placer is None:
            return grant
        return await self._ask(placer, channel, grant, peer, self._bus.node if leaving else "")

    async def next_of(self, channel: Channel, grant: Grant, peer: str) -> str:
        """The address for a viewer who is sent away from here; empty where there is none."""
        if self._mover is None:
            return ""
        found = await self._ask(self._mover, channel, grant, peer, self._bus.node)
        return found if isinstance(found, str) else ""

    def entrance(self, channel: Channel) -> str:
        """The address at which a channel's publishers are to enter in place of this one's; empty
        where there is none."""
        sends = bool(channel.entrance) and self._mover is not None
        where = node_rtsp(self._bus, channel.entrance) if sends else None
        if where is None:
            return ""
        self.redirects += 1
        channel.turned_away += 1
        return _address(where, channel.name)

    async def _ask(
        self, placer: Placer, channel: Channel, grant: Grant, peer: str, origin: str
    ) -> Grant | str:
        units = units_with_rtsp(self._bus)
        if units and not any(units.values()):
            return grant  # no unit would take him, full or not
        avoid = [unit for unit, takes in units.items() if not takes][: MAX_AVOIDED - ATTEMPTS]
        trouble: HelioError | None = None
        for _ in range(ATTEMPTS):
            try:
                place = await placer.place(channel.name, peer=peer, origin=origin, avoid=avoid)
            except HelioError as error:
                log.info("rtsp viewer not placed", channel=channel.name, reason=error.message)
                if isinstance(error, BusyError) and self._seats is None and trouble is None:
                    raise
                break  # there may be room here, which the channel says
            if place is None or place.unit in avoid:
                break
            if place.unit == self._bus.node:
                id = keep(self._seats, place.id, channel.name, place.index)
                return replace(grant, reservation=id)
            if units.get(place.unit) is False:
                avoid.append(place.unit)  # there are more of them than could be told
                continue
            try:
                return await self._sent(place, channel, grant)
            except HelioError as error:
                log.info("unit takes no rtsp viewer", channel=channel.name, unit=place.unit,
                         reason=error.message)  # fmt: skip
                if not elsewhere(error):
                    break
                trouble = error
                avoid.append(place.unit)
        if trouble is not None and (self._seats is None or not channel.tracks):
            raise unserved(trouble, channel)  # nobody counts whom a node without places serves
        return grant

    async def _sent(self, place: Place, channel: Channel, grant: Grant) -> str:
        """The address of a place, at a unit that says that it has the channel."""
        unit, home = check_node_id(place.unit), check_node_id(home_of(self._bus, channel))
        where = node_rtsp(self._bus, unit)
        if where is None:
            raise UnreachableError(f"unit {unit} is not there", subject=unit)
        expires = round(self._clock() + LIFETIME, 3)
        ticket = Ticket(unit, channel.name, home, place.id, expires, grant, place.index)
        text = sign(self._key, ticket)
        await self._until_ready(unit, channel.name, home)
        self.redirects += 1
        return f"{_address(where, channel.name)}?ticket={text}"

    async def _until_ready(self, unit: str, name: str, home: str) -> None:
        """Wait until a unit takes viewers of a channel; all who come meanwhile wait for one answer:
        a rush of viewers must not keep a unit from what else it is told."""
        about = unit, name, home
        asking = self._asking.get(about)
        if asking is None:
            asking = asyncio.get_running_loop().create_task(
                self._look(*about), name=f"rtsp places of {name} at {unit}"
            )
            self._asking[about] = asking
            asking.add_done_callback(functools.partial(self._looked, about))
        await asyncio.shield(asking)

    def _looked(self, about: tuple[str, str, str], asking: asyncio.Task[None]) -> None:
        del self._asking[about]
        if not asking.cancelled():
            asking.exception()  # those who waited for it may have gone

    async def _look(self, unit: str, name: str, home: str) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        said = {"channel": name, "home": home}
        while True:
            left = max(0.0, began + ANSWER_TIMEOUT - loop.time())
            if await self._bus.call(unit, READY, said, left) is not False:
                return
            if loop.time() >= began + LAYOUT:
                raise NotFoundError("the channel is not on air there yet", subject=name)
            await asyncio.sleep(AGAIN)

    async def _ready(self, request: Request) -> Json:
        said = request.value if isinstance(request.value, dict) else {}
        name, home = said.get("channel"), said.get("home")
        if not isinstance(name, str) or not isinstance(home, str):
            raise MalformedError(READY, "no channel and home")
        channel = self._channels.find(name)
        if channel is None or home_of(self._bus, channel) != home:
            raise NotFoundError("no such channel is offered here", subject=name[:80])
        return bool(channel.tracks)


def _address(where: tuple[str, int], name: str) -> str:
    host, port = where
    return f"rtsp://[{host}]:{port}/{name}" if ":" in host else f"rtsp://{host}:{port}/{name}"


async def _laid_out(channel: Channel, grant: Grant) -> Grant:
    """The manager may have told this unit of the channel a moment ago."""
    await until_laid_out(channel)
    return grant
