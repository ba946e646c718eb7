"""A monitor as a process of its own, and what it tells."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any


class MonitorProcess:
    """A monitor of servers 1, 2, …; times are of the clock that all processes here share."""

    def __init__(self, node: str, servers: Sequence[str]) -> None:
        """``node``: its id. ``servers``: where each of them is, as ``monitor_node`` has it."""
        self.node = node
        self.servers = servers
        self.misses: dict[str, list[float]] = {}
        """When which server was not reached."""
        self.said: dict[int, list[tuple[float, str, str]]] = {}
        """What all monitors say of each server: since when, its condition and why."""
        self.views: dict[str, dict[str, str]] = {}
        """What each monitor that is heard says of each server."""
        self.doubts: list[str] = []
        """Monitors that doubt themselves."""
        self.doubted: list[float] = []
        """When this one began to."""
        self.told = 0
        """How often it told what all say."""
        self._process: asyncio.subprocess.Process
        self._reads: asyncio.Task[None]

    async def start(
        self, directory: Path, listen: str, join: Sequence[str], *, namespace: str = ""
    ) -> None:
        """``listen``, ``join``: addresses of its bus, and of those it joins by."""
        command = [sys.executable, "-m", "tests.contract.monitor_node"]
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]
        self._process = await asyncio.create_subprocess_exec(
            *(*command, str(directory), listen, *self.servers, "--", *join),
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
        match kind:
            case "miss":
                self.misses.setdefault(value, []).append(at)
            case "views":
                self.views = value
            case "doubts":
                if self.node in value and self.node not in self.doubts:
                    self.doubted.append(at)
                self.doubts = value
            case "states":
                self.told += 1
                for id, (condition, reason) in value.items():
                    known = self.said.setdefault(int(id), [])
                    if not known or known[-1][1:] != (condition, reason):
                        known.append((at, condition, reason))

    def condition(self, server: int = 1) -> str:
        """What all say of it now; empty: nothing yet."""
        return self.said[server][-1][1] if server in self.said else ""

    def reason(self, server: int = 1) -> str:
        return self.said[server][-1][2] if server in self.said else ""

    def turns(self, server: int = 1) -> list[str]:
        """Its conditions, one after the other, from when it was first measured."""
        found = (one for _, one, _ in self.said.get(server, []))
        return [key for key, _ in groupby(found) if key != "unknown"]

    def turned(self, server: int = 1) -> float:
        """When it got the condition that it has."""
        said = self.said[server]
        return next(
            at
            for (at, one, _), before in zip(said[::-1], [*said[-2::-1], (0.0, "", "")], strict=True)
            if before[1] != one
        )

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; the time of it."""
        self._process.send_signal(number)
        return time.monotonic()

    async def end(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reads


def agreed(node: MonitorProcess, nodes: Sequence[MonitorProcess]) -> bool:
    """Whether it has heard that all these have found all servers up."""
    up = {str(id): "up" for id in range(1, len(node.servers) + 1)}
    said = all(node.condition(int(id)) == "up" for id in up)
    return said and {one.node: up for one in nodes} == node.views
