"""By which of several links to the same neighbour a channel comes.

Each neighbour has a main link, of the kind that the node is set to; the configurator knows of that
alone. A channel that is to go another way (``ChannelOptions.connection``) gets a link of that kind
beside it, as long as the main one stands, and goes by the main one until it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set

from heliograph.live.connections.compose import LinkKind
from heliograph.live.links import Links, MeshLink
from heliograph.live.registry import Channels

#: Seconds until a link beside the main one that was not reached or has ended is tried again.
RETRY = 10.0


class Ways:
    """Of one node."""

    def __init__(self, links: Links, channels: Channels) -> None:
        self._links = links
        self._channels = channels
        self._held: dict[tuple[str, LinkKind], float] = {}
        """Links that are not to be tried before."""

    def best(self, channel: str, node: str) -> MeshLink | None:
        """The link by which a channel is to come from a neighbour now; None: none stands."""
        main = self._links.to(node)
        if main is None or not main.up:
            return None
        found = self._channels.find(channel)
        kind = main.kind if found is None else found.options.connection.link(main.kind)
        if kind == main.kind:
            return main
        beside = self._links.to(node, kind)
        if beside is not None:
            return beside if beside.up else main
        now = asyncio.get_running_loop().time()
        if now >= self._held.get((node, kind), 0.0):
            self._held[node, kind] = now + RETRY
            self._links.open(node, kind)
        return main

    def ended(self, link: MeshLink) -> None:
        """One beside the main one has ended."""
        self._held[link.node, link.kind] = asyncio.get_running_loop().time() + RETRY

    def tick(self, used: Set[MeshLink]) -> None:
        """End links beside main ones by which nothing comes, or whose main one is gone."""
        for link in self._links:
            if link.ours and not link.main and link.up and link not in used:
                self._links.end(link, "not needed")
        now = asyncio.get_running_loop().time()
        self._held = {way: until for way, until in self._held.items() if until > now}
