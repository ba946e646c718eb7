"""The reflector: channels that come from neighbours and go to neighbours.

It carries out what the configurator orders and tells it what happens: ``incoming`` has the channels
that come, ``outgoing`` those that go. Readers see no difference to a channel with a publisher here.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from heliograph.live.channel import Channel
from heliograph.live.configurator import Configurator
from heliograph.live.flows import Neighbours
from heliograph.live.incoming import Incoming, now
from heliograph.live.links import Links, MeshLink
from heliograph.live.neighbours import (
    Answered,
    Appeared,
    AskForSources,
    Connect,
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
from heliograph.live.outgoing import Outgoing
from heliograph.live.publish import PublishKind
from heliograph.live.registry import Channels
from heliograph.live.states import LiveEvent
from heliograph.model.errors import HelioError
from heliograph.protocols.mesh import (
    Cast,
    Ended,
    Finished,
    Hears,
    Layout,
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
#: The same while nothing happens: what is due by then has waited for seconds.
REST = 0.5
#: Seconds after something happened in which more is likely to be due.
RESTLESS = 2.0
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
        self._channels = channels
        self._links = links
        self._ask = ask
        self._incoming = Incoming(node, channels, links, self._handle, self._passed_on)
        self.casts = self._incoming.casts
        wake, path = self._incoming.wake, self.configurator.path
        self._outgoing = Outgoing(node, channels, self.casts, self._handle, wake, path)
        self._unsaid: list[tuple[str, Message]] = []
        self._parting: dict[str, asyncio.TimerHandle] = {}
        """Links that are to end, by neighbour."""
        self._tasks: set[asyncio.Task[None]] = set()
        links.on_up = self._link_up
        links.on_silent = self._link_silent
        links.on_end = self._link_end
        links.on_failed = lambda node: self._handle(LinkDown(node))
        links.on_message = self._heard
        self._unsubscribe = channels.subscribe(self._observe)
        self._restless_until = now() + RESTLESS
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
        self._incoming.drop(channel, "not wanted any more")

    async def leave(self) -> dict[str, Neighbours]:
        """Leave in order: neighbours find other sources while this node goes on forwarding.

        Gives the neighbours it had, for ``come_back``.
        """
        self._outgoing.leaving = True
        names = {*self._incoming.names, *self._outgoing.names}
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
        self._incoming.close()
        await self._links.close()

    # what it does

    def copies(self) -> Counter[str]:
        """How many times the media of each channel are sent to neighbours."""
        return self._outgoing.copies()

    def sent_bytes(self) -> int:
        """What all links that stand have sent; less than before when one has ended."""
        return sum(link.sent_bytes() for link in self._links)

    def describe(self) -> list[dict[str, Any]]:
        """For the API: every channel that crosses this node, by which way and to whom."""
        names = sorted({*self._incoming.names, *self._outgoing.names})
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
        self._stir()
        self._carry_out(self.configurator.handle(event, now()))

    def _stir(self) -> None:
        """Something happened: what follows from it is looked for soon."""
        resting = self._restless_until <= now()
        self._restless_until = now() + RESTLESS
        if resting:
            self._ticking.cancel()
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _tick(self) -> None:
        busy = self._incoming.tick() or now() < self._restless_until
        pause = TICK if busy else REST
        self._ticking = asyncio.get_running_loop().call_later(pause, self._tick)
        self._carry_out(self.configurator.tick(now()))

    def _carry_out(self, orders: Sequence[Order]) -> None:
        for order in orders:
            match order:
                case Connect(node):
                    self._stay(node)
                    self._links.open(node)
                case Disconnect(node):
                    self._part(node)
                case SubscribeTo(channel, node):
                    self._incoming.subscribe(channel, node)
                case UnsubscribeFrom(channel, node):
                    self._incoming.unsubscribe(channel, node)
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
        for link, wire in self._outgoing.to(channel):
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
        self._incoming.link_ended(link)
        if link.main:
            self._handle(LinkDown(link.node))
        self._outgoing.link_ended(link)

    def _heard(self, link: MeshLink, message: Message) -> None:
        self._stir()
        match message:
            case Subscribe():
                self._outgoing.serve(link, message)
            case Unsubscribe(wire):
                self._outgoing.stop(link, wire)
            case Layout(wire, tracks, path):
                channel = link.named(wire)
                if channel is not None:
                    self._incoming.laid_out(channel, link, tracks)
                    self._handle(Answered(channel, link.node, path))
            case Path(wire, path):
                channel = link.named(wire)
                if channel is not None:
                    self._handle(Answered(channel, link.node, path))
            case Cast():
                self.casts.offered(link, message)
            case Hears():
                self._outgoing.hears(link, message)
            case Refused(wire) | Ended(wire):
                self._incoming.denied(link, wire, message.reason)
            case Finished() | Started():
                self._handle(Told(link.node, message))

    def _passed_on(self, channel: str) -> bool:
        return self._outgoing.passes_on(channel)

    def _observe(self, event: LiveEvent) -> None:
        """Something happened to a channel of this node."""
        self._stir()
        name = event.channel
        channel = self._channels.find(name)
        match event.kind:
            case "state" | "source" | "publisher-left" if channel is not None:
                self._handle(Ingest(name, _fed_here(channel)))
            case "tracks" if channel is not None:
                for link, wire in self._outgoing.to(name):
                    self._outgoing.lay_out(link, wire, channel)
            case "reader-joined" | "reader-left":
                self._incoming.wake(name)
            case "changed":
                self._incoming.changed(name)
            case "channel-closed":
                self._outgoing.channel_closed(name, event.detail)


def _fed_here(channel: Channel) -> bool:
    """Whether a publisher of this node is the one relayed."""
    return channel.active is not None and channel.active.kind is not PublishKind.MESH
