"""Nodes that take viewers from a portal, over a bus in memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.live.offers import OfferLimits
from heliograph.live.options import ChannelOptions
from heliograph.live.publish import PublishKind
from heliograph.live.registry import Channels
from heliograph.live.remote import Unit
from heliograph.live.transcoding import Transcodes
from heliograph.live.webrtc import Rtc
from heliograph.model.errors import HelioError
from heliograph.model.nodes import NodeId, node_id
from heliograph.plane import PlaneLoop, open_plane

from .mesh_site import VIDEO

PORTAL, UNIT, THIRD = (node_id(bytes([n]) * 32) for n in range(3))


@dataclass
class Place:
    unit: str
    id: str = ""
    index: int = 0


@dataclass
class Seats:
    """Notes who is expected."""

    expected: list[tuple[str, str, int | None]] = field(default_factory=list)
    error: HelioError | None = None

    def expect(self, id: str, channel: str, expires: float, index: int | None = None) -> None:
        if self.error is not None:
            raise self.error
        self.expected.append((id, channel, index))


class Placer:
    """Names places one after the other."""

    def __init__(self, *places: Place | HelioError | None) -> None:
        self.places = list(places)
        self.asked: list[tuple[str, str, str]] = []
        self.avoided: list[tuple[str, ...]] = []

    async def place(
        self, channel: str, *, peer: str, origin: str = "", avoid: Collection[str] = ()
    ) -> Place | None:
        self.asked.append((channel, peer, origin))
        self.avoided.append(tuple(avoid))
        found = self.places.pop(0)
        if isinstance(found, HelioError):
            raise found
        return found


class Node:
    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.plane = open_plane(1)
        self.loop = PlaneLoop(self.plane)
        self.channels = Channels(self.loop)
        port = self.plane.rtc_open("127.0.0.1:0", ["127.0.0.1:0"])
        self.rtc = Rtc(self.loop, port, Transcodes(most=0), OfferLimits())
        self.seats = Seats()

    async def start(self, network: MemoryNetwork, keeper: str, home: str = "") -> None:
        """``home``: of the channel, where its keeper is not all that has it."""
        self.loop.start()
        self.link = network.link()
        self.bus = Bus(self.node, self.link)
        await self.bus.start()
        self.unit = Unit(self.bus, self.channels, self.rtc, self.seats)
        kept = "" if keeper == self.node else keeper
        self.channel = self.channels.create("demo", ChannelOptions(), keeper=kept, home=home)

    def publish(self) -> None:
        self.channel.publish((VIDEO,), PublishKind.PUSH, "127.0.0.1")

    async def stop(self) -> None:
        await self.bus.close()
        self.rtc.close()
        self.channels.close()
        self.loop.stop()
        self.plane.close()
