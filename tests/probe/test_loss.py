"""A link that loses every twentieth datagram, both ways: viewers behind it miss next to nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.probe.machines import KEY, PATIENCE, Account, Machine, PacketViewer

pytestmark = [pytest.mark.probe, pytest.mark.timeout(300)]

Keep = Callable[[Program], Program]

#: Share of datagrams that the link loses, each way.
LOSS = 0.05
#: Seconds that are counted.
WHILE = 60.0
#: What a viewer may miss, and what may be sent beyond the media, as shares.
RESIDUAL, EXTRA = 0.0001, 0.10
#: Bits a second: enough packets in a minute to see one of ten thousand.
BITRATE = "8M"


@pytest.fixture
def pair(links: Network, tmp_path: Path, run: Keep) -> list[Machine]:
    """The publisher's node, and one that loses what the first one's mesh port sends."""
    first = Machine(links.join(), tmp_path, "first", keeps=True)
    second = Machine(links.join(), tmp_path, "second")
    made = []
    for machine, options in ((first, []), (second, ["--join", f"tls/{first.peer.address}:7447"])):
        if options:
            options += ["--token", first.token()]
        made.append(machine.start(*options))
        run(machine.program)
    clip = tmp_path / "noise.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
        + ["-vf", "noise=alls=60:allf=t", "-t", "8", "-c:v", "libx264", "-preset", "ultrafast"]
        + ["-tune", "zerolatency", "-g", "50", "-b:v", BITRATE, "-maxrate", BITRATE]
        + ["-bufsize", "2M", "-y", str(clip)],
        check=True,
        timeout=120,
    )
    url = f"rtsp://me:{KEY}@{first.peer.address}:8554/demo"
    publish = ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip)]
    publish += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url]
    run(Program("publisher", publish, tmp_path))
    wait_until(second.path, PATIENCE, "the second has the channel")
    return made


def lose(machine: Machine, *matching: str) -> None:
    """Drop a share of the datagrams that come in."""
    subprocess.run(
        ["ip", "netns", "exec", machine.peer.name, "iptables", "-A", "INPUT", "-p", "udp"]
        + [*matching, "-m", "statistic", "--mode", "random", "--probability", str(LOSS)]
        + ["-j", "DROP"],
        check=True,
    )


def sent(machine: Machine) -> tuple[int, int]:
    """Bytes on this node's links, and how many of them were repairs."""
    links = machine.ask("/api/v1/mesh")["links"]
    return sum(one["sent_bytes"] for one in links), sum(one["sent_repair_bytes"] for one in links)


def dropped(machine: Machine) -> int:
    """Datagrams that the firewall took."""
    shown = subprocess.run(
        ["ip", "netns", "exec", machine.peer.name, "iptables", "-nvxL", "INPUT"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sum(int(line.split()[0]) for line in shown.splitlines() if " DROP " in line)


def test_a_link_repairs_what_it_loses(pair: list[Machine]) -> None:
    first, second = pair
    port = str(second.ask("/api/v1/mesh")["port"])
    lose(second, "--sport", port)
    lose(first, "--sport", port)
    viewer = PacketViewer(second.rtsp)
    try:
        wait_until(lambda: len(viewer.packets) > 500, PATIENCE, "packets come")
        before, begun = sent(first), time.monotonic()
        time.sleep(WHILE)
        after, ended = sent(first), time.monotonic()
    finally:
        viewer.stop()
    found = Account.of(viewer.between(begun, ended))
    repairs = after[1] - before[1]
    extra = repairs / (after[0] - before[0] - repairs)
    print(
        f"{dropped(second)} datagrams dropped; of {found.expected} packets {found.missing} missing "
        f"({100 * found.missing / found.expected:.4f} %), {found.doubled} doubled; "
        f"{100 * extra:.2f} % sent beyond the media"
    )
    assert dropped(second) > found.expected * LOSS / 2
    assert found.missing <= RESIDUAL * found.expected
    assert extra <= EXTRA
