"""Channels that all nodes of a cluster share: whoever has one tells of it, all others offer it too.

A node that keeps a channel announces it, and gives its document to who asks. Other nodes open the
same channel, learn its tracks from where it enters, and fetch its media while somebody watches
there. Where a publisher enters is announced as well (``ingest``, with the epoch): the newest epoch
is where the channel comes from, and any node may be the next.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections import Counter
from typing import Any

import structlog

from heliograph.bus import Announcement, Arrived, Bus, Changed, Gone, Name, Request
from heliograph.live import documents
from heliograph.live.channel import Channel
from heliograph.live.publish import PublishKind
from heliograph.live.reflector import Reflector
from heliograph.live.registry import Channels
from heliograph.live.states import LiveEvent
from heliograph.live.trees import Branch, Place, grow
from heliograph.model.errors import HelioError, MalformedError, NotFoundError

log = structlog.get_logger(__name__)

CHANNEL = "channel"
"""Kind of the announcement of a node that keeps a channel."""
INGEST = "ingest"
"""Kind of the announcement of a node at which a channel enters."""
DOCUMENT = "channel.document"
"""The bus's method that gives a channel's document."""

PLACE = "channel.place"
"""The bus's method that tells how a channel comes to a node."""

KEYFRAME = "channel.keyframe"
"""The bus's method that gives the newest key access unit of a channel's picture."""

#: Bytes of a key access unit that is given away: one of 1080p has a fifth, and a message of the
#: bus takes little more.
MAX_KEYFRAME = 700 << 10
#: Seconds between attempts to get a document.
RETRY = 1.0
#: Seconds that a channel stays open here after its keeper has gone: it may only have restarted.
KEEP = 30.0


