"""The service address in a real kernel: it is there, neighbours are told, and it ends by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.probe

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
