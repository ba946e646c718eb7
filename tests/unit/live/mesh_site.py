"""Nodes of a cluster in one process: real planes and links, a bus in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.contract.rtp import Camera

from heliograph.bus.memory import MemoryNetwork
from heliograph.live.channel import Channel
from heliograph.live.links import LinkOptions, Links
from heliograph.live.neighbours import Rules
from heliograph.live.options import ChannelOptions
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.reflector import Reflector
from heliograph.live.registry import Channels
from heliograph.live.shared import SharedChannels
from heliograph.model.media import Codec, Kind, Track
from heliograph.model.nodes import node_id
from heliograph.plane import PlaneLoop, TapFlag, open_plane

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90000, 96, fmtp={
    "packetization-mode": "1",
    "profile-level-id": "42c01f",
    "sprop-parameter-sets": "Z0LAH9oBQBbo,aM48gA==",
})  # fmt: skip
PATIENCE = 30.0
NAME = "show"


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


class Viewer:
    """A tap that keeps what it was sent."""

    def __init__(self, channel: Channel) -> None:
        self.packets: list[tuple[int, int, int, bytes]] = []
        """(track, epoch, number, RTP packet)."""
        self.lost = 0
        viewer = self

        class Hooks(ReaderHooks):
            def ready(self) -> None:
                viewer.read()

        self.reader: Reader = channel.audience.add_tap(hooks=Hooks(), capacity=100_000)
        self.reader.start()

    def read(self) -> None:
        while True:
            items, lost = self.reader.channel.plane.read_tap(self.reader.plane_reader, 1000)
            self.lost += lost
            if not items:
                return
            self.packets += [
                (track, epoch, number, data)
                for track, epoch, number, _, _, flags, data in items
                if not flags & TapFlag.RTCP
            ]

    @property
    def numbers(self) -> list[int]:
        return [number for _, _, number, _ in self.packets]

    @property
    def data(self) -> list[bytes]:
        return [data for *_, data in self.packets]

    def leave(self) -> None:
        self.reader.channel.audience.remove(self.reader)


class Node:
    """One node with everything between the plane and the bus."""

    def __init__(self, network: MemoryNetwork, rules: Rules | None, options: LinkOptions) -> None:
        self.key = Ed25519PrivateKey.generate()
        self.node = node_id(self.key.public_key().public_bytes_raw())
        self.plane = open_plane(1)
        self.loop = PlaneLoop(self.plane)
        self.channels = Channels(self.loop)
        groups = options.multicast
        self.port = self.plane.mesh_open(
            "127.0.0.1:0",
            multicast_port=0 if groups is None else groups.port,
            multicast_interface="127.0.0.1",
        )
        self.unreachable: set[str] = set()
        """Nodes that cannot be greeted from here."""
        self.home = ""
        """Of the database that it shares with others, and what reads it again."""
        self.read: Callable[[Collection[str]], Awaitable[None]] | None = None
        self._network, self._rules, self._options = network, rules, options
        self._stopped = False

    async def start(self) -> None:
        self.loop.start()
        self.bus = await self._network.bus(self.node)
        self.links = Links(self.key, self.bus, self.loop, self.port, self._where, self._options)

        async def ask(channel: str) -> Sequence[str]:
            return await self.shared.sources(channel)

        self.reflector = Reflector(self.node, self.channels, self.links, ask, self._rules)
        self.shared = SharedChannels(
            self.bus, self.channels, self.reflector, home=self.home, read=self.read
        )

    def _where(self, node: str) -> list[str]:
        return [] if node in self.unreachable else ["127.0.0.1"]

    def part(self, other: Node) -> None:
        """Cut what joins two nodes: bus and links."""
        self._network.cut(self.bus._link, other.bus._link)
        for one, far in ((self, other), (other, self)):
            one.unreachable.add(far.node)
            for link in [link for link in one.links if link.node == far.node]:
                one.links.end(link, "parted")

    def join(self, other: Node) -> None:
        """Mend it."""
        for one, far in ((self, other), (other, self)):
            one.unreachable.discard(far.node)
        self._network.heal(self.bus._link, other.bus._link)

    async def again(self) -> Node:
        """It has died and begins anew under the same key."""
        await self.stop()
        fresh = Node(self._network, self._rules, self._options)
        fresh.key, fresh.node = self.key, self.node
        await fresh.start()
        return fresh

    async def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        await self.shared.close()
        await self.reflector.close()
        await self.bus.close()
        self.channels.close()
        self.loop.stop()
        self.plane.close()

    @property
    def channel(self) -> Channel:
        return self.channels.get(NAME)

    def keep(self, name: str = NAME, **options: Any) -> Channel:
        return self.channels.create(name, ChannelOptions(**{"silence_ms": 300, **options}))

    def publish(self, *, name: str = NAME, priority: int = 0) -> Publishing:
        return self.channels.get(name).publish(
            (VIDEO,), PublishKind.PUSH, "127.0.0.1", priority=priority
        )

    def has(self, name: str = NAME) -> bool:
        channel = self.channels.find(name)
        return channel is not None and bool(channel.tracks)

    def watch(self) -> Viewer:
        return Viewer(self.channel)


@contextlib.asynccontextmanager
async def nodes(
    count: int, rules: Rules | None = None, options: LinkOptions | None = None
) -> AsyncIterator[list[Node]]:
    network = MemoryNetwork()
    made = [Node(network, rules, options or LinkOptions()) for _ in range(count)]
    try:
        for node in made:
            await node.start()
        yield made
    finally:
        for node in reversed(made):
            await node.stop()


class OnAir:
    """A camera that sends by itself until it is told to stop."""

    def __init__(self, publishing: Publishing, camera: Camera | None = None) -> None:
        self.camera = camera or Camera()
        self.publishing = publishing
        self.sent = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        while True:
            self.publishing.push(0, [self.camera.frame(key=self.sent % 15 == 0)])
            self.sent += 1
            await asyncio.sleep(1 / 60)

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
