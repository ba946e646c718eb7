"""One harness over every implementation of the bus, so that one suite compares them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tests.ports import free_port

from heliograph.bus import Bus, BusOptions
from heliograph.bus.authority import Authority
from heliograph.bus.identity import Identity
from heliograph.bus.memory import MemoryNetwork
from heliograph.model.nodes import node_id

#: How long threads, sockets and handshakes may take for what memory does at once, seconds.
PATIENCE = 30.0


async def until(condition: Callable[[], Any]) -> Any:
    """Wait until ``condition`` is true, and give its value."""
    async with asyncio.timeout(PATIENCE):
        while not (value := condition()):  # noqa: ASYNC110 - of whatever is looked at
            await asyncio.sleep(0.005)
        return value


async def settle(*buses: Bus) -> None:
    """Wait until what was begun at each is known to all: who sees a name of a node can call what
    it served before."""
    for bus in buses:
        with bus.announce("settled", "now"):
            for one in buses:
                await until(lambda at=one, of=bus: (of.node, "now") in at.present("settled"))


class Site(Protocol):
    """Nodes that find each other."""

    async def bus(self) -> Bus:
        """One more node; all others see it soon."""
        ...

    async def close(self) -> None: ...


class MemorySite:
    """Nodes in memory."""

    def __init__(self) -> None:
        self.network = MemoryNetwork()
        self.buses: list[Bus] = []

    async def bus(self) -> Bus:
        key = Ed25519PrivateKey.generate().public_key()
        node = node_id(key.public_bytes(Encoding.Raw, PublicFormat.Raw))
        self.buses.append(await self.network.bus(node))
        return self.buses[-1]

    async def close(self) -> None:
        for bus in self.buses:
            await bus.close()


class ZenohSite:
    """Nodes over TLS on this machine; each joins by the first one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = datetime.now(UTC)
        self.authority = Authority.make(self.now)
        self.ports: list[int] = []
        self.buses: list[Bus] = []

    def identity(self, name: str, authority: Authority | None = None) -> Identity:
        """A member of this cluster, or of another one."""
        found = Identity.load(self.directory / name)
        by = authority or self.authority
        found.join(by.certificate, by.issue(found.public_key, self.now), self.now)
        return found

    def options(self, identity: Identity, port: int, **given: Any) -> BusOptions:
        """Of a node that joins by the first one."""
        join = tuple(f"127.0.0.1:{one}" for one in self.ports[:1])
        values = {"listen": (f"127.0.0.1:{port}",), "join": join} | given
        return BusOptions(identity.node, identity.credentials(self.now), **values)

    async def bus(self) -> Bus:
        port = free_port()
        identity = self.identity(f"node{len(self.buses)}")
        bus = await Bus.open(self.options(identity, port))
        self.buses.append(bus)
        self.ports.append(port)
        for one in self.buses:
            await until(lambda at=one: {each.node for each in self.buses} <= nodes(at))
        return bus

    async def close(self) -> None:
        await asyncio.gather(*(bus.close() for bus in self.buses))


def nodes(bus: Bus) -> set[str]:
    """Whom a bus sees, itself too."""
    return {node for node, _ in bus._directory._table.sessions()}
