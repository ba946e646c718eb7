"""Three monitors as processes, over Zenoh: what they say together of a server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from tests.contract.bus_site import ZenohSite, until
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


class Node:
    """A monitor of its own process; server 1 by a door of its own, server 2 by everybody's."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.door = Door()
        self.misses: list[float] = []
        """When it did not reach server 1."""
        self.said: list[tuple[float, str, str]] = []
        """What all say of server 1: since when, its condition and why."""
        self.other: list[str] = []
        """The conditions of server 2."""
        self.views: dict[str, dict[str, str]] = {}
        self._process: asyncio.subprocess.Process
        self._reads: asyncio.Task[None]

    async def start(self, directory: Path, port: int, doors: list[int], join: list[str]) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.contract.monitor_node",
            *(str(directory), str(port), *map(str, doors), "--", *join),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._reads = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if line.startswith(b"["):
                self._take(*json.loads(line))

    def _take(self, at: float, kind: str, value: Any) -> None:
        if kind == "miss" and value == self.door.port:
            self.misses.append(at)
        elif kind == "views":
            self.views = value
        elif kind == "states":
            self.other.append(value["2"][0] if "2" in value else "unknown")
            said = tuple(value.get("1", ("unknown", "")))
            if not self.said or self.said[-1][1:] != said:
                self.said.append((at, *said))

    @property
    def now(self) -> str:
        return self.said[-1][1] if self.said else ""

    @property
    def reason(self) -> str:
        return self.said[-1][2]

    def turns(self) -> list[str]:
        """The conditions of server 1, one after the other."""
        return [key for key, _ in groupby(one for _, one, _ in self.said) if key != "unknown"]

    def turned(self) -> float:
        """When it got the condition that it has."""
        return next(
            at
            for (at, one, _), before in zip(
                self.said[::-1], [*self.said[-2::-1], (0.0, "", "")], strict=True
            )
            if before[1] != one
        )

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; the time of it."""
        self._process.send_signal(number)
        return time.monotonic()

    async def end(self) -> None:
        self.door.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reads


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[Node]]:
    """Three that see each other and both servers."""
    site, found, joins = ZenohSite(tmp_path), [], list[str]()
    everybody = Door()
    everybody.open()
    for name in "abc":
        node, port = Node(site.identity(name).node), free_port()
        node.door.open()
        doors = [node.door.port, everybody.port]
        await node.start(tmp_path / name, port, doors, joins[:1])
        joins.append(f"127.0.0.1:{port}")
        found.append(node)
    try:
        await until(lambda: all(agreed(node, found) for node in found))
        yield found
        for node in found:
            assert set(node.other) <= {"unknown", "up"}, node.other
    finally:
        await asyncio.gather(*(node.end() for node in found))
        everybody.close()


def agreed(node: Node, nodes: list[Node]) -> bool:
    """Whether it has heard that all these have found both servers up."""
    return node.now == "up" and {one.id: {"1": "up", "2": "up"} for one in nodes} == node.views


async def test_majority_decides_and_nobody_turns_twice(nodes: list[Node]) -> None:
    one, two, three = nodes
    one.door.close()
    await until(lambda: all("1 of 3" in node.reason for node in nodes))
    await until(lambda: all(node.views[one.id]["1"] == "down" for node in nodes))
    before = len(one.misses)
    await until(lambda: len(one.misses) > before + 5)  # it sees it dead for a while
    assert [node.turns() for node in nodes] == [["up"]] * 3

    two.door.close()
    await until(lambda: [node.now for node in nodes] == ["down"] * 3)
    second = two.misses[1]
    for node in nodes:
        assert second - 0.1 < node.turned() < second + KNOWN
        assert "2 of 3" in node.reason

    one.door.open()
    two.door.open()
    await until(lambda: all(agreed(node, nodes) for node in nodes))
    assert [node.turns() for node in nodes] == [["up", "down", "starting", "up"]] * 3
    assert three.misses == []


async def test_voice_of_a_killed_monitor_is_forgotten(nodes: list[Node]) -> None:
    one, two, three = nodes
    one.door.close()
    await until(lambda: all("1 of 3" in node.reason for node in nodes))
    # Of the two that are left each says something else: that is for the worse.
    killed = three.signal(signal.SIGKILL)
    await until(lambda: one.now == two.now == "down")
    assert max(one.turned(), two.turned()) - killed < LEASE + MARGIN
    assert "1 of 2" in two.reason
    killed = one.signal(signal.SIGKILL)
    await until(lambda: two.now == "up")
    assert two.turned() - killed < LEASE + MARGIN
    assert two.turns() == ["up", "down", "up"]
    await until(lambda: [*two.views] == [two.id])


@pytest.mark.long
@pytest.mark.parametrize("blind", [0, 2])
async def test_monitor_that_stood_still_comes_back_and_nothing_turns(
    nodes: list[Node], blind: int
) -> None:
    """``blind``: which of them does not reach server 1, the last being the one that stands."""
    one, two, three = nodes
    if blind == 2:
        three.door.close()
        await until(lambda: all("1 of 3" in node.reason for node in nodes))
    three.signal(signal.SIGSTOP)
    for node in (one, two):
        await until(lambda at=node: [*sorted(at.views)] == sorted((one.id, two.id)))
    await asyncio.sleep(3.5)  # views of others are stale by then
    assert [node.turns() for node in nodes] == [["up"]] * 3
    three.signal(signal.SIGCONT)
    for node in nodes:
        await until(lambda at=node: len(at.views) == 3)
    if blind == 2:
        await until(lambda: all("1 of 3" in node.reason for node in nodes))
    # What its return stirs up has come to rest when it has measured a few times more.
    shared, misses = len(three.other), len(three.misses)
    await until(lambda: len(three.other) > shared + 5 or len(three.misses) > misses + 5)
    assert [node.turns() for node in nodes] == [["up"]] * 3
