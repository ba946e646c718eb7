"""The channels that go from a node to its neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from heliograph.live.casts import Casts
from heliograph.live.channel import Channel
from heliograph.live.flows import Outflow
from heliograph.live.links import MeshLink
from heliograph.live.neighbours import ClientJoined, ClientLeft, Event
from heliograph.live.registry import Channels
from heliograph.protocols.mesh import Ended, Hears, Layout, Refused, Subscribe


class Outgoing:
    """Of one node."""

    def __init__(
        self,
        node: str,
        channels: Channels,
        casts: Casts,
        told: Callable[[Event], None],
        wake: Callable[[str], None],
        path: Callable[[str], tuple[str, ...]],
    ) -> None:
        """``told``: the configurator. ``wake``: a channel's media are needed, or are no more.
        ``path``: the way by which a channel comes."""
        self.leaving = False
        """Whether this node is about to go: nobody new is served."""
        self._node = node
        self._channels = channels
        self._casts = casts
        self._told = told
        self._wake = wake
        self._path = path
        self._serving: dict[tuple[MeshLink, int], Outflow] = {}
        """By link and the neighbour's number."""

    @property
    def names(self) -> set[str]:
        """Channels that go to somebody."""
        return {outflow.channel for outflow in self._serving.values()}

    def passes_on(self, channel: str) -> bool:
        """Whether somebody gets its media."""
        flows = self._serving.values()
        return any(outflow.media for outflow in flows if outflow.channel == channel)

    def copies(self) -> Counter[str]:
        """How many times the media of each channel are sent to neighbours."""
        found = Counter(outflow.channel for outflow in self._serving.values() if outflow.media)
        for name in found:
            casts, resting = self._casts.copies(name)
            found[name] += casts - resting
        return found

    def hears(self, link: MeshLink, said: Hears) -> None:
        """A neighbour hears a cast."""
        outflow = self._serving.get((link, said.wire))
        if outflow is not None:
            self._casts.hears(link, outflow.channel, said)

    def link_ended(self, link: MeshLink) -> None:
        """Whoever was served by it is not any more."""
        for at in [at for at in self._serving if at[0] is link]:
            self.stop(*at)

    def channel_closed(self, channel: str, why: str) -> None:
        """It goes to nobody any more."""
        for link, wire in self.to(channel):
            link.say(Ended(wire, why))
            self.stop(link, wire)

    def serve(self, link: MeshLink, asked: Subscribe) -> None:
        """A neighbour asked for a channel: for its media, or only to be told of it."""
        channel = self._channels.find(asked.channel)
        if channel is None or (channel.home or self._node) != asked.home or self.leaving:
            link.say(Refused(asked.wire, "the channel is not here"))
            return
        known = self._serving.get((link, asked.wire))
        outflow = known or Outflow(channel.name)
        self._serving[link, asked.wire] = outflow
        if known is None:
            self.lay_out(link, asked.wire, channel)
        if asked.ready:
            link.serve(asked.wire, channel.plane_channel, asked.after)
        elif outflow.media:
            link.stop(asked.wire)
        outflow.media = asked.ready
        if asked.ready and asked.multicast and asked.multicast == self._casts.port:
            self._casts.join(link, asked.wire, channel.name, channel.plane_channel)
        else:
            self._casts.leave(link, asked.wire, channel.name)
        if known is None:
            self._told(ClientJoined(channel.name, link.node))
        self._wake(channel.name)

    def to(self, channel: str) -> list[tuple[MeshLink, int]]:
        """To whom a channel goes: links, and the neighbours' numbers."""
        return [at for at, outflow in self._serving.items() if outflow.channel == channel]

    def lay_out(self, link: MeshLink, wire: int, channel: Channel) -> None:
        """Tell a neighbour what a channel consists of."""
        path = self._path(channel.name)
        link.say(Layout(wire, channel.tracks, path))

    def stop(self, link: MeshLink, wire: int) -> None:
        """A neighbour gets it no more."""
        outflow = self._serving.pop((link, wire), None)
        if outflow is None:
            return
        link.stop(wire)
        self._casts.leave(link, wire, outflow.channel)
        if not any(other.node == link.node for other, _ in self.to(outflow.channel)):
            self._told(ClientLeft(outflow.channel, link.node))
        self._wake(outflow.channel)
