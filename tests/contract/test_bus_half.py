"""Two nodes that connect to each other, and of whose connections one end is forgotten."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.bus_site import ZenohSite, nodes, until
from tests.ports import free_port

from heliograph.bus import Bus, Event
from heliograph.bus.directory import HALF

#: Seconds without a word after which each node takes the other for gone.
SHORT, LONG = 1.0, 6.0


class Relay:
    """Forwards TCP connections; those that are there can be let fall silent, as by a lost way."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._server: asyncio.Server
        self._ways: list[asyncio.Task[None]] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._heard = asyncio.Event()
        self._heard.set()
        self.connections = 0.0
        """That are open, each end a half."""

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard = self._heard
        try:
            there = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        self._writers += [writer, there[1]]
        self.connections += 1
        self._ways += [
            asyncio.create_task(self._carry(reader, there[1], heard)),
            asyncio.create_task(self._carry(there[0], writer, heard)),
        ]

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: asyncio.Event
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await heard.wait()  # for ever, once it has fallen silent
                writer.write(data)
                await writer.drain()
            await heard.wait()
            writer.close()
            self.connections -= 0.5

    def silence(self) -> None:
        """Nothing more passes on what is connected by now; who comes next is served."""
        self._heard.clear()
        self._heard = asyncio.Event()
        self._heard.set()

    async def close(self) -> None:
        self._server.close()
        for way in self._ways:
            way.cancel()
        await asyncio.gather(*self._ways, return_exceptions=True)
        for writer in self._writers:
            writer.close()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ZenohSite]:
    made = ZenohSite(tmp_path)
    yield made
    await made.close()


@pytest.mark.long
async def test_half_a_connection_does_not_last(site: ZenohSite) -> None:
    one, other = site.identity("one"), site.identity("other")
    ports = free_port(), free_port()
    to_one, to_other = Relay(ports[0]), Relay(ports[1])
    # Each is told of the relay only, so that all their connections go through.
    join = [f"127.0.0.1:{await relay.start()}" for relay in (to_other, to_one)]
    given = ((one, ports[0], join[0], LONG), (other, ports[1], join[1], SHORT))
    for identity, port, at, lease in given:
        options = site.options(identity, port, join=(at,), lease=lease)
        site.buses.append(await Bus.open(options))
    first, second = site.buses
    try:
        await until(lambda: len(nodes(first)) == len(nodes(second)) == 2)
        await until(lambda: min(to_one.connections, to_other.connections) >= 1)
        second.announce("unit", "u")
        await first.until_present("unit")
        seen: list[Event] = []
        first.watch("unit", seen.append)
        # The link that ``one`` made goes first; ``other`` forgets it while it still has its own.
        to_other.silence()
        await asyncio.sleep(LONG - 2 * SHORT)
        to_one.silence()
        await until(lambda: len(nodes(first)) == 1)
        assert len(nodes(second)) == 2  # it has not noticed
        async with asyncio.timeout(HALF + LONG + 15):
            await first.until_present("unit", timeout=60)
        first.announce("unit", "v")
        async with asyncio.timeout(10):
            await second.until_present("unit", 2)
        assert sum(bus.counters()["renewals"] for bus in site.buses) == 1
    finally:
        await to_one.close()
        await to_other.close()
