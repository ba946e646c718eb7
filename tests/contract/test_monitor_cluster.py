"""Three monitors as processes, over Zenoh: what they say together of a server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.bus_site import ZenohSite, until
from tests.contract.monitors import MonitorProcess, agreed
from tests.ports import free_port

from heliograph.bus.options import LEASE

pytestmark = pytest.mark.alone

#: Seconds after the second miss in which all know what the majority knows.
KNOWN = 1.0
#: Seconds beyond the lease in which a dead monitor's voice ends; the machine does other things.
MARGIN = 1.0


class Door:
    """One way to a server: what a monitor of its own sees of it."""

    def __init__(self) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Let everybody in."""
        self._socket = sock = socket.create_server(("127.0.0.1", self.port), backlog=64)
        sock.setblocking(False)

        def accept() -> None:
            with contextlib.suppress(OSError):
                sock.accept()[0].close()

        asyncio.get_running_loop().add_reader(sock, accept)

    def close(self) -> None:
        """Refuse everybody."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None


class Node(MonitorProcess):
    """Sees server 1 by a door of its own, server 2 by everybody's."""

    def __init__(self, id: str, everybody: Door) -> None:
        self.door = Door()
        super().__init__(id, [self.door.address, everybody.address])

    def missed(self) -> list[float]:
        """When it did not reach server 1."""
        return self.misses.get(self.door.address, [])

    async def end(self) -> None:
        self.door.close()
        await super().end()


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[Node]]:
    """Three that see each other and both servers."""
    site, found, joins = ZenohSite(tmp_path), [], list[str]()
    everybody = Door()
    everybody.open()
    for name in "abc":
        node, listen = Node(site.identity(name).node, everybody), f"127.0.0.1:{free_port()}"
        node.door.open()
        await node.start(tmp_path / name, listen, joins[:1])
        joins.append(listen)
        found.append(node)
    try:
        await until(lambda: all(agreed(node, found) for node in found))
        yield found
        for node in found:
            assert node.turns(2) == ["up"], node.said[2]
    finally:
        await asyncio.gather(*(node.end() for node in found))
        everybody.close()


async def test_majority_decides_and_nobody_turns_twice(nodes: list[Node]) -> None:
    one, two, three = nodes
    one.door.close()
    await until(lambda: all("1 of 3" in node.reason() for node in nodes))
    await until(lambda: all(node.views[one.node]["1"] == "down" for node in nodes))
    before = len(one.missed())
    await until(lambda: len(one.missed()) > before + 5)  # it sees it dead for a while
    assert [node.turns() for node in nodes] == [["up"]] * 3

    two.door.close()
    await until(lambda: [node.condition() for node in nodes] == ["down"] * 3)
    second = two.missed()[1]
    for node in nodes:
        assert second - 0.1 < node.turned() < second + KNOWN
        assert "2 of 3" in node.reason()

    one.door.open()
    two.door.open()
    await until(lambda: all(agreed(node, nodes) for node in nodes))
    assert [node.turns() for node in nodes] == [["up", "down", "starting", "up"]] * 3
    assert three.missed() == []


async def test_voice_of_a_killed_monitor_is_forgotten(nodes: list[Node]) -> None:
    one, two, three = nodes
    one.door.close()
    await until(lambda: all("1 of 3" in node.reason() for node in nodes))
    # Of the two that are left each says something else: that is for the worse.
    killed = three.signal(signal.SIGKILL)
    await until(lambda: one.condition() == two.condition() == "down")
    assert max(one.turned(), two.turned()) - killed < LEASE + MARGIN
    assert "1 of 2" in two.reason()
    killed = one.signal(signal.SIGKILL)
    await until(lambda: two.condition() == "up")
    assert two.turned() - killed < LEASE + MARGIN
    assert two.turns() == ["up", "down", "up"]
    await until(lambda: [*two.views] == [two.node])


@pytest.mark.long
@pytest.mark.parametrize("blind", [0, 2])
async def test_monitor_that_stood_still_comes_back_and_nothing_turns(
    nodes: list[Node], blind: int
) -> None:
    """``blind``: which of them does not reach server 1, the last being the one that stands."""
    one, two, three = nodes
    if blind == 2:
        three.door.close()
        await until(lambda: all("1 of 3" in node.reason() for node in nodes))
    three.signal(signal.SIGSTOP)
    for node in (one, two):
        await until(lambda at=node: [*sorted(at.views)] == sorted((one.node, two.node)))
    await asyncio.sleep(3.5)  # views of others are stale by then
    assert [node.turns() for node in nodes] == [["up"]] * 3
    three.signal(signal.SIGCONT)
    for node in nodes:
        await until(lambda at=node: len(at.views) == 3)
    if blind == 2:
        await until(lambda: all("1 of 3" in node.reason() for node in nodes))
    # What its return stirs up has come to rest when it has measured a few times more.
    told, misses = three.told, len(three.missed())
    await until(lambda: three.told > told + 5 or len(three.missed()) > misses + 5)
    assert [node.turns() for node in nodes] == [["up"]] * 3
