"""Where the disks of other nodes are found."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from heliograph.bus.memory import MemoryNetwork
from heliograph.bus.options import Credentials
from heliograph.model.nodes import NodeId
from heliograph.node.storage import peers
from heliograph.node.storage.peers import BLOCKS, Connected

HERE, THERE = NodeId("a" * 16), NodeId("b" * 16)


async def test_every_address_that_a_node_tells_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_context", lambda credentials, server: None)
    network = MemoryNetwork()
    here, there = await network.bus(HERE), await network.bus(THERE)
    path = Path("none")
    credentials = Credentials(path, path, path, "c")
    connected = Connected(here, credentials, "127.0.0.1", 0, ["127.0.0.1"])
    await connected.start()
    hosts = ["192.0.2.7", "198.51.100.7", "no address", "127.0.0.1"]
    there.announce(BLOCKS, "disks", {"hosts": [*hosts], "port": 7453})
    async with asyncio.timeout(20):
        while THERE not in connected._addresses:  # noqa: ASYNC110 - presence tells nobody here
            await asyncio.sleep(0.01)
    found = connected._addresses[THERE]
    # What is no address, and the other's loopback, are of no use here.
    assert {found.host, *found.others} == {*hosts[:2]}
    assert found.port == 7453
    await connected.close()
    await here.close()
    await there.close()
