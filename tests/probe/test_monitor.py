"""The monitor with servers of different make that are killed, frozen, cut off and brought back."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.interop.peers import gstreamer
from tests.interop.peers.clip import Clip
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.interop.peers.proxies import NGINX
from tests.ports import free_port

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.contents.values import Condition, Probe, ProbeKind, Server
from heliograph.dispatcher.monitor.health import HealthOptions
from heliograph.dispatcher.monitor.monitor import Monitor, MonitorOptions
from heliograph.dispatcher.monitor.probes import Prober
from heliograph.model.nodes import NodeId

PATIENCE = 45.0
#: Seconds after its death in which a server that is probed each 300 ms has to be known as dead.
NOTICED = 1.0
OPTIONS = MonitorOptions(HealthOptions(slow_start=1.0))
UP, STARTING, DOWN = Condition.UP, Condition.STARTING, Condition.DOWN


class Nginx(Program):
    """A web server with one file."""

    def __init__(self, directory: Path, port: int, address: str = "127.0.0.1", **more) -> None:
        self.port = port
        directory.mkdir(exist_ok=True)
        (directory / "film.mp4").write_bytes(os.urandom(300_000))
        directory.chmod(0o755)
        places = "".join(
            f"{name}_temp_path {directory}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = directory / "nginx.conf"
        config.write_text(
            f"user root;\nworker_processes 1;\npid {directory}/nginx.pid;\n"
            f"error_log stderr warn;\nevents {{}}\nhttp {{\naccess_log off;\n{places}"
            f"server {{ listen {address}:{port}; root {directory}; }}\n}}\n"
        )
        argv = [NGINX, "-c", str(config), "-p", str(directory), "-g", "daemon off;"]
        super().__init__(f"nginx-{port}", argv, directory, **more)


def tell(program: Program, number: signal.Signals) -> None:
    """Send a signal to a program and all its children."""
    os.killpg(program.process.pid, number)


class Watched:
    """A monitor, and when each server turned to what."""

    def __init__(self) -> None:
        self.turns: dict[int, list[tuple[float, Condition]]] = {}
        self.monitor: Monitor

    def changed(self, states) -> None:
        for id, state in states.items():
            turns = self.turns.setdefault(id, [])
            if not turns or turns[-1][1] is not state.condition:
                turns.append((time.monotonic(), state.condition))

    def now(self, id: int) -> Condition:
        return self.turns[id][-1][1]

    async def until(self, id: int, condition: Condition) -> float:
        """Wait until a server is that; when it turned to it."""
        async with asyncio.timeout(PATIENCE):
            while id not in self.turns or self.now(id) is not condition:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return self.turns[id][-1][0]


@asynccontextmanager
async def watching(*servers: Server, count: int = 1) -> AsyncIterator[list[Watched]]:
    """So many monitors of these servers, on one bus."""
    network, found, buses = MemoryNetwork(), [], []
    for name in "abcdefgh"[:count]:
        bus = await network.bus(NodeId(name * 16))
        buses.append(bus)
        watched = Watched()
        watched.monitor = Monitor(bus, Prober(), OPTIONS, of="d" * 16, changed=watched.changed)
        watched.monitor.start()
        watched.monitor.replace_servers(servers)
        found.append(watched)
    try:
        yield found
    finally:
        for watched, bus in zip(found, buses, strict=True):
            await watched.monitor.close()
            await bus.close()


def server(
    id: int,
    kind: ProbeKind,
    port: int,
    path: str,
    host: str = "127.0.0.1",
    interval: float = 0.3,
) -> Server:
    probes = (Probe(kind, interval, port, path), Probe(ProbeKind.ICMP, 1.0))
    return Server(id, f"s{id}", host, probes=probes)


def listening(program: Program, port: int) -> None:
    def look() -> bool:
        import socket

        assert program.running, program.log
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    wait_until(look, 15, f"{program.name} listens")


@pytest.mark.probe
@pytest.mark.alone
async def test_death_and_freeze_are_noticed_within_a_second(
    tmp_path: Path, clip: Clip, run: Callable[[Program], Program]
) -> None:
    """Two monitors; nginx by HTTP is killed, GStreamer's RTSP server is frozen, another stays."""
    web, other = free_port(), free_port()
    nginx = run(Nginx(tmp_path / "one", web))
    stays = run(Nginx(tmp_path / "two", other))
    rtsp, url = gstreamer.serve(clip.opus, tmp_path)
    run(rtsp)
    for program in (nginx, stays):
        listening(program, program.port)
    servers = (
        server(1, ProbeKind.HTTP, web, "/film.mp4"),
        server(2, ProbeKind.RTSP, int(url.split(":")[2].partition("/")[0]), "clip"),
        server(3, ProbeKind.HTTP, other, "/film.mp4"),
    )
    async with watching(*servers, count=2) as monitors:
        for watched in monitors:
            for id in (1, 2, 3):
                await watched.until(id, UP)
        state = monitors[0].monitor.states[1]
        assert state.throughput_bps is not None
        assert state.response_ms == state.responses[ProbeKind.HTTP]

        died = time.monotonic()
        tell(nginx, signal.SIGKILL)
        for watched in monitors:
            noticed = await watched.until(1, DOWN) - died
            print(f"nginx killed: noticed after {noticed * 1000:.0f} ms")
            assert noticed <= NOTICED

        died = time.monotonic()
        tell(rtsp, signal.SIGSTOP)
        for watched in monitors:
            noticed = await watched.until(2, DOWN) - died
            print(f"GStreamer frozen: noticed after {noticed * 1000:.0f} ms")
            assert noticed <= NOTICED
            assert "no answer in 270 ms" in watched.monitor.states[2].reason

        tell(rtsp, signal.SIGCONT)
        again = run(Nginx(tmp_path / "one", web))
        listening(again, web)
        for watched in monitors:
            for id in (1, 2):
                await watched.until(id, UP)
                # Not at once: with a share that grows.
                assert [turn for _, turn in watched.turns[id]][-3:] == [DOWN, STARTING, UP]
            assert DOWN not in [turn for _, turn in watched.turns[3]]


