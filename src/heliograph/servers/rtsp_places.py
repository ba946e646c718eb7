"""Where RTSP viewers are served: sent on by a redirect, let in by a ticket.

Players open the address of a redirect (RFC 2326 section 11.3, RFC 7826 section 13.4) like any
other. Its ticket stands for what they showed here, so that the unit asks for nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heliograph.bus import Bus
from heliograph.live.channel import Channel
from heliograph.live.gate import Decision
from heliograph.live.grants import Grant
from heliograph.live.placing import (
    Expecting,
    Placer,
    home_of,
    keep,
    node_rtsp,
    until_laid_out,
)
from heliograph.live.tickets import LIFETIME, Ticket, Tickets, sign
from heliograph.model.errors import BusyError, HelioError
from heliograph.model.nodes import check_node_id

log = structlog.get_logger(__name__)


class RtspPlaces:
    """What an RTSP server of a cluster asks for its viewers."""

    def __init__(
        self,
        bus: Bus,
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
        self._key = key
        self._tickets = tickets
        self._placer = placer
        self._mover = mover
        self._full = full
        self._seats = seats
        self._clock = clock

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
        place that is kept for him. ``BusyError`` at a node without places where no unit has any."""
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
        try:
            place = await placer.place(channel.name, peer=peer, origin=origin)
            if place is None:
                return grant
            if place.unit == self._bus.node:
                id = keep(self._seats, place.id, channel.name, place.index)
                return replace(grant, reservation=id)
            unit = check_node_id(place.unit)
            where = node_rtsp(self._bus, unit)
            if where is None:
                return grant
            ticket = Ticket(
                unit,
                channel.name,
                check_node_id(home_of(self._bus, channel)),
                place.id,
                round(self._clock() + LIFETIME, 3),
                grant,
                place.index,
            )
            text = sign(self._key, ticket)
        except HelioError as error:
            log.info("rtsp viewer not placed", channel=channel.name, reason=error.message)
            if isinstance(error, BusyError) and self._seats is None:
                raise
            return grant  # there may be room here, which the channel says
        self.redirects += 1
        return f"{_address(where, channel.name)}?ticket={text}"


def _address(where: tuple[str, int], name: str) -> str:
    host, port = where
    return f"rtsp://[{host}]:{port}/{name}" if ":" in host else f"rtsp://{host}:{port}/{name}"


async def _laid_out(channel: Channel, grant: Grant) -> Grant:
    """The manager may have told this unit of the channel a moment ago."""
    await until_laid_out(channel)
    return grant