class SharedChannels:
    """Those of one node and those of all others."""

    def __init__(self, bus: Bus, channels: Channels, reflector: Reflector, name: str = "") -> None:
        """``name``: what people call this node."""
        self.name = name or bus.node
        self.counters: Counter[str] = Counter(documents_failed=0)
        self._bus = bus
        self._channels = channels
        self._reflector = reflector
        self._kept: dict[str, Announcement] = {}
        """Our own channels, as others see them."""
        self._digests: dict[str, str] = {}
        self._entering: dict[str, Announcement] = {}
        self._ingests: dict[str, dict[str, int]] = {}
        """Where channels enter: epochs by node."""
        self._keepers: dict[str, dict[str, None]] = {}
        """Nodes that keep a channel, other than this one."""
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._closing: dict[str, asyncio.TimerHandle] = {}
        self._registrations = [
            bus.serve(DOCUMENT, self._document),
            bus.serve(PLACE, self._place),
            bus.serve(KEYFRAME, self._keyframe),
            bus.watch(CHANNEL, self._keeper),
            bus.watch(INGEST, self._ingest),
        ]
        self._unsubscribe = channels.subscribe(self._observe)
        for channel in channels:
            self._announce(channel)

    async def close(self) -> None:
        """Tell of nothing any more and follow nobody."""
        self._unsubscribe()
        for registration in (*self._registrations, *self._kept.values(), *self._entering.values()):
            registration.close()
        for timer in self._closing.values():
            timer.cancel()
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # what this node has

    def _announce(self, channel: Channel) -> None:
        if channel.elsewhere:
            return
        digest = _digest(channel)
        if self._digests.get(channel.name) == digest:
            return
        self._digests[channel.name] = digest
        value = {"title": channel.title, "digest": digest}
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
        return documents.write(channel)

    def _observe(self, event: LiveEvent) -> None:
        channel = self._channels.find(event.channel)
        match event.kind:
            case "channel-opened" | "changed" if channel is not None:
                self._announce(channel)
                self._follow(event.channel)
            case "channel-closed":
                self._digests.pop(event.channel, None)
                for table in (self._kept, self._entering):
                    announcement = table.pop(event.channel, None)
                    if announcement is not None:
                        announcement.close()
            case "state" | "source" | "publisher-left" if channel is not None:
                self._tell_entering(channel)

    def _tell_entering(self, channel: Channel) -> None:
        """Announce that the channel enters here, or does no more."""
        active = channel.active
        here = active is not None and active.kind is not PublishKind.MESH
        known = self._entering.get(channel.name)
        if not here:
            if known is not None:
                self._entering.pop(channel.name).close()
            return
        value = {"epoch": channel.stats().epoch}
        if known is None:
            self._entering[channel.name] = self._bus.announce(INGEST, channel.name, value)
        else:
            known.update(value)

    async def _place(self, request: Request) -> dict[str, Any]:
        name = request.value
        channel = self._channels.find(name) if isinstance(name, str) else None
        if channel is None:
            raise NotFoundError("no such channel is offered here", subject=str(name)[:80])
        return {
            "name": self.name,
            "path": self._reflector.configurator.path(channel.name),
            "viewers": channel.places,
            "media": channel.active is not None,
        }

    async def _keyframe(self, request: Request) -> dict[str, str]:
        name = request.value
        channel = self._channels.find(name) if isinstance(name, str) else None
        found = None if channel is None else channel.picture_source()
        if found is None or len(found[1]) > MAX_KEYFRAME:
            raise NotFoundError("there is no picture of that channel", subject=str(name)[:80])
        track, unit = found
        return {"codec": track.codec.value, "unit": base64.b64encode(unit).decode("ascii")}

    async def picture(self, channel: Channel) -> tuple[str, bytes] | None:
        """Codec and key access unit of a channel, of where it enters while its media do not come
        here; None without one."""
        found = channel.picture_source()
        if found is not None:
            return found[0].codec.value, found[1]
        ingests = self._ingests.get(channel.name, {})
        for node in sorted(ingests, key=lambda one: -ingests[one]):
            if node == self._bus.node:
                continue
            try:
                answer = await self._bus.call(node, KEYFRAME, channel.name)
                return str(answer["codec"]), base64.b64decode(answer["unit"])
            except (HelioError, KeyError, TypeError, ValueError):
                continue  # a picture is not worth a complaint
        return None

    async def tree(self, channel: str) -> tuple[Branch, ...]:
        """How a channel reaches its viewers over all nodes."""
        return grow(await self._places(channel))

    async def _places(self, channel: str) -> list[Place]:
        answers = await self._bus.ask(PLACE, channel)
        places = []
        for node, value in answers:
            try:
                places.append(Place.read(node, value))
            except MalformedError as error:
                log.warning("node not understood", node=node, error=error.message)
        return places

    # what others have

    def _keeper(self, event: Arrived | Changed | Gone) -> None:
        name, node = event.name.name, event.name.node
        if node == self._bus.node:
            return
        keepers = self._keepers.setdefault(name, {})
        if isinstance(event, Gone):
            keepers.pop(node, None)
            if not keepers:
                del self._keepers[name]
                self._close_later(name)
            return
        keepers[node] = None
        timer = self._closing.pop(name, None)
        if timer is not None:
            timer.cancel()
        channel = self._channels.find(name)
        if (channel is None or channel.elsewhere) and name not in self._fetching:
            task = asyncio.get_running_loop().create_task(
                self._fetch(name), name=f"document {name}"
            )
            self._fetching[name] = task

    async def _fetch(self, name: str) -> None:
        """Open a channel that another node keeps, or bring it up to date."""
        try:
            while keepers := self._keepers.get(name):
                node = next(iter(keepers))
                try:
                    found, options, standing = documents.read(
                        await self._bus.call(node, DOCUMENT, name)
                    )
                    channel = self._channels.find(found)
                    if channel is None:
                        self._channels.create(found, options, standing, elsewhere=True)
                    elif channel.elsewhere:
                        self._channels.change(channel, options, standing)
                    break
                except HelioError as error:
                    self.counters["documents_failed"] += 1
                    log.warning("channel not learnt", channel=name, node=node, error=error.message)
                    keepers.pop(node, None)  # another may know it as well; this one comes last
                    keepers[node] = None
                    await asyncio.sleep(RETRY)
        finally:
            del self._fetching[name]
        self._follow(name)

    def _close_later(self, name: str) -> None:
        channel = self._channels.find(name)
        if channel is None or not channel.elsewhere:
            return

        def close() -> None:
            self._closing.pop(name, None)
            found = self._channels.find(name)
            if found is None or not found.elsewhere or self._keepers.get(name):
                return
            if self._ingests.get(name):  # it goes on without its keeper
                self._close_later(name)
                return
            self._reflector.unwant(name)
            self._channels.delete(name)

        self._closing[name] = asyncio.get_running_loop().call_later(KEEP, close)

    def _ingest(self, event: Arrived | Changed | Gone) -> None:
        name, node = event.name.name, event.name.node
        ingests = self._ingests.setdefault(name, {})
        if isinstance(event, Gone):
            ingests.pop(node, None)
        else:
            ingests[node] = _epoch(event.name)
        if not ingests:
            del self._ingests[name]
        self._follow(name)

    def _follow(self, name: str) -> None:
        """Take the channel from where its newest epoch enters; that may be here."""
        channel = self._channels.find(name)
        ingests = self._ingests.get(name)
        if channel is None or not ingests:
            return
        ranked = sorted(ingests, key=lambda node: (-ingests[node], node))
        newest = ranked[0]
        if newest == self._bus.node:
            return
        channel.plane.claim_epoch(channel.plane_channel, ingests[newest])
        if self._bus.node in ingests:
            # Somebody publishes elsewhere by now: there is one way in at a time.
            for publishing in list(channel.publishings.values()):
                if publishing.kind is not PublishKind.MESH:
                    channel.dismiss(publishing, "replaced")
        self._reflector.want(name, [node for node in ranked if node != self._bus.node])

    async def sources(self, channel: str) -> list[str]:
        """Where the channel may be had, best first: where it enters, then whoever has its media,
        those nearest to the ingest before others."""
        ingests = self._ingests.get(channel, {})
        ranked = sorted(ingests, key=lambda node: (-ingests[node], node))
        places = [
            place
            for place in await self._places(channel)
            if place.media and place.path and self._bus.node not in place.path
        ]
        nearest = sorted(places, key=lambda place: (len(place.path), place.viewers, place.node))
        found = (*ranked, *(place.node for place in nearest))
        return [node for node in dict.fromkeys(found) if node != self._bus.node]


def _digest(channel: Channel) -> str:
    text = json.dumps(documents.write(channel), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _epoch(name: Name) -> int:
    value = name.value
    epoch = value.get("epoch") if isinstance(value, dict) else None
    return epoch if isinstance(epoch, int) else 0
