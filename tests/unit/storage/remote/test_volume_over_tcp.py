"""A volume whose nodes talk over real connections."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.storage.disks.faulty import System, standing_in
from tests.unit.storage.volume.cluster import Cluster, all_at_home, check, payloads, write

from heliograph.model.nodes import NodeId
from heliograph.storage.remote import client
from heliograph.storage.remote.client import Address, RemotePeers
from heliograph.storage.remote.server import StoreServer
from heliograph.storage.volume import changes


class Wired(Cluster):
    """The same nodes, each with a server."""

    servers: dict[NodeId, StoreServer]
    addresses: dict[NodeId, Address]
    wires: list[RemotePeers]

    def peers(self, asker: NodeId) -> RemotePeers:
        if not hasattr(self, "wires"):
            self.servers, self.addresses, self.wires = {}, {}, []
        peers = RemotePeers("films")
        self.wires.append(peers)
        return peers

    async def serve(self) -> None:
        """Let all nodes be reached."""
        for id, node in self.nodes.items():
            if id not in self.servers:
                self.servers[id] = StoreServer({"films": node.store}.get)
                port = await self.servers[id].start(socket.create_server(("127.0.0.1", 0)))
                self.addresses[id] = Address("127.0.0.1", port)
        for peers in self.wires:
            peers.update(self.addresses)

    async def stop(self, id: NodeId) -> None:
        """A node is no more."""
        self.nodes[id].up = False
        await self.servers.pop(id).close()

    async def close(self) -> None:
        for peers in self.wires:
            await peers.close()
        for server in self.servers.values():
            await server.close()
        await super().close()


@pytest.fixture
async def wired(tmp_path: Path) -> AsyncIterator[Wired]:
    with standing_in(System()):
        cluster = await Wired.make(tmp_path / "cluster", (1, 1, 1, 1))
        assert isinstance(cluster, Wired)
        await cluster.serve()
        yield cluster
        await cluster.close()


async def test_a_volume_lives_over_tcp(wired: Wired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BLACKOUT", 0.1)
    blocks = payloads(40)
    object = await write(wired, blocks)
    await check(wired, object, blocks)
    all_at_home(wired, object, 40)
    entry = wired.add(4)
    await wired.serve()
    await wired.change(changes.add_disks(wired.state, [entry]))
    reading = asyncio.gather(*(check(wired, object, blocks) for _ in range(3)))
    await wired.settle()
    await reading
    all_at_home(wired, object, 40)
    gone = wired.state.disks[1]
    await wired.stop(gone.node)
    await check(wired, object, blocks)  # its node is silent, and nobody has said that it is lost
    await wired.change(changes.fail_disks(wired.state, [gone.id]))
    await wired.settle()
    await check(wired, object, blocks)
    survey = await wired.node(0).volume.survey(object, read=True)
    assert (survey.lost, survey.unreachable, survey.degraded) == ((), (), 0)
    usage = await wired.node(0).volume.usage()
    assert {one.id for one in wired.state.disks} == {*usage}
    await wired.node(2).volume.delete(object)
    assert await wired.node(0).volume.objects() == {}
