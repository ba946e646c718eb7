"""A relay in the middle is killed, frozen or stopped: who hangs from it misses nothing.

Every node is a process in a network of its own. The last one does not reach the node of the
publisher and takes the channel from one of two that do.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.peers.clip import Clip
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.probe.machines import KEY, PATIENCE, Account, Came, Machine, PacketViewer, PictureViewer
from tests.probe.plot import Run, draw

pytestmark = [pytest.mark.probe, pytest.mark.timeout(300)]

Keep = Callable[[Program], Program]

#: Seconds without a picture, at most, when a relay dies: silence is noticed after 0.2.
GAP = 0.5
#: Seconds that are looked at before and after.
WHILE = 4.0
#: Seconds of a planned departure and of the run beside it.
DEPARTURE = 10.0
BEFORE = 2.0
#: Seconds by which p99 of the pauses may differ between two runs in which nothing happens: a fifth
#: of the time between two pictures.
JITTER = 0.008
#: File for a picture of both.
PLOT = os.environ.get("HELIO_PROBE_PLOT", "")


@pytest.fixture
def machines(links: Network, tmp_path: Path, clip: Clip, run: Keep) -> Iterator[list[Machine]]:
    """The publisher's node, two that take the channel from it, and one that cannot."""
    names = ("first", "left", "right", "last")
    made = [Machine(links.join(), tmp_path, name, keeps=name == "first") for name in names]
    first, left, right, last = made
    try:
        first.start()
        join = f"tls/{first.peer.address}:7447"
        for machine in (left, right, last):
            if machine is last:
                for chain, side in (("INPUT", "-s"), ("OUTPUT", "-d")):
                    subprocess.run(
                        ["ip", "netns", "exec", last.peer.name, "iptables", "-A", chain]
                        + [side, first.peer.address, "-p", "udp", "-j", "DROP"],
                        check=True,
                    )
            machine.start("--join", join, "--token", first.token())
        run(
            Program(
                "publisher",
                ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip.opus)]
                + ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp"]
                + [f"rtsp://me:{KEY}@{first.peer.address}:8554/demo"],
                tmp_path,
            )
        )
        viewers = []
        for machine in (left, right):
            wait_until(lambda m=machine: m.path(), PATIENCE, f"{machine.name} has the channel")
            viewers.append(PictureViewer(machine.rtsp))
            wait_until(lambda v=viewers[-1]: len(v.seen) > 25, PATIENCE, "pictures come")
        wait_until(last.path, PATIENCE, "the last one has the channel")
        yield made
        for viewer in viewers:
            viewer.stop()
    finally:
        for machine in made:
            if hasattr(machine, "program"):
                machine.program.process.send_signal(signal.SIGCONT)
                machine.program.stop()


def relay_of(machines: list[Machine]) -> Machine:
    """The one in the middle, from which the last takes the channel."""
    _, left, right, last = machines
    path = last.path()
    assert len(path) == 3, path
    return next(one for one in (left, right) if one.node == path[1])


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_who_hangs_from_a_relay_that_dies_misses_nothing(
    machines: list[Machine], how: signal.Signals
) -> None:
    last = machines[-1]
    viewer = PictureViewer(last.rtsp)
    try:
        wait_until(lambda: len(viewer.seen) > 50, PATIENCE, "pictures come")
        relay = relay_of(machines)
        begun = time.monotonic()
        time.sleep(WHILE)
        ended = time.monotonic()
        relay.program.process.send_signal(how)
        time.sleep(WHILE)
        usual, gap = viewer.gap(begun, ended), viewer.gap(ended - 0.2, time.monotonic())
        print(f"{how.name}: longest time between pictures {gap:.3f} s, before it {usual:.3f} s")
        assert last.path()[1] != relay.node
        assert viewer.steps(begun) == {1}
        assert gap <= GAP
    finally:
        viewer.stop()


def test_nobody_notices_a_relay_that_leaves_in_order(machines: list[Machine]) -> None:
    last = machines[-1]
    viewer = PacketViewer(last.rtsp)
    try:
        wait_until(lambda: len(viewer.packets) > 500, PATIENCE, "packets come")
        relay = relay_of(machines)
        begun = time.monotonic()
        time.sleep(DEPARTURE)
        left = time.monotonic()
        relay.program.process.send_signal(signal.SIGTERM)
        time.sleep(DEPARTURE)
        over = time.monotonic()
        assert last.path()[1] != relay.node
    finally:
        viewer.stop()
    # The second part begins a little before the relay is told.
    turn = left - BEFORE
    control, run = viewer.between(begun, turn), viewer.between(turn, over)
    for what, packets in (("before it", control), ("departure", run)):
        found = pauses_of(packets)
        print(
            f"{what}: {len(packets)} packets, {Account.of(packets)}, between packets "
            f"p99 {1000 * p99(found):.1f} ms, most {1000 * found[-1]:.1f} ms"
        )
    if PLOT:
        runs = [
            Run("Nothing happens", pauses(control, begun)),
            Run("A relay in the middle leaves", pauses(run, turn), mark=BEFORE),
        ]
        draw(runs, Path(PLOT))
    account = Account.of([*control, *run])
    assert (account.missing, account.doubled) == (0, 0)
    # A frame comes at once, the next one 40 ms later: a change of the way would be a longer pause.
    assert pauses_of(run)[-1] < pauses_of(control)[-1] + 0.05
    assert p99(pauses_of(run)) < p99(pauses_of(control)) + JITTER


def pauses(packets: list[Came], since: float) -> list[tuple[float, float]]:
    """When packets of the picture came, s, and how long after the one before, ms."""
    times = [one.at - since for one in packets if one.track == 0]
    return [(later, 1000 * (later - earlier)) for earlier, later in itertools.pairwise(times)]


def pauses_of(packets: list[Came]) -> list[float]:
    """Seconds between the packets of the picture, sorted."""
    return sorted(pause / 1000 for _, pause in pauses(packets, 0.0))


def p99(pauses: list[float]) -> float:
    """Of sorted seconds."""
    return pauses[len(pauses) * 99 // 100]
