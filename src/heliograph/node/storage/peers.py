"""How this node reaches the disks of others, and they reach its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from heliograph.bus import Bus, Event, Registration
from heliograph.bus.options import Credentials
from heliograph.model.errors import UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.node.addresses import nearest
from heliograph.servers.listening import bind_tcp, told

if TYPE_CHECKING:  # only nodes of a cluster need them
    from heliograph.storage.remote.client import Address, RemotePeers
    from heliograph.storage.remote.server import StoreServer
    from heliograph.storage.volume.stores import Peers, Store

log = structlog.get_logger(__name__)

#: Kind of the name by which a node tells where its disks are served.
BLOCKS = "blocks"
#: Connections of other nodes that wait to be taken: as many as a domain has nodes.
BACKLOG = 200


class Connected:
    """The other nodes of a cluster; of a node that is alone there are none."""

    def __init__(
        self, bus: Bus, credentials: Credentials | None, host: str, port: int, hosts: list[str]
    ) -> None:
        """``credentials``: None, this node is alone. ``hosts``: where others reach this one."""
        self._bus = bus
        self._credentials = credentials
        self._host, self._port, self._hosts = host, port, hosts
        self._peers: dict[str, RemotePeers] = {}
        self._server: StoreServer | None = None
        self._registrations: list[Registration] = []
        self._client: ssl.SSLContext | None = None
        self._addresses: Mapping[NodeId, Address] = {}

    async def start(self) -> None:
        """Know where the others are."""
        if self._credentials is not None:
            self._client = await asyncio.to_thread(_context, self._credentials, False)
            self._registrations.append(self._bus.watch(BLOCKS, self._seen))

    async def serve(self, find: Callable[[str], Store | None]) -> None:
        """Let others read and write; ``find`` gives this node's disks of a volume.

        ``ResourceError`` where the port cannot be had.
        """
        if self._credentials is None:
            return
        from heliograph.storage.remote.server import StoreServer

        context = await asyncio.to_thread(_context, self._credentials, True)
        with told("storage", self._host, self._port):
            listener = bind_tcp(self._host, self._port, BACKLOG)
        self._server = StoreServer(find)
        port = await self._server.start(listener, context)
        value = {"hosts": self._hosts, "port": port}
        self._registrations.append(self._bus.announce(BLOCKS, "disks", value))
        log.info("blocks are served", port=port, addresses=self._hosts)

    def of(self, volume: str) -> Peers:
        """The other nodes of a volume."""
        if self._credentials is None:
            return _Nobody()
        from heliograph.storage.remote.client import RemotePeers

        found = self._peers.get(volume)
        if found is None:
            found = self._peers[volume] = RemotePeers(volume, self._client)
            found.update(self._addresses)
        return found

    async def close(self) -> None:
        """End all connections."""
        for registration in self._registrations:
            registration.close()
        for peers in self._peers.values():
            await peers.close()
        if self._server is not None:
            await self._server.close()

    def _seen(self, event: Event) -> None:
        from heliograph.storage.remote.client import Address

        found: dict[NodeId, Address] = {}
        for (node, _), value in self._bus.present(BLOCKS).items():
            hosts = value.get("hosts") if isinstance(value, dict) else None
            port = value.get("port") if isinstance(value, dict) else None
            if node == self._bus.node or not isinstance(hosts, list) or not hosts:
                continue
            if isinstance(port, int) and 0 < port < 65536:
                first, *others = nearest(str(one) for one in hosts) or [str(hosts[0])]
                found[node] = Address(first, port, certified=True, others=tuple(others))
        self._addresses = found
        for peers in self._peers.values():
            peers.update(found)


class _Nobody:
    """``Peers`` of a node that is alone."""

    def store(self, node: NodeId) -> Store:
        raise UnreachableError(f"node {node} is not there", subject=node)


def _context(credentials: Credentials, server: bool) -> ssl.SSLContext:
    """Both ends show certificates of the cluster's authority, and take no others."""
    purpose = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    context = ssl.SSLContext(purpose)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(credentials.authority)
    context.load_cert_chain(credentials.certificate, credentials.key)
    return context
