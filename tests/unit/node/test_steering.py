"""Where a node says that viewers are, when it asks for places."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from heliograph.bus.memory import MemoryNetwork
from heliograph.manager import wire
from heliograph.manager.client import Managers, Place
from heliograph.model.nodes import NodeId
from heliograph.node.log_feed import LogFeed
from heliograph.node.settings import Settings
from heliograph.node.steering import Placing, Steering


class Asked(Managers):
    """Notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str, tuple[str, ...]]] = []

    async def join(
        self,
        channel: str,
        *,
        location: str = "",
        origin: str = "",
        at: str = "",
        avoid: Collection[str] = (),
    ) -> Place:
        self.asked.append((channel, location, origin, tuple(avoid)))
        return Place("id", "unit", 0, channel, True)


async def test_viewers_are_where_their_network_is_and_else_near_the_portal() -> None:
    asked = Asked()
    placing = Placing(asked, _region)
    await placing.place("yard", peer="192.0.2.7", origin="one", avoid=["two"])
    await placing.place("yard", peer="2001:db8::1")
    # Without a location of his own it is that of the portal.
    assert asked.asked == [("yard", "eu/de", "one", ("two",)), ("yard", "", "", ())]


async def test_what_a_node_hears_and_cannot_say_is_in_its_metrics() -> None:
    bus = await MemoryNetwork().bus(NodeId("a" * 16))
    feed = LogFeed(bus, "a")
    nothing: Any = None
    there: Any = SimpleNamespace(bus=bus)
    steering = Steering(Settings(), there, nothing, nothing, _region, feed)
    bus.publish(wire.REPORTS, "not understood")
    feed.counters["unpublished"] += 2
    async with asyncio.timeout(30):
        while not steering.counters()["hearing"]["unread"]:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    found = steering.counters()
    assert found["hearing"] == {"reports": 0, "unread": 1, "absent": 0, "restarted": 0}
    assert found["logs"] == {"unpublished": 2, "left_out": 0}
    await steering.close()
    await bus.close()


def _region(client: str) -> str:
    return {"192.0.2.7": "eu/de"}.get(client, "")
