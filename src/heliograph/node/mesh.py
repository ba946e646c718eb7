"""This node's part in the cluster's media: its mesh port, its reflector, the channels it shares."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import asdict
from typing import Any

import structlog

from heliograph.bus import Arrived, Bus, Event
from heliograph.bus.identity import Identity
from heliograph.live.flows import Neighbours
from heliograph.live.links import LinkOptions, Links
from heliograph.live.neighbours import Rules
from heliograph.live.reflector import Reflector
from heliograph.live.registry import Channels
from heliograph.live.shared import SharedChannels
from heliograph.live.trees import Branch
from heliograph.model.errors import HelioError, ResourceError
from heliograph.model.files import write_private
from heliograph.model.media import check_channel_name
from heliograph.model.nodes import check_node_id
from heliograph.node.addresses import candidates, nearest
from heliograph.node.settings.cluster import MeshSettings
from heliograph.plane import PlaneLoop

log = structlog.get_logger(__name__)

MESH = "mesh"
"""Kind of the announcement by which a node tells where its mesh port is."""


#: What is kept of an orderly end, beside the node's key.
NEIGHBOURS_FILE = "neighbours.json"


class Mesh:
    """Opened once the bus and the channels are there."""

    def __init__(
        self,
        identity: Identity,
        bus: Bus,
        loop: PlaneLoop,
        channels: Channels,
        settings: MeshSettings,
        name: str,
        *,
        home: str = "",
        read: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        """``name``: what people call this node. ``home`` and ``read`` as of ``SharedChannels``.

        ``ResourceError`` where the port cannot be opened.
        """
        host = f"[{settings.host}]" if settings.host.version == 6 else str(settings.host)
        address = f"{host}:{settings.port}"
        groups = settings.groups
        try:
            port = loop.plane.mesh_open(
                address,
                multicast_port=0 if groups is None else groups.port,
                multicast_interface=str(settings.multicast_interface or ""),
                multicast_ttl=settings.multicast_ttl,
            )
        except OSError as error:
            also = "" if groups is None else f", or for multicast at port {groups.port}"
            raise ResourceError(
                f"cannot listen for mesh links at {address}{also}: {error.strerror or error} "
                "(mesh.port, mesh.multicast)",
                subject="mesh.port",
            ) from error
        self.port = port.port
        self._bus = bus
        options = LinkOptions(
            kind=settings.kind,
            keepalive_ms=settings.keepalive_ms,
            silence_ms=settings.silence_ms,
            multicast=groups,
        )
        public = [str(one) for one in settings.public_addresses]
        found = candidates(str(settings.host), public)
        hosts = public or [one.rpartition(":")[0].strip("[]") for one in found]
        self.name = name
        self._here = bus.announce(MESH, name, {"hosts": hosts, "port": port.port})
        self.links = Links(identity.key, bus, loop, port, self._where, options)
        self.reflector = Reflector(
            identity.node,
            channels,
            self.links,
            self._sources,
            Rules(redundancy=settings.redundancy),
        )
        self.shared = SharedChannels(bus, channels, self.reflector, self.name, home=home, read=read)
        self._watching = bus.watch(MESH, self._seen)
        self._kept = identity.directory / NEIGHBOURS_FILE
        self._come_back()
        log.info("mesh listens", node=identity.node, port=port.port, addresses=hosts)

    def _seen(self, event: Event) -> None:
        if isinstance(event, Arrived) and event.name.node != self._bus.node:
            self.reflector.appeared(event.name.node)

    def _where(self, node: str) -> Sequence[str]:
        for (one, _), value in self._bus.present(MESH).items():
            if one == node and isinstance(value, dict) and isinstance(value.get("hosts"), list):
                return nearest(str(host) for host in value["hosts"])
        return ()

    async def _sources(self, channel: str) -> Sequence[str]:
        return await self.shared.sources(channel)

    async def tree(self, channel: str) -> tuple[Branch, ...]:
        """How a channel reaches its viewers over all nodes."""
        return await self.shared.tree(channel)

    def describe(self) -> dict[str, Any]:
        """For the API: links and what crosses them."""
        return {
            "node": self._bus.node,
            "name": self.name,
            "port": self.port,
            "links": [link.describe() for link in self.links],
            "casts": self.reflector.casts.describe(),
            "channels": self.reflector.describe(),
            "counters": {
                **self.links.counters,
                **self.shared.counters,
                **self.reflector.casts.counters,
            },
        }

    async def leave(self) -> None:
        """Leave in order: neighbours find other sources first; bounded. Who they were is kept for
        the next start."""
        before = await self.reflector.leave()
        told = {name: asdict(one) for name, one in before.items()}
        try:
            await asyncio.to_thread(write_private, self._kept, json.dumps(told) + "\n")
        except OSError as error:
            log.warning("neighbours not kept", file=str(self._kept), error=str(error))

    def _come_back(self) -> None:
        """Tell the neighbours of before the last orderly end that this node is back."""
        try:
            told = json.loads(self._kept.read_text("utf-8"))
            for name, one in told.items():
                nodes = [tuple(map(check_node_id, one[side])) for side in ("sources", "clients")]
                self.reflector.come_back(check_channel_name(name), Neighbours(*nodes))
            self._kept.unlink()
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, HelioError) as error:
            log.warning("neighbours of before not known", file=str(self._kept), error=str(error))

    async def close(self) -> None:
        """End all links."""
        self._watching.close()
        self._here.close()
        await self.shared.close()
        await self.reflector.close()
