"""Where a node's blocks are served to others."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from heliograph.bus.identity import Identity
from heliograph.bus.memory import MemoryNetwork
from heliograph.model.errors import ResourceError
from heliograph.node.storage.peers import BLOCKS, Connected, _context

PATIENCE = 20.0


async def test_nodes_come_by_both_families_where_all_addresses_are_listened_at(tmp_path: Path):
    identity = Identity.load(tmp_path)
    now = datetime.now(UTC)
    identity.found(now)
    credentials = identity.credentials(now)
    assert credentials is not None
    bus = await MemoryNetwork().bus(identity.node)
    peers = Connected(bus, credentials, "::", 0, ["127.0.0.1"])
    await peers.start()
    try:
        await peers.serve({}.get)
        (told,) = bus.present(BLOCKS).values()
        asking = _context(credentials, False)
        for host in ("127.0.0.1", "::1"):
            async with asyncio.timeout(PATIENCE):
                _, writer = await asyncio.open_connection(host, told["port"], ssl=asking)
            assert writer.get_extra_info("ssl_object").getpeercert()
            writer.close()
    finally:
        await peers.close()
        await bus.close()


async def test_a_port_that_is_taken_is_told(tmp_path: Path):
    identity = Identity.load(tmp_path)
    now = datetime.now(UTC)
    identity.found(now)
    bus = await MemoryNetwork().bus(identity.node)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        peers = Connected(bus, identity.credentials(now), "127.0.0.1", port, [])
        with pytest.raises(ResourceError, match=rf"127\.0\.0\.1:{port}.*\(storage\.port\)"):
            await peers.serve({}.get)
        await peers.close()
    await bus.close()
