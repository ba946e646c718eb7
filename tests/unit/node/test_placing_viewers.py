"""Portals that ask a manager where viewers go, and units that do not answer them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.manager.site import Unit, site
from tests.unit.manager.waiting import until

from heliograph.bus import Bus
from heliograph.catalogue.rights import Action, Reason
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.live.offers import OfferLimits, Offers
from heliograph.live.options import ChannelOptions
from heliograph.live.placing import SOON
from heliograph.live.registry import Channels
from heliograph.live.remote import Portal, Viewers
from heliograph.live.tickets import Tickets
from heliograph.manager.client import Managers
from heliograph.model.errors import BusyError
from heliograph.model.nodes import node_id
from heliograph.node.steering import Placing
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane
from heliograph.servers.rtsp_places import RtspPlaces

PEER = "192.0.2.7"
PUBLIC = Grant(Action.VIEW, Reason.PUBLIC)


@dataclass
class At:
    """A portal that is no unit, a manager, and the one unit that has the channel."""

    bus: Bus
    managers: Managers
    unit: Unit
    channels: Channels

    @property
    def channel(self) -> Channel:
        return self.channels.get("yard")

    async def by_webrtc(self) -> object:
        viewers = Viewers(self.bus, Offers(OfferLimits()))
        portal = Portal(self.bus, viewers, Placing(self.managers, str))
        return await portal.view(None, self.channel, "an offer", peer=PEER, grant=PUBLIC)

    async def by_rtsp(self) -> Grant | str:
        tickets = Tickets(self.bus.node, lambda node: True)
        key, placer = Ed25519PrivateKey.generate(), Placing(self.managers, str)
        places = RtspPlaces(self.bus, self.channels, key, tickets, placer=placer)
        try:
            return await places.find(self.channel, PUBLIC, PEER)
        finally:
            places.close()


@contextlib.asynccontextmanager
async def portal(*, rtsp: bool = True) -> AsyncIterator[At]:
    """``rtsp``: whether the unit takes viewers by it. It answers nobody who asks for one."""
    node = node_id(bytes(32))
    plane = TwinPlane()
    loop = PlaneLoop(plane)
    channels = Channels(loop, configured={"yard": ChannelOptions()})
    loop.start()
    async with site() as made:
        await made.add_manager("left")
        unit = await made.add_unit("one", groups=2, places=4)
        if rtsp:
            unit.bus.announce("node", "one", {"rtsp": {"host": "127.0.0.1", "port": 8554}})
        unit.enter("yard")
        managers = await made.add_portal(node)
        bus, _ = made.buses[node]
        await made.until_active()
        await until(lambda: unit.groups and managers.active())
        await until(lambda: bus.present("unit") and bool(bus.present("node")) == rtsp)
        yield At(bus, managers, unit, channels)
    channels.close()
    loop.stop()
    plane.close()


@pytest.mark.parametrize("way", [At.by_webrtc, At.by_rtsp])
async def test_where_the_only_unit_does_not_answer_viewers_are_told_to_come_again_soon(way) -> None:
    async with portal() as at:
        with pytest.raises(BusyError) as refused:
            await way(at)
        assert (refused.value.subject, refused.value.retry_after) == ("units", SOON)
        assert at.managers.counters["asked"] == 2  # and there was no other


@pytest.mark.parametrize("way", [At.by_webrtc, At.by_rtsp])
async def test_where_all_units_are_full_viewers_are_told_so(way) -> None:
    async with portal() as at:
        for _ in range(8):
            await at.managers.join("yard")
        with pytest.raises(BusyError) as refused:
            await way(at)
        assert refused.value.subject == "places"
        assert at.managers.counters["asked"] == 9


async def test_where_no_unit_has_rtsp_its_viewers_are_served_by_the_portal() -> None:
    async with portal(rtsp=False) as at:
        assert await at.by_rtsp() == PUBLIC
        assert at.managers.counters["asked"] == 0  # no place is kept for nobody
