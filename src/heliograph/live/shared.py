"""Channels that all nodes of a cluster share: whoever has one tells of it, all others offer it too.

A node that keeps a channel announces it, and gives its document to who asks. Other nodes open the
same channel, learn its tracks from where it enters, and fetch its media while somebody watches
there. Where a publisher enters is announced as well (``ingest``, with the epoch): the newest epoch
is where the channel comes from, and any node may be the next.

Channels of one name are one channel where they have the same *home*: the node that keeps them, or
the database that several nodes share. Each of these keeps the channel and announces it; what one
of them changes there, the others read anew as soon as they hear of it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import structlog

from heliograph.bus import Announcement, Arrived, Bus, Changed, Gone, Request
from heliograph.live import documents
from heliograph.live.announced import CHANNEL, INGEST, Entrance, Kept
from heliograph.live.channel import Channel
from heliograph.live.overtaking import OVERTAKE, Ahead, Overtaking
from heliograph.live.placing import home_of
from heliograph.live.publish import PublishKind
from heliograph.live.reflector import Reflector
from heliograph.live.registry import Channels
from heliograph.live.rereads import Rereads
from heliograph.live.states import LiveEvent
from heliograph.live.trees import Branch, Place, grow
from heliograph.model.errors import HelioError, MalformedError, NotFoundError

log = structlog.get_logger(__name__)

DOCUMENT = "channel.document"
"""The bus's method that gives a channel's document."""

PLACE = "channel.place"
"""The bus's method that tells how a channel comes to a node."""

KEYFRAME = "channel.keyframe"
"""The bus's method that gives the newest key access unit of a channel's picture."""

#: Bytes of a key access unit that is given away: one of 1080p has a fifth, and a message of the
#: bus takes little more.
MAX_KEYFRAME = 700 << 10
#: Seconds between attempts to get a document, doubled each time.
RETRY = 1.0
MOST_RETRY = 30.0
#: Seconds that nodes have to say how a channel comes to them. Where a source is missing, who has
#: died a moment ago is not waited for.
TREE_TIMEOUT, SOURCES_TIMEOUT = 2.0, 0.2
#: Seconds that a channel stays open here after its last keeper has gone: it may only have
#: restarted.
KEEP = 30.0
#: Unix time from which epochs are counted, the beginning of 2024, and epochs a second: no process
#: is back sooner, no publisher comes more often, and 32 bits last until 2058.
BEGINNING, EPOCHS = 1_704_067_200, 4
#: Epochs above those of this instant that are believed: clocks may be an hour apart.
SLACK = 3600 * EPOCHS


