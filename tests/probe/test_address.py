"""The service address in a real kernel: it is there, neighbours are told, and it ends by itself."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.peers.network import PREFIX, Network, Peer

from heliograph.bus.memory import MemoryNetwork
from heliograph.manager import service_address
from heliograph.manager.service_address import (
    HeldAddress,
    VirtualAddress,
    announce_address,
    run_program,
)
from heliograph.manager.service_turn import ServiceTurn
from heliograph.model.nodes import NodeId

pytestmark = pytest.mark.probe

#: Of the portals of these tests.
ADDRESS = f"{PREFIX}.200"
#: Seconds after a partition within which neighbours know where the address is. What is said now and
#: then comes each 30 s.
KNOWN = 10.0

IN_A_NAMESPACE = """
import asyncio, json, socket, subprocess
from heliograph.manager import service_address
from heliograph.manager.service_address import HeldAddress, VirtualAddress

service_address.LIFETIME = 2

def addresses():
    command = ["ip", "-j", "addr", "show", "dev", "left"]
    shown = subprocess.run(command, capture_output=True, check=True)
    return [one["local"] for one in json.loads(shown.stdout)[0]["addr_info"]]

async def main():
    neighbour = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    neighbour.bind(("right", 0x0806))
    neighbour.setblocking(False)
    held = HeldAddress(VirtualAddress.parse("192.0.2.10/24 dev left"), period=0.2)
    held.follow(True)
    while held.counters["held"] < 15:
        await asyncio.sleep(0.05)
    assert "192.0.2.10" in addresses(), addresses()
    heard = [neighbour.recv(100) for _ in range(4)]
    assert all(frame[28:32] == bytes([192, 0, 2, 10]) for frame in heard), heard
    held.follow(False)
    while not held.counters["released"]:
        await asyncio.sleep(0.05)
    assert "192.0.2.10" not in addresses(), addresses()
    held.follow(True)
    while held.counters["held"] < 20:
        await asyncio.sleep(0.05)
    held._task.cancel()  # as when it is killed
    while "192.0.2.10" in addresses():
        await asyncio.sleep(0.1)
    print("forgotten")

asyncio.run(asyncio.wait_for(main(), 30))
"""


def test_the_kernel_has_the_address_and_forgets_it_when_nobody_says_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(IN_A_NAMESPACE)
    network = "ip link add left type veth peer name right && ip link set left up"
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", f"{network} && ip link set right up && exec $0 $1"]
        + [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert "forgotten" in done.stdout, done.stdout + done.stderr
    assert "neighbours are not told" not in done.stdout


@contextlib.contextmanager
def inside(peer: Peer) -> Iterator[None]:
    """Let this thread be in a peer's network."""
    enter = ctypes.CDLL(None, use_errno=True).setns
    with open("/proc/thread-self/ns/net") as own, open(f"/run/netns/{peer.name}") as other:
        assert enter(other.fileno(), 0) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert enter(own.fileno(), 0) == 0, os.strerror(ctypes.get_errno())


class Portal:
    """One that may have the address, as far as that goes."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.address = HeldAddress(
            VirtualAddress.parse(f"{ADDRESS}/24 dev eth0"), self._run, self._announce
        )

    async def _run(self, words: object) -> None:
        assert isinstance(words, list)
        await run_program(["ip", "netns", "exec", self.peer.name, *words])

    def _announce(self, address: VirtualAddress) -> None:
        with inside(self.peer):
            announce_address(address)

    def hardware(self) -> str:
        return str(shown(self.peer, "link", "show", "dev", "eth0")[0]["address"])


def shown(peer: Peer, *words: str) -> list[dict[str, object]]:
    """What ``ip`` says in a peer's network."""
    command = ["ip", "-n", peer.name, "-j", *words]
    done = subprocess.run(command, capture_output=True, check=True, timeout=10)
    found: list[dict[str, object]] = json.loads(done.stdout or b"[]")
    return found


def believed(peer: Peer) -> str:
    """The hardware address at which a peer takes the service address to be."""
    found = shown(peer, "neigh", "show", ADDRESS, "dev", "eth0")
    return str(found[0].get("lladdr", "")) if found else ""


async def until(condition: Callable[[], bool], seconds: float, what: str) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        await asyncio.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.alone
async def test_after_a_partition_a_neighbour_of_the_one_side_finds_the_address_at_the_other(
    links: Network,
) -> None:
    one, two, neighbour = Portal(links.join()), Portal(links.join()), links.join()
    # What it knows it asks nobody about: it has to be told.
    quiet = "net.ipv4.neigh.eth0.base_reachable_time_ms=86400000"
    await run_program(["ip", "netns", "exec", neighbour.name, "sysctl", "-w", quiet])
    network = MemoryNetwork()
    buses = [await network.bus(NodeId(letter * 16)) for letter in "ab"]
    turns = [
        ServiceTurn(bus, ADDRESS, portal.address, settle=0.01)
        for bus, portal in zip(buses, (one, two), strict=True)
    ]
    try:
        turns[0].start()
        await until(lambda: one.address.counters["held"] > 0, 10, "the first has the address")
        turns[1].start()
        await buses[1].until_present("service-address", 2)
        with inside(neighbour), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asks:
            asks.sendto(b"", (ADDRESS, 9))
        await until(lambda: believed(neighbour) == one.hardware(), 10, "the neighbour has found it")
        two.peer.cut()
        network.cut(*network.links)
        # Until the words that it says at first are said, to nobody.
        words = service_address.ANNOUNCEMENTS
        await until(lambda: two.address.counters["held"] > words, 60, "the second has it as well")
        assert believed(neighbour) == one.hardware()
        two.peer.mend()
        network.heal(*network.links)
        known = await until(lambda: believed(neighbour) == two.hardware(), KNOWN, "it is told")
        print(f"the neighbour knew {known:.2f} s after the partition")
        await until(lambda: one.address.counters["released"] > 0, 10, "the first gives it up")
        assert [turn.term for turn in turns] == [0, 2]
        assert believed(neighbour) == two.hardware()
    finally:
        for turn, bus in zip(turns, buses, strict=True):
            await turn.close()
            await bus.close()
