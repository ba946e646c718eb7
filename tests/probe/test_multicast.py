"""A channel that goes to several nodes of a LAN by one multicast stream, and what its viewers miss
where that loses packets, or stops to come through."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.clip import Clip
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.probe.machines import KEY, PATIENCE, Account, Machine, PacketViewer

pytestmark = [pytest.mark.probe, pytest.mark.timeout(300)]

Keep = Callable[[Program], Program]

GROUP = "239.255.74.1"
#: Seconds that are looked at.
WHILE = 8.0
#: Share of the datagrams by multicast that one of the nodes loses.
LOSS = 0.05


@pytest.fixture
def lan(links: Network, tmp_path: Path, clip: Clip, run: Keep) -> Iterator[list[Machine]]:
    """Three nodes of one network, with a publisher at the first."""
    more = f'[mesh]\nmulticast = "{GROUP}:7451"\n'
    made = [
        Machine(links.join(), tmp_path, name, keeps=name == "first", more=more)
        for name in ("first", "second", "third")
    ]
    first, *others = made
    try:
        first.start()
        for machine in others:
            join = f"tls/{first.peer.address}:7447"
            machine.start("--join", join, "--token", first.token())
        url = f"rtsp://me:{KEY}@{first.peer.address}:8554/demo"
        command = ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip.opus)]
        command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url]
        run(Program("publisher", command, tmp_path))
        for machine in others:
            wait_until(machine.path, PATIENCE, f"{machine.name} has the channel")
        yield made
    finally:
        for machine in made:
            if hasattr(machine, "program"):
                machine.program.stop()


@pytest.fixture
def viewers(lan: list[Machine]) -> Iterator[list[PacketViewer]]:
    made = [PacketViewer(machine.rtsp) for machine in lan[1:]]
    for viewer in made:
        wait_until(lambda v=viewer: len(v.packets) > 100, PATIENCE, "packets come")
    yield made
    for viewer in made:
        viewer.stop()


def firewall(machine: Machine, *words: str) -> None:
    subprocess.run(
        ["ip", "netns", "exec", machine.peer.name, "iptables", *words], check=True, timeout=10
    )


def casts(machine: Machine) -> dict[str, Any]:
    return dict(machine.ask("/api/v1/mesh")["casts"])


def sent(machine: Machine) -> int:
    """Packets that its links have sent."""
    return sum(link["sent_items"] for link in machine.ask("/api/v1/mesh")["links"])


def hearing(machine: Machine) -> int:
    return sum(one["hearing"] for one in casts(machine)["sent"])


def whole(viewer: PacketViewer, begun: float) -> Account:
    viewer.stop()
    account = Account.of(viewer.between(begun, time.monotonic()))
    assert (account.missing, account.doubled) == (0, 0), account
    return account


def test_one_stream_for_all_repaired_by_links(
    lan: list[Machine], viewers: list[PacketViewer]
) -> None:
    first, second, third = lan
    wait_until(lambda: hearing(first) == 2, PATIENCE, "both hear the cast")
    firewall(
        second,
        *("-A", "INPUT", "-d", GROUP, "-m", "statistic", "--mode", "random"),
        *("--probability", str(LOSS), "-j", "DROP"),
    )
    begun, before, links = time.monotonic(), casts(first)["sent"][0], sent(first)
    time.sleep(WHILE)
    after = casts(first)["sent"][0]
    assert sent(first) - links < 5
    got = [casts(machine)["received"][0] for machine in (second, third)]
    accounts = [whole(viewer, begun) for viewer in viewers]
    items = after["sent_items"] - before["sent_items"]
    repairs = after["sent_repairs"] - before["sent_repairs"]
    print(
        f"{items} packets by multicast to 2, {repairs} repaired by the links; the one that loses "
        f"asked for {got[0]['repaired']}, the other for {got[1]['repaired']}; viewers: {accounts}"
    )
    assert got[0]["repaired"] >= items * LOSS / 4
    assert got[1]["repaired"] == 0
    assert repairs <= items * LOSS * 3


def test_a_network_that_drops_multicast_is_noticed_and_left_and_gone_back_to(
    lan: list[Machine], viewers: list[PacketViewer]
) -> None:
    first, second, _ = lan
    wait_until(lambda: hearing(first) == 2, PATIENCE, "both hear the cast")
    begun = time.monotonic()
    time.sleep(2)
    firewall(second, "-A", "INPUT", "-d", GROUP, "-j", "DROP")
    dropped = time.monotonic()
    wait_until(lambda: hearing(first) == 1, PATIENCE, "one goes on by its link")
    time.sleep(2)
    firewall(second, "-F")
    wait_until(lambda: hearing(first) == 2, PATIENCE, "it is gone back to")
    time.sleep(2)
    for viewer in viewers:
        whole(viewer, begun)
    times = [one.at for one in viewers[0].between(dropped - 0.1, dropped + 2)]
    gap = max(later - earlier for earlier, later in itertools.pairwise(times))
    print(f"without a packet for {1000 * gap:.0f} ms when multicast was dropped")
    assert gap < 0.5


def test_where_nobody_hears_links_carry_the_channel(
    lan: list[Machine], viewers: list[PacketViewer]
) -> None:
    first, *others = lan
    for machine in others:
        firewall(machine, "-A", "INPUT", "-d", GROUP, "-j", "DROP")
    wait_until(
        lambda: first.ask("/api/v1/mesh")["counters"]["casts_unheard"] > 0,
        PATIENCE,
        "the cast is given up",
    )
    assert casts(first)["sent"] == []
    begun = time.monotonic()
    time.sleep(3)
    for viewer in viewers:
        assert whole(viewer, begun).expected > 100