class SharedChannels:
    """Those of one node and those of all others."""

    def __init__(
        self,
        bus: Bus,
        channels: Channels,
        reflector: Reflector,
        name: str = "",
        *,
        home: str = "",
        read: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        """``name``: what people call this node. ``home``: id of the database that it shares with
        others, and ``read`` what brings channels to what stands there; empty: it shares none."""
        self.name = name or bus.node
        self.counters: Counter[str] = Counter(documents_failed=0)
        self._bus = bus
        self._channels = channels
        self._reflector = reflector
        self._kept: dict[str, Announcement] = {}
        """Our own channels, as others see them."""
        self._digests: dict[str, str] = {}
        self._entering: dict[str, Announcement] = {}
        self._ingests: dict[str, dict[str, Entrance]] = {}
        """Where channels of a name enter, by node."""
        self._home = home
        self._rereads = None if read is None else Rereads(read)
        self._keepers: dict[str, dict[str, Kept]] = {}
        """Nodes that keep channels of a name, other than this one; whoever spoke last is first."""
        self._learnt: dict[str, str] = {}
        """Digests of the channels that are open here because others keep them."""
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._closing: dict[str, asyncio.TimerHandle] = {}
        self._preferred: dict[str, str] = {}
        """Nodes that channels are taken from first, whoever else has them."""
        self._overtaking = Overtaking(bus, self._ahead, self.counters)
        self._registrations = [
            bus.serve(DOCUMENT, self._document),
            bus.serve(PLACE, self._place),
            bus.serve(KEYFRAME, self._keyframe),
            bus.serve(OVERTAKE, self._overtake),
            bus.watch(CHANNEL, self._keeper),
            bus.watch(INGEST, self._ingest),
        ]
        self._unsubscribe = channels.subscribe(self._observe)
        for channel in channels:
            self._opened(channel)

    async def close(self) -> None:
        """Tell of nothing any more and follow nobody."""
        self._unsubscribe()
        for registration in (*self._registrations, *self._kept.values(), *self._entering.values()):
            registration.close()
        for timer in self._closing.values():
            timer.cancel()
        for task in (fetching := list(self._fetching.values())):
            task.cancel()
        await asyncio.gather(*fetching, return_exceptions=True)
        await self._overtaking.close()
        if self._rereads is not None:
            await self._rereads.close()

    # what this node has

    def _opened(self, channel: Channel) -> None:
        # This node may have been the one at which it entered, and have died: what it numbers now is
        # to follow on what others got of it before.
        channel.plane.claim_epoch(channel.plane_channel, _epoch_now())
        self._announce(channel)

    def _announce(self, channel: Channel) -> None:
        if channel.elsewhere:
            return
        home = home_of(self._bus, channel)
        digest = _digest(channel, home)
        if self._digests.get(channel.name) == digest:
            return
        self._digests[channel.name] = digest
        value = {"title": channel.title, "home": home, "digest": digest}
        known = self._kept.get(channel.name)
        if known is None:
            self._kept[channel.name] = self._bus.announce(CHANNEL, channel.name, value)
        else:
            known.update(value)

    async def _document(self, request: Request) -> dict[str, Any]:
        name = request.value
        channel = self._channels.find(name) if isinstance(name, str) else None
        if channel is None or channel.elsewhere:
            raise NotFoundError("no such channel is kept here", subject=str(name)[:80])
        return documents.write(channel, home_of(self._bus, channel))

    def _observe(self, event: LiveEvent) -> None:
        channel = self._channels.find(event.channel)
        match event.kind:
            case "channel-opened" if channel is not None:
                self._opened(channel)
                self._follow(event.channel)
            case "changed" if channel is not None:
                self._announce(channel)
                self._follow(event.channel)
            case "channel-closed":
                self._digests.pop(event.channel, None)
                self._learnt.pop(event.channel, None)
                self._reflector.unwant(event.channel)
                for table in (self._kept, self._entering):
                    announcement = table.pop(event.channel, None)
                    if announcement is not None:
                        announcement.close()
            case "state" | "source" | "epoch" | "publisher-left" if channel is not None:
                self._tell_entering(channel)

    def _tell_entering(self, channel: Channel) -> None:
        """Announce that the channel enters here, or does no more."""
        active = channel.active
        here = active is not None and active.kind is not PublishKind.MESH
        known = self._entering.get(channel.name)
        if not here:
            if known is not None:
                self._entering.pop(channel.name).close()
            self._overtaking.look(channel.name)
            return
        value = {"epoch": channel.stats().epoch, "home": home_of(self._bus, channel)}
        if known is None:
            self._entering[channel.name] = self._bus.announce(INGEST, channel.name, value)
        else:
            known.update(value)

    async def _place(self, request: Request) -> dict[str, Any]:
        channel = self._asked_for(request)
        return {
            "name": self.name,
            "path": self._reflector.configurator.path(channel.name),
            "viewers": channel.audience.places,
            "media": channel.active is not None,
        }

    async def _keyframe(self, request: Request) -> dict[str, str]:
        channel = self._asked_for(request)
        found = channel.picture_source()
        if found is None or len(found[1]) > MAX_KEYFRAME:
            raise NotFoundError("there is no picture of that channel", subject=channel.name)
        track, unit = found
        return {"codec": track.codec.value, "unit": base64.b64encode(unit).decode("ascii")}

    async def _overtake(self, request: Request) -> None:
        asked = Ahead.read(request.value)
        if asked.epoch > _epoch_now() + SLACK:
            raise MalformedError(OVERTAKE, f"an epoch of the future: {asked.epoch}")
        channel = self._asked_for(replace(request, value=[asked.name, asked.home]))
        channel.plane.overtake_epoch(channel.plane_channel, asked.epoch, list(asked.numbers))

    def _asked_for(self, request: Request) -> Channel:
        """The channel that another node means: the one of that name with the same home."""
        value = request.value
        name, home = value if isinstance(value, list) and len(value) == 2 else ("", "")
        channel = self._channels.find(name) if isinstance(name, str) else None
        if channel is None or home_of(self._bus, channel) != home:
            raise NotFoundError("no such channel is offered here", subject=str(name)[:80])
        return channel

    # what all have together

    async def picture(self, channel: Channel) -> tuple[str, bytes] | None:
        """Codec and key access unit of a channel, of where it enters while its media do not come
        here; None without one."""
        found = channel.picture_source()
        if found is not None:
            return found[0].codec.value, found[1]
        for node in self._entrances(channel):
            if node == self._bus.node:
                continue
            try:
                meant = [channel.name, home_of(self._bus, channel)]
                answer = await self._bus.call(node, KEYFRAME, meant)
                return str(answer["codec"]), base64.b64decode(answer["unit"])
            except (HelioError, KeyError, TypeError, ValueError):
                continue  # a picture is not worth a complaint
        return None

    async def tree(self, name: str) -> tuple[Branch, ...]:
        """How a channel that is offered here reaches its viewers over all nodes."""
        return grow(await self._places(self._channels.get(name)))

    async def _places(self, channel: Channel, timeout: float = TREE_TIMEOUT) -> list[Place]:
        meant = [channel.name, home_of(self._bus, channel)]
        answers = await self._bus.ask(PLACE, meant, timeout)
        places = []
        for node, value in answers:
            try:
                places.append(Place.read(node, value))
            except MalformedError as error:
                log.warning("node not understood", node=node, error=error.message)
        return places

    async def sources(self, name: str) -> list[str]:
        """Where a channel may be had, best first: where it enters, then whoever has its media,
        those nearest to the ingest before others."""
        channel = self._channels.get(name)
        places = [
            place
            for place in await self._places(channel, SOURCES_TIMEOUT)
            if place.media and place.path and self._bus.node not in place.path
        ]
        nearest = sorted(places, key=lambda place: (len(place.path), place.viewers, place.node))
        found = (*self._entrances(channel), *(place.node for place in nearest))
        return [node for node in dict.fromkeys(found) if node != self._bus.node]

    def prefer(self, name: str, node: str) -> None:
        """Take a channel from ``node`` first, and from where it enters when that one does not give
        it; empty: from where it enters. Known too of a channel that is not open yet."""
        before = self._preferred.pop(name, "")
        if node and node != self._bus.node:
            self._preferred[name] = node
        if before or node:
            self._follow(name, at_once=True)

    def enters_elsewhere(self, name: str) -> bool:
        """Whether another node has the source of a channel."""
        channel = self._channels.find(name)
        ranked = [] if channel is None else self._entrances(channel)
        return bool(ranked) and ranked[0] != self._bus.node

    def _entrances(self, channel: Channel) -> list[str]:
        """Nodes at which it enters, that of the newest epoch first."""
        home = home_of(self._bus, channel)
        found = {
            node: one.epoch
            for node, one in self._ingests.get(channel.name, {}).items()
            if one.home == home
        }
        return sorted(found, key=lambda node: (-found[node], node))

    def _ahead(self, name: str) -> tuple[str, Ahead] | None:
        """Where a channel enters, and how far it is here, where that is above the entrance's epoch
        or in the same, and numbered here: what comes from there is refused."""
        channel = self._channels.find(name)
        ranked = [] if channel is None else self._entrances(channel)
        if channel is None or not ranked or self._bus.node in ranked:
            return None
        stats, there = channel.stats(), self._ingests[name][ranked[0]].epoch
        epoch = stats.epoch
        if epoch < there or (epoch == there and not stats.numbered_here):
            return None
        marks = channel.plane.channel_marks(channel.plane_channel)
        numbers = tuple((track, number) for track, marked, number in marks if marked == epoch)
        return ranked[0], Ahead(name, home_of(self._bus, channel), epoch, numbers)

    # what others have

    def _keeper(self, event: Arrived | Changed | Gone) -> None:
        name, node = event.name.name, event.name.node
        if node == self._bus.node:
            return
        before = self._keepers.pop(name, {})
        told = before.pop(node, None) or Kept.read(event.name)
        if not isinstance(event, Gone):
            told = Kept.read(event.name)
            before = {node: told, **before}
        if before:
            self._keepers[name] = before
        channel = self._channels.find(name)
        if self._home and told.home == self._home:
            news = isinstance(event, Gone) or told.digest != self._digests.get(name)
            if news and self._rereads is not None:
                self._rereads.note(name)
        elif channel is not None and channel.elsewhere and channel.home == told.home:
            self._still_kept(name, channel)
        other = channel is not None and home_of(self._bus, channel) != told.home
        if other and isinstance(event, Arrived):
            log.warning("another node keeps a channel of this name", channel=name, node=node)
        self._look(name)

    def _still_kept(self, name: str, channel: Channel) -> None:
        """A channel that others keep stays open as long as one of them is there."""
        keepers = self._keepers.get(name, {}).values()
        if all(one.home != channel.home for one in keepers):
            self._close_later(name)
            return
        timer = self._closing.pop(name, None)
        if timer is not None:
            timer.cancel()

    def _look(self, name: str) -> None:
        """See what others keep under a name."""
        if name not in self._fetching and self._to_ask(name):
            self._fetching[name] = asyncio.get_running_loop().create_task(
                self._fetch(name), name=f"document {name}"
            )

    def _to_ask(self, name: str) -> str:
        """The node whose word on a channel is news here; empty: there is none."""
        keepers, channel = self._keepers.get(name, {}), self._channels.find(name)
        if channel is None:
            if self._home and any(one.home == self._home for one in keepers.values()):
                return ""  # it is in our database
            return next(iter(keepers), "")
        if not channel.elsewhere:
            return ""
        # A name is another's as long as that one is open.
        same = ((node, one) for node, one in keepers.items() if one.home == channel.home)
        for node, one in same:
            return node if one.digest != self._learnt.get(name) else ""
        return ""

    async def _fetch(self, name: str) -> None:
        """Open a channel that others keep, or bring it up to date."""
        pause = RETRY
        try:
            while node := self._to_ask(name):
                try:
                    await self._learn(node, name)
                except HelioError as error:
                    self.counters["documents_failed"] += 1
                    log.warning("channel not learnt", channel=name, node=node, error=error.message)
                    keepers = self._keepers.get(name, {})
                    if node in keepers:  # another may know it as well; this one comes last
                        keepers[node] = keepers.pop(node)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, MOST_RETRY)
        finally:
            del self._fetching[name]
        self._follow(name)

    async def _learn(self, node: str, name: str) -> None:
        told = self._keepers[name][node]
        found = documents.read(await self._bus.call(node, DOCUMENT, name))
        if (found.name, found.home) != (name, told.home):
            raise MalformedError("channel document", "not of the channel that was announced")
        channel = self._channels.find(name)
        if channel is None:
            self._channels.create(name, found.options, found.standing, keeper=node, home=found.home)
        elif channel.elsewhere and channel.home == found.home:
            self._channels.change(channel, found.options, found.standing)
        else:
            return
        self._learnt[name] = told.digest

    def _close_later(self, name: str) -> None:
        """Its last keeper has gone; it may only have restarted."""
        channel = self._channels.find(name)
        if channel is None or not channel.elsewhere or name in self._closing:
            return

        def close() -> None:
            self._closing.pop(name, None)
            if self._channels.find(name) is not channel:
                return
            if self._entrances(channel):  # it goes on without its keeper
                self._close_later(name)
                return
            self._channels.delete(name)
            self._look(name)  # another may keep one of the same name

        self._closing[name] = asyncio.get_running_loop().call_later(KEEP, close)

    def _ingest(self, event: Arrived | Changed | Gone) -> None:
        name, node = event.name.name, event.name.node
        ingests = self._ingests.setdefault(name, {})
        if isinstance(event, Gone):
            ingests.pop(node, None)
        else:
            ingests[node] = Entrance.read(event.name)
        if not ingests:
            del self._ingests[name]
        self._follow(name)

    def _follow(self, name: str, *, at_once: bool = False) -> None:
        """Take the channel from where its newest epoch enters; that may be here."""
        channel = self._channels.find(name)
        ranked = [] if channel is None else self._entrances(channel)
        if channel is None or not ranked or ranked[0] == self._bus.node:
            known = self._reflector.configurator.candidates(name)
            if at_once and not ranked and known:  # where it enters is not to be seen just now
                self._want(name, known, at_once)
            return
        newest = self._ingests[name][ranked[0]]
        channel.plane.claim_epoch(channel.plane_channel, newest.epoch)
        if self._bus.node in ranked:
            # Somebody publishes elsewhere by now: there is one way in at a time.
            for publishing in list(channel.publishings.values()):
                if publishing.kind is not PublishKind.MESH:
                    channel.dismiss(publishing, "replaced")
        self._overtaking.look(name)
        self._want(name, ranked, at_once)

    def _want(self, name: str, sources: Sequence[str], at_once: bool) -> None:
        first = self._preferred.get(name)
        found = dict.fromkeys(sources if first is None else (first, *sources))
        self._reflector.want(
            name, [node for node in found if node != self._bus.node], at_once=at_once
        )


def _epoch_now() -> int:
    """An epoch above all that were counted up from those of any time before."""
    return int((time.time() - BEGINNING) * EPOCHS)


def _digest(channel: Channel, home: str) -> str:
    text = json.dumps(documents.write(channel, home), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
