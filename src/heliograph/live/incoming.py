"""The channels that come to a node from its neighbours.

Each has one source at the plane with an input for each neighbour that sends it: the same packet by
two ways is relayed once. Media are asked for while somebody needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

import structlog

from heliograph.live.casts import Casts
from heliograph.live.flows import Feed, Inflow
from heliograph.live.links import Links, MeshLink
from heliograph.live.neighbours import Delivering, Denied, Event
from heliograph.live.publish import PublishKind
from heliograph.live.registry import Channels
from heliograph.live.ways import Ways
from heliograph.model.media import Track
from heliograph.protocols.mesh import Mark, Subscribe, Unsubscribe

log = structlog.get_logger(__name__)

#: Seconds that media still come after the last who watched here has gone: somebody who changes
#: the way or loads the page anew is back by then.
LINGER = 10.0


class Incoming:
    """Of one node."""

    def __init__(
        self,
        node: str,
        channels: Channels,
        links: Links,
        told: Callable[[Event], None],
        passed_on: Callable[[str], bool],
    ) -> None:
        """``told``: the configurator. ``passed_on``: whether a neighbour gets a channel's media."""
        self.casts = Casts(links, channels, self._fall_back)
        self._node = node
        self._channels = channels
        self._told = told
        self._passed_on = passed_on
        self._ways = Ways(links, channels)
        self._feeds: dict[str, Feed] = {}

    @property
    def names(self) -> Iterable[str]:
        """Channels that come, or came."""
        return self._feeds.keys()

    def close(self) -> None:
        """End all."""
        for channel in list(self._feeds):
            self.drop(channel, "server stopping")
        self.casts.close()

    def drop(self, channel: str, reason: str) -> None:
        """A channel comes no more."""
        self._drop_source(channel, reason)
        self._feeds.pop(channel, None)

    def tick(self) -> bool:
        """Do what is due; whether more will be soon."""
        waits = False
        for name, feed in list(self._feeds.items()):
            self._look_for_media(name, feed)
            self._change_ways(name, feed)
            undelivered = feed.awake and not all(one.delivering for one in feed.every())
            waits = waits or undelivered or bool(feed.moving) or feed.asleep_at is not None
            if feed.asleep_at is not None and feed.asleep_at <= now():
                self._fall_asleep(name, feed)
        self.casts.tick()
        self._ways.tick({inflow.link for feed in self._feeds.values() for inflow in feed.every()})
        return waits

    # links

    def link_ended(self, link: MeshLink) -> None:
        """What came by it comes no more, or by the neighbour's main link."""
        if link.main:
            for feed in self._feeds.values():
                self._end_inflows(feed, link.node)
        elif link.ours:
            self._ways.ended(link)
            for name, feed in self._feeds.items():
                self._do_without(name, feed, link)

    def _do_without(self, name: str, feed: Feed, link: MeshLink) -> None:
        """A link beside the main one has ended: that one carries the channel."""
        for table in (feed.moving, feed.inflows):
            inflow = table.get(link.node)
            if inflow is not None and inflow.link is link:
                del table[link.node]
                self._end_inflow(feed, inflow)
                if table is feed.inflows:
                    self.subscribe(name, link.node)

    def _change_ways(self, name: str, feed: Feed) -> None:
        """Let the channel come by the kind of link that it is to, make before break."""
        for node, inflow in list(feed.inflows.items()):
            fresh = feed.moving.get(node)
            best = self._ways.best(name, node)
            if fresh is None and best is not None and best is not inflow.link:
                feed.moving[node] = self._begin_inflow(name, feed, best)
            elif fresh is not None and (fresh.delivering or not feed.awake):
                feed.inflows[node] = feed.moving.pop(node)
                self._end_inflow(feed, inflow)

    # subscriptions

    def subscribe(self, channel: str, node: str) -> None:
        """Ask a neighbour for a channel."""
        link = self._ways.best(channel, node)
        if link is None:
            return  # it has just ended; the configurator is told of that
        feed = self._feeds.setdefault(channel, Feed())
        feed.inflows[node] = self._begin_inflow(channel, feed, link)

    def unsubscribe(self, channel: str, node: str) -> None:
        """Let it send the channel no more."""
        feed = self._feeds.get(channel)
        if feed is not None:
            self._end_inflows(feed, node)

    def wake(self, channel: str) -> None:
        """Somebody needs the media of a channel, or does no more."""
        feed = self._feeds.get(channel)
        if feed is None:
            return
        found = self._channels.find(channel)
        needed = (found is not None and bool(found.audience.readers)) or self._passed_on(channel)
        if not needed:
            if feed.awake and feed.asleep_at is None:
                feed.asleep_at = now() + LINGER
            return
        feed.asleep_at = None
        if not feed.awake:
            feed.awake = True
            for inflow in feed.every():
                if inflow.input is not None:
                    self._ask_for(channel, feed, inflow)

    def changed(self, channel: str) -> None:
        """It is known otherwise: where it may go by casts now, or may no more, it is asked for so.
        Another kind of link is looked for by ``tick``."""
        feed, found = self._feeds.get(channel), self._channels.find(channel)
        if feed is not None and found is not None:
            for inflow in feed.every():
                if inflow.casts != found.options.connection.casts:
                    self._ask_for(channel, feed, inflow)

    def laid_out(self, channel: str, link: MeshLink, tracks: tuple[Track, ...]) -> None:
        """A neighbour told what a channel consists of."""
        feed = self._feeds.get(channel)
        inflow = None if feed is None else feed.by(link)
        if feed is None or inflow is None or not tracks:
            return
        if feed.publishing is None or feed.tracks != tracks:
            self._make_source(channel, feed, tracks)
        if inflow.input is None and feed.publishing is not None:
            self._let_in(feed, inflow)
            self._ask_for(channel, feed, inflow)

    def denied(self, link: MeshLink, wire: int, reason: str) -> None:
        """A neighbour sends a channel no more, or not at all."""
        channel = link.named(wire)
        feed = None if channel is None else self._feeds.get(channel)
        if channel is None or feed is None:
            return
        log.info("neighbour sends no more", node=link.node, channel=channel, reason=reason)
        self._end_inflows(feed, link.node)
        self._told(Denied(channel, link.node))

    def _begin_inflow(self, channel: str, feed: Feed, link: MeshLink) -> Inflow:
        inflow = Inflow(link, link.name(channel))
        if feed.publishing is not None:
            self._let_in(feed, inflow)
        self.wake(channel)
        self._ask_for(channel, feed, inflow)
        return inflow

    def _ask_for(self, channel: str, feed: Feed, inflow: Inflow) -> None:
        ready = inflow.input is not None and feed.awake
        marks = self._marks(channel) if ready and feed.current else ()
        if ready and inflow.input is not None:
            inflow.before = self._packets(channel).get(inflow.input, 0)
        found = self._channels.find(channel)
        if found is not None:
            home = found.home or self._node
            inflow.casts = found.options.connection.casts
            port = self.casts.port if ready and inflow.casts else 0
            if not port:
                self.casts.forget(inflow.link, inflow.wire)
            inflow.link.say(Subscribe(inflow.wire, channel, home, ready, marks, port))

    def _fall_back(self, link: MeshLink, wire: int) -> None:
        """What came by a cast is to come by the link again."""
        name = link.named(wire)
        feed = None if name is None else self._feeds.get(name)
        inflow = None if feed is None else feed.by(link)
        if name and feed and inflow and inflow.wire == wire:
            self._ask_for(name, feed, inflow)

    def _packets(self, channel: str) -> dict[int, int]:
        """Packets that came by each input."""
        found = self._channels.find(channel)
        sources = () if found is None else found.stats().sources
        return {input.input: input.packets for source in sources for input in source.inputs}

    def _fall_asleep(self, channel: str, feed: Feed) -> None:
        feed.awake, feed.current, feed.asleep_at = False, False, None
        for inflow in feed.every():
            inflow.delivering = False
            self._ask_for(channel, feed, inflow)
        found = self._channels.find(channel)
        if found is not None:  # who comes next is not to begin with what was shown by then
            found.plane.flush_channel(found.plane_channel)

    def _marks(self, channel: str) -> tuple[Mark, ...]:
        """What this node has of a channel already."""
        found = self._channels.find(channel)
        if found is None:
            return ()
        return tuple(Mark(*one) for one in found.plane.channel_marks(found.plane_channel))

    def _let_in(self, feed: Feed, inflow: Inflow) -> None:
        """Let what a neighbour sends feed the channel's source."""
        assert feed.publishing is not None
        inflow.input = feed.publishing.add_input()
        inflow.link.take(inflow.wire, inflow.input)

    def _make_source(self, channel: str, feed: Feed, tracks: tuple[Track, ...]) -> None:
        found = self._channels.find(channel)
        if found is None:
            return
        self._drop_source(channel, "format changed")
        feed.tracks = tracks
        feed.publishing = found.publish(
            tracks, PublishKind.MESH, "", on_closed=lambda _: self._replaced(feed)
        )
        for inflow in feed.every():
            if inflow.input is not None:
                self._let_in(feed, inflow)

    def _replaced(self, feed: Feed) -> None:
        """A publisher of this node has taken the source's place; the next layout makes another."""
        feed.publishing, feed.current = None, False
        for inflow in feed.every():
            inflow.input, inflow.delivering = None, False

    def _drop_source(self, channel: str, reason: str) -> None:
        feed = self._feeds.get(channel)
        if feed is not None and feed.publishing is not None:
            feed.publishing.close(reason)
            feed.publishing = None

    def _end_inflows(self, feed: Feed, node: str) -> None:
        for table in (feed.inflows, feed.moving):
            inflow = table.pop(node, None)
            if inflow is not None:
                self._end_inflow(feed, inflow)

    def _end_inflow(self, feed: Feed, inflow: Inflow) -> None:
        inflow.link.say(Unsubscribe(inflow.wire))
        self.casts.forget(inflow.link, inflow.wire)
        inflow.link.forget(inflow.wire)
        if inflow.input is not None and feed.publishing is not None:
            feed.publishing.drop_input(inflow.input)

    def _look_for_media(self, name: str, feed: Feed) -> None:
        """Tell the configurator of neighbours whose first media have come."""
        waiting = [
            (inflow.link.node, inflow)
            for inflow in feed.every()
            if feed.awake and inflow.input is not None and not inflow.delivering
        ]
        packets = self._packets(name) if waiting else {}
        for node, inflow in waiting:
            if packets.get(inflow.input or 0, 0) > inflow.before:
                inflow.delivering = feed.current = True
                self._told(Delivering(name, node))


def now() -> float:
    """Of the running loop's clock, s."""
    return asyncio.get_running_loop().time()
