"""How many streams one, two and four nodes carry, each behind a link of the same rate.

*Gathered*: one node has the blocks of all, and sends them. *Spread*: the same, players being at
every node in turns. *Bipartite*: each node sends its own blocks to players who asked one of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.network import Network
from tests.interop.peers.program import wait_until
from tests.perf.films import make
from tests.probe.load import built
from tests.probe.machines import PATIENCE, Machine
from tests.probe.readers import Readers

pytestmark = [pytest.mark.probe, pytest.mark.timeout(1800)]

NODES = 4
#: What each node can send, and what a stream takes of it with headers and sound, kbit/s.
LINK, PICTURES = 16_000, 400
STREAM = 560
#: Share of its link that a node fills with what is not due yet.
FILLED = 0.98
#: Seconds of the film, and of each try.
SECONDS, TRY = 60, 8.0
#: µs after which a packet is late: what waits in a link's queue is within it, what is lost is not.
LATE_US = 250_000
#: Share of the packets that may be late.
LATE = 0.001
#: Seconds before it is due that players of several nodes take what comes.
AHEAD = float(os.environ.get("HELIO_PROBE_AHEAD", "4"))
#: Share of a straight line that bipartite sending has to reach.
LINEAR = 0.95
#: What is tried; ``spread`` is for comparison.
MODES = os.environ.get("HELIO_PROBE_MODES", "gathered,spread,bipartite").split(",")


class Nodes:
    """Machines with a disk each, and a link that bounds what they send."""

    def __init__(self, directory: Path, network: Network, count: int, load: Path) -> None:
        self.directory, self.load = directory, load
        # Every stream is promised that somebody asks for: what the links carry is looked for.
        # Nothing is kept in memory: players of a short film are to cost what those of long ones do.
        more = "[storage]\nnetwork_bps = 100000000000\ncache_bytes = 0\n"
        more += f"ahead_bps = {round(LINK * 1000 * FILLED)}\n"
        names = [f"node-{number}" for number in range(1, count + 1)]
        self.machines = [Machine(network.join(), directory, one, more=more) for one in names]

    def start(self, film: Path) -> None:
        first, *others = self.machines
        first.start()
        for machine in others:
            join = ["--join", f"tls/{first.peer.address}:7447", "--token", first.token()]
            machine.start(*join)
        wait_until(lambda: self.holding() == len(self.machines), PATIENCE, "disks are served")
        disks = [
            {"node": one.name, "path": str(self.directory / f"disk of {one.name}")}
            for one in self.machines
        ]
        # Blocks of two seconds, so that players are soon at other nodes' disks; dealt to all nodes
        # in turn, and without redundancy, of which one node could have none.
        order = {"name": "main", "data": len(disks), "parity": 0, "block": 1 << 17, "disks": disks}
        status, answer = first.order("POST", "/storage/volumes", order, timeout=60)
        assert status < 300, answer
        status, answer = first.send_film("film", film)
        assert status == 202, answer
        for machine in self.machines:
            wait_until(
                lambda at=machine: at.ask("/api/v1/storage/titles")["titles"],
                PATIENCE,
                "it is known",
            )
        for machine in self.machines:
            machine.peer.limit(LINK)

    def holding(self) -> int:
        names = self.machines[0].ask("/api/v1/names")["names"]
        return sum(one["kind"] == "blocks" for one in names)

    def stop(self) -> None:
        for machine in self.machines:
            if hasattr(machine, "program"):
                machine.program.stop()

    def carries(self, mode: str, count: int) -> bool:
        """Whether so many streams come without a packet lost, and hardly one late."""
        for _ in range(2):  # what else the machine does delays packets, and loses none
            whole, told = self._try(mode, count)
            if told:
                return whole
        return False

    def _try(self, mode: str, count: int) -> tuple[bool, bool]:
        """Whether nothing is lost, and whether that is worth something."""
        at = self.machines if mode == "spread" else self.machines[:1]
        urls = [f"rtsp://{one.peer.address}:8554/film" for one in at]
        more: dict[str, Any] = {"length": SECONDS - 20, "late_us": LATE_US, "ramp": 8, "settle": 3}
        if mode == "bipartite":
            more |= {"supported": "heliograph.bipartite", "ahead": AHEAD}
        readers = Readers(self.load, urls, count, TRY, **more)
        try:
            said = readers.wait()
        finally:
            readers.stop()
        p999 = (said["lateness"]["p999_us"] or 0) / 1000
        # Packets of several nodes come in any order: each node's own numbers tell what is lost.
        lost = said["nodes_lost" if mode == "bipartite" else "lost"]
        print(
            f"  {len(self.machines)} nodes, {mode}: {said['playing']} of {count} streams, "
            f"{lost} packets lost, {said['late']} late, p99.9 {p999:.0f} ms"
        )
        assert said["granted"] == (said["playing"] if mode == "bipartite" else 0), said
        full = lost > 0 or said["playing"] < count
        return not full, full or said["late"] <= LATE * said["packets"]

    def most(self, mode: str, bound: int, first: int) -> int:
        """The most streams that are carried, to one in thirty; ``bound`` is more than can be,
        ``first`` is tried first."""
        good, bad = 0, bound
        while bad - good > max(1, bad // 30):
            count = first if (good, bad) == (0, bound) else (good + bad) // 2
            if self.carries(mode, count):
                good = count
            else:
                bad = count
        return good


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    network = Network()
    made = Nodes(tmp_path, network, request.param, built())
    try:
        made.start(make(tmp_path, SECONDS, PICTURES))
        yield made
    finally:
        made.stop()
        network.close()


#: Streams that one node carries, once they are known.
alone: list[int] = []


@pytest.mark.parametrize("site", [1, 2, NODES], indirect=True)
def test_so_many_streams_are_carried(site: Nodes) -> None:
    nodes, link = len(site.machines), LINK // STREAM
    if nodes == 1:  # however it sends
        alone.append(site.most("gathered", link * 3 // 2, link))
        print(f"1 node: {alone[0]} streams")
        assert alone[0] >= link // 2
        return
    assert alone, "one node is to be measured first"
    for mode in MODES:
        wanted = math.ceil(LINEAR * nodes * alone[0]) if mode == "bipartite" else link
        most = site.most(mode, link * (1 if mode == "gathered" else nodes) * 5 // 4, wanted)
        print(f"{nodes} nodes, {mode}: {most} streams, {most / alone[0]:.2f} times one")
        assert most > 0
        if mode == "gathered":  # one link is what all goes through
            assert most <= alone[0] * 1.2
        if mode == "bipartite":
            assert most >= LINEAR * nodes * alone[0]