@pytest.mark.probe
@pytest.mark.alone
async def test_monitor_that_is_cut_off_keeps_what_it_knew(
    tmp_path: Path, links: Network, run: Callable[[Program], Program]
) -> None:
    """Servers on machines of their own; one link goes down, then all of them."""
    peers = [links.join() for _ in range(4)]
    for peer in peers:
        run(Nginx(tmp_path / peer.name, 8080, peer.address, namespace=peer.name))
    servers = [
        # Those that must not seem dead by themselves, on a busy machine, have more time.
        server(id, ProbeKind.HTTP, 8080, "/film.mp4", peer.address, 0.3 if id == 1 else 1.5)
        for id, peer in enumerate(peers, 1)
    ]
    async with watching(*servers) as (watched,):
        for id in range(1, 5):
            await watched.until(id, UP)
        # Into a hole: neither a refusal nor an error comes back.
        peers[0].cut()
        died = time.monotonic()
        noticed = await watched.until(1, DOWN) - died
        print(f"link cut: noticed after {noticed * 1000:.0f} ms")
        assert noticed <= NOTICED
        await asyncio.sleep(8)  # long enough that it has nothing to do with what follows
        for id in range(2, 5):
            await watched.until(id, UP)
        for peer in peers[1:]:
            peer.cut()
        async with asyncio.timeout(PATIENCE):
            while not watched.monitor.doubt:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(4)
        assert [watched.now(id) for id in range(1, 5)] == [DOWN, UP, UP, UP]
        assert "doubts itself" in watched.monitor.states[2].reason
        for peer in peers[1:]:
            peer.mend()
        async with asyncio.timeout(PATIENCE):
            while watched.monitor.doubt:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await asyncio.sleep(2)
        assert [watched.now(id) for id in range(1, 5)] == [DOWN, UP, UP, UP]
        peers[0].mend()
        await watched.until(1, UP)


@pytest.mark.probe
async def test_interval_of_icmp_changes_while_it_runs(links: Network) -> None:
    peer = links.join()
    slow = Server(1, "s1", peer.address, probes=(Probe(ProbeKind.ICMP, 3600.0),))
    async with watching(slow) as (watched,):
        await watched.until(1, UP)
        peer.cut()
        await asyncio.sleep(1)
        assert watched.now(1) is UP
        watched.monitor.replace_servers([replace(slow, probes=(Probe(ProbeKind.ICMP, 0.3),))])
        await watched.until(1, DOWN)
        peer.mend()
        await watched.until(1, UP)
