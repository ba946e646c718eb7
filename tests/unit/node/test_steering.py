"""Where a node says that viewers are, when it asks for places."""

from __future__ import annotations

from collections.abc import Collection

from heliograph.manager.client import Managers, Place
from heliograph.node.steering import Placing


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


def _region(client: str) -> str:
    return {"192.0.2.7": "eu/de"}.get(client, "")
