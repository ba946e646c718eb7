"""The reflector: channels that come from neighbours and go to neighbours.

It carries out what the configurator orders and tells it what happens. A channel that comes from
elsewhere has one source at the plane with an input for each neighbour that sends it: the same
packet by two ways is relayed once. Readers see no difference to a channel with a publisher here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from heliograph.live.casts import Casts
from heliograph.live.channel import Channel
from heliograph.live.configurator import Configurator
from heliograph.live.flows import Feed, Inflow, Neighbours, Outflow
from heliograph.live.links import Links, MeshLink
from heliograph.live.neighbours import (
    Answered,
    Appeared,
    AskForSources,
    ClientJoined,
    ClientLeft,
    Connect,
    Delivering,
    Denied,
    Disconnect,
    Event,
    Ingest,
    Leave,
    Left,
    LinkDown,
    LinkSilent,
    LinkUp,
    Order,
    Returned,
    Rules,
    SubscribeTo,
    Tell,
    TellPath,
    Told,
    UnsubscribeFrom,
    Unwanted,
    Wanted,
)
from heliograph.live.publish import PublishKind
from heliograph.live.registry import Channels
from heliograph.live.states import LiveEvent
from heliograph.live.ways import Ways
from heliograph.model.errors import HelioError
from heliograph.model.media import Track
from heliograph.protocols.mesh import (
    Cast,
    Ended,
    Finished,
    Hears,
    Layout,
    Mark,
    Message,
    Path,
    Refused,
    Started,
    Subscribe,
    Unsubscribe,
)

log = structlog.get_logger(__name__)

#: Seconds between two looks at what is due: a fraction of the time in which silence is noticed.
TICK = 0.05
#: Seconds that media still come after the last who watched here has gone: somebody who changes
#: the way or loads the page anew is back by then.
LINGER = 10.0
#: Seconds that a link stands on when nothing is wanted over it any more.
PARTING = 1.0
#: Things to say to neighbours to whom no link stands yet.
MAX_UNSAID = 1_000
#: Seconds that whoever knows more sources has to name them.
ASK_TIMEOUT = 2.0

#: Names sources for a channel, the best first.
Ask = Callable[[str], Awaitable[Sequence[str]]]


class Reflector:
    """Of one node; made when the node has a bus, links and channels."""

    def __init__(
        self,
        node: str,
        channels: Channels,
        links: Links,
        ask: Ask,
        rules: Rules | None = None,
    ) -> None:
        self.node = node
        self.configurator = Configurator(node, rules)
        self.left = asyncio.Event()
        """Set when a planned departure is over."""
        self._leaving = False
        self._channels = channels
        self._links = links
        self._ask = ask
        self._feeds: dict[str, Feed] = {}
        self._serving: dict[tuple[MeshLink, int], Outflow] = {}
        """Channels that go to neighbours, by link and the neighbour's number."""
        self._unsaid: list[tuple[str, Message]] = []
        self._parting: dict[str, asyncio.TimerHandle] = {}
        """Links that are to end, by neighbour."""
        self._tasks: set[asyncio.Task[None]] = set()
        links.on_up = self._link_up
        links.on_silent = self._link_silent
        links.on_end = self._link_end
        links.on_failed = lambda node: self._handle(LinkDown(node))
        links.on_message = self._heard
        self.casts = Casts(links, self._fall_back)
        self._ways = Ways(links, channels)
        self._unsubscribe = channels.subscribe(self._observe)
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    # what is asked of it

    def want(self, channel: str, sources: Sequence[str], *, at_once: bool = False) -> None:
        """Carry a channel, from these nodes, the best first; ``at_once``: gone to without waiting
        whether it stays well."""
        self._handle(Wanted(channel, tuple(sources), at_once))

    def appeared(self, node: str) -> None:
        """A node has come, or come back."""
        self._handle(Appeared(node))

    def unwant(self, channel: str) -> None:
        """Carry it no more."""
        self._handle(Unwanted(channel))
        self._drop_source(channel, "not wanted any more")
        self._feeds.pop(channel, None)

    async def leave(self) -> dict[str, Neighbours]:
        """Leave in order: neighbours find other sources while this node goes on forwarding.

        Gives the neighbours it had, for ``come_back``.
        """
        self._leaving = True
        names = {*self._feeds, *(outflow.channel for outflow in self._serving.values())}
        before = {
            name: Neighbours(self.configurator.sources(name), self.configurator.clients(name))
            for name in sorted(names)
        }
        self._handle(Leave())
        await self.left.wait()
        return before

    def come_back(self, channel: str, before: Neighbours) -> None:
        """Tell the neighbours that a channel had here before that this node is back."""
        self._handle(Returned(channel, before.sources, before.clients))

    async def close(self) -> None:
        """End at once."""
        for timer in (self._ticking, *self._parting.values()):
            timer.cancel()
        self._unsubscribe()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for channel in list(self._feeds):
            self._drop_source(channel, "server stopping")
        self._feeds.clear()
        self.casts.close()
        await self._links.close()

    # what it does

    def copies(self) -> Counter[str]:
        """How many times the media of each channel are sent to neighbours."""
        found = Counter(outflow.channel for outflow in self._serving.values() if outflow.media)
        for name in found:
            casts, resting = self.casts.copies(name)
            found[name] += casts - resting
        return found

    def sent_bytes(self) -> int:
        """What all links that stand have sent; less than before when one has ended."""
        return sum(link.sent_bytes() for link in self._links)

    def describe(self) -> list[dict[str, Any]]:
        """For the API: every channel that crosses this node, by which way and to whom."""
        names = sorted({*self._feeds, *(outflow.channel for outflow in self._serving.values())})
        return [
            {
                "channel": name,
                "path": self.configurator.path(name),
                "sources": self.configurator.sources(name),
                "clients": self.configurator.clients(name),
            }
            for name in names
        ]

    # events to the configurator, and its orders

    def _handle(self, event: Event) -> None:
        self._carry_out(self.configurator.handle(event, _now()))

    def _tick(self) -> None:
        self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)
        for name, feed in list(self._feeds.items()):
            self._look_for_media(name, feed)
            self._change_ways(name, feed)
            if feed.asleep_at is not None and feed.asleep_at <= _now():
                self._fall_asleep(name, feed)
        self.casts.tick()
        self._ways.tick({inflow.link for feed in self._feeds.values() for inflow in feed.every()})
        self._carry_out(self.configurator.tick(_now()))

    def _carry_out(self, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Connect(node):
                    self._stay(node)
                    self._links.open(node)
                case Disconnect(node):
                    self._part(node)
                case SubscribeTo(channel, node):
                    self._subscribe_to(channel, node)
                case UnsubscribeFrom(channel, node):
                    self._unsubscribe_from(channel, node)
                case TellPath(channel, path):
                    self._tell_path(channel, path)
                case _:
                    self._speak(order)

    def _part(self, node: str) -> None:
        """End a link in a while: what was said last is to arrive, and it may be needed again."""
        self._stay(node)

        def end() -> None:
            del self._parting[node]
            for link in self._links:
                if link.ours and link.node == node:
                    self._links.end(link, "not needed")

        self._parting[node] = asyncio.get_running_loop().call_later(PARTING, end)

    def _stay(self, node: str) -> None:
        timer = self._parting.pop(node, None)
        if timer is not None:
            timer.cancel()

    def _tell_path(self, channel: str, path: tuple[str, ...]) -> None:
        for link, wire in self._served(channel):
            link.say(Path(wire, path))
        found = self._channels.find(channel)
        if found is not None:
            found.tell_on_air(len(path) > 1)

    def _speak(self, order: Order) -> None:
        match order:
            case Tell(node, message):
                link = self._links.any(node)
                if link is not None and link.up:
                    link.say(message)
                elif len(self._unsaid) < MAX_UNSAID:
                    self._unsaid.append((node, message))
                    self._links.open(node)
            case AskForSources(channel, tried):
                task = asyncio.get_running_loop().create_task(
                    self._find(channel, tried), name=f"sources of {channel}"
                )
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case Left():
                self.left.set()

    async def _find(self, channel: str, tried: tuple[str, ...]) -> None:
        try:
            async with asyncio.timeout(ASK_TIMEOUT):
                found = await self._ask(channel)
        except (HelioError, TimeoutError) as error:
            log.warning("no sources were named", channel=channel, error=str(error))
            return
        if set(found) - set(tried):
            self._handle(Wanted(channel, tuple(dict.fromkeys((*tried, *found)))))

    # links

    def _tell_of(self, link: MeshLink, event: Event) -> None:
        if link.main:
            self._handle(event)

    def _link_silent(self, link: MeshLink) -> None:
        if link.ours and not link.main:
            self._links.end(link, "silent")  # the main one carries what it carried
        self._tell_of(link, LinkSilent(link.node))

    def _link_up(self, link: MeshLink) -> None:
        unsaid, self._unsaid = self._unsaid, []
        for node, message in unsaid:
            if node == link.node:
                link.say(message)
            else:
                self._unsaid.append((node, message))
        self._tell_of(link, LinkUp(link.node))

    def _link_end(self, link: MeshLink) -> None:
        if link.main:
            for feed in self._feeds.values():
                self._end_inflows(feed, link.node)
            self._handle(LinkDown(link.node))
        elif link.ours:
            self._ways.ended(link)
            for name, feed in self._feeds.items():
                self._do_without(name, feed, link)
        for at in [at for at in self._serving if at[0] is link]:
            self._stop_serving(*at)

    def _do_without(self, name: str, feed: Feed, link: MeshLink) -> None:
        """A link beside the main one has ended: that one carries the channel."""
        for table in (feed.moving, feed.inflows):
            inflow = table.get(link.node)
            if inflow is not None and inflow.link is link:
                del table[link.node]
                self._end_inflow(feed, inflow)
                if table is feed.inflows:
                    self._subscribe_to(name, link.node)

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

    def _heard(self, link: MeshLink, message: Message) -> None:
        match message:
            case Subscribe():
                self._serve(link, message)
            case Unsubscribe(wire):
                self._stop_serving(link, wire)
            case Layout(wire, tracks, path):
                channel = link.named(wire)
                if channel is not None:
                    self._laid_out(channel, link, tracks)
                    self._handle(Answered(channel, link.node, path))
            case Path(wire, path):
                channel = link.named(wire)
                if channel is not None:
                    self._handle(Answered(channel, link.node, path))
            case Cast():
                self.casts.offered(link, message)
            case Hears(wire):
                outflow = self._serving.get((link, wire))
                if outflow is not None:
                    self.casts.hears(link, outflow.channel, message)
            case Refused(wire) | Ended(wire):
                self._denied(link, wire, message.reason)
            case Finished() | Started():
                self._handle(Told(link.node, message))

    # channels that come

    def _subscribe_to(self, channel: str, node: str) -> None:
        link = self._ways.best(channel, node)
        if link is None:
            return  # it has just ended; the configurator is told of that
        feed = self._feeds.setdefault(channel, Feed())
        feed.inflows[node] = self._begin_inflow(channel, feed, link)

    def _begin_inflow(self, channel: str, feed: Feed, link: MeshLink) -> Inflow:
        inflow = Inflow(link, link.name(channel))
        if feed.publishing is not None:
            self._let_in(feed, inflow)
        self._wake(channel)
        self._ask_for(channel, feed, inflow)
        return inflow

    def _ask_for(self, channel: str, feed: Feed, inflow: Inflow) -> None:
        ready = inflow.input is not None and feed.awake
        marks = self._marks(channel) if ready and feed.current else ()
        if ready and inflow.input is not None:
            inflow.before = self._packets(channel).get(inflow.input, 0)
        found = self._channels.find(channel)
        if found is not None:
            home = found.home or self.node
            port = self.casts.port if ready and found.options.connection.casts else 0
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

    def _wake(self, channel: str) -> None:
        """Somebody needs the media of a channel, or does no more."""
        feed = self._feeds.get(channel)
        if feed is None:
            return
        found = self._channels.find(channel)
        needed = (found is not None and bool(found.audience.readers)) or any(
            outflow.media for outflow in self._serving.values() if outflow.channel == channel
        )
        if not needed:
            if feed.awake and feed.asleep_at is None:
                feed.asleep_at = _now() + LINGER
            return
        feed.asleep_at = None
        if not feed.awake:
            feed.awake = True
            for inflow in feed.every():
                if inflow.input is not None:
                    self._ask_for(channel, feed, inflow)

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

    def _laid_out(self, channel: str, link: MeshLink, tracks: tuple[Track, ...]) -> None:
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

    def _unsubscribe_from(self, channel: str, node: str) -> None:
        feed = self._feeds.get(channel)
        if feed is not None:
            self._end_inflows(feed, node)

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

    def _denied(self, link: MeshLink, wire: int, reason: str) -> None:
        channel = link.named(wire)
        feed = None if channel is None else self._feeds.get(channel)
        if channel is None or feed is None:
            return
        log.info("neighbour sends no more", node=link.node, channel=channel, reason=reason)
        self._end_inflows(feed, link.node)
        self._handle(Denied(channel, link.node))

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
                self._handle(Delivering(name, node))

    # channels that go

    def _serve(self, link: MeshLink, asked: Subscribe) -> None:
        channel = self._channels.find(asked.channel)
        if channel is None or (channel.home or self.node) != asked.home or self._leaving:
            link.say(Refused(asked.wire, "the channel is not here"))
            return
        known = self._serving.get((link, asked.wire))
        outflow = known or Outflow(channel.name)
        self._serving[link, asked.wire] = outflow
        if known is None:
            self._lay_out(link, asked.wire, channel)
        if asked.ready:
            link.serve(asked.wire, channel.plane_channel, asked.after)
        elif outflow.media:
            link.stop(asked.wire)
        outflow.media = asked.ready
        if asked.ready and asked.multicast and asked.multicast == self.casts.port:
            enough = channel.options.connection.enough
            self.casts.join(link, asked.wire, channel.name, channel.plane_channel, enough)
        else:
            self.casts.leave(link, asked.wire, channel.name)
        if known is None:
            self._handle(ClientJoined(channel.name, link.node))
        self._wake(channel.name)

    def _served(self, channel: str) -> list[tuple[MeshLink, int]]:
        return [at for at, outflow in self._serving.items() if outflow.channel == channel]

    def _lay_out(self, link: MeshLink, wire: int, channel: Channel) -> None:
        path = self.configurator.path(channel.name)
        link.say(Layout(wire, channel.tracks, path))

    def _stop_serving(self, link: MeshLink, wire: int) -> None:
        outflow = self._serving.pop((link, wire), None)
        if outflow is None:
            return
        link.stop(wire)
        self.casts.leave(link, wire, outflow.channel)
        if not any(other.node == link.node for other, _ in self._served(outflow.channel)):
            self._handle(ClientLeft(outflow.channel, link.node))
        self._wake(outflow.channel)

    def _observe(self, event: LiveEvent) -> None:
        """Something happened to a channel of this node."""
        name = event.channel
        channel = self._channels.find(name)
        match event.kind:
            case "state" | "source" | "publisher-left" if channel is not None:
                self._handle(Ingest(name, _fed_here(channel)))
            case "tracks" if channel is not None:
                for link, wire in self._served(name):
                    self._lay_out(link, wire, channel)
            case "reader-joined" | "reader-left":
                self._wake(name)
            case "channel-closed":
                for link, wire in self._served(name):
                    link.say(Ended(wire, event.detail))
                    self._stop_serving(link, wire)


def _fed_here(channel: Channel) -> bool:
    """Whether a publisher of this node is the one relayed."""
    return channel.active is not None and channel.active.kind is not PublishKind.MESH


def _now() -> float:
    return asyncio.get_running_loop().time()
