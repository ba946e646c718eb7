"""Two inputs for one channel: the one that is relayed dies, and viewers hardly wait.

Once they are two ways of the same packets, at a node that takes the channel from two relays at a
time; once two cameras with streams of their own, of which the second stands by.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.interop.peers.clip import Clip
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.probe.machines import KEY, PATIENCE, Account, Came, Machine, PacketViewer

pytestmark = [pytest.mark.probe, pytest.mark.timeout(300)]

Keep = Callable[[Program], Program]
Break = Callable[[Machine], None]

#: Seconds that a viewer waits at most; sound comes every 0.02 s.
GAP = 0.05
#: Seconds that are looked at before and after.
WHILE = 5.0


def publish(machine: Machine, clip: Clip, directory: Path) -> Program:
    """Start an encoder that publishes at a node."""
    url = f"rtsp://me:{KEY}@{machine.peer.address}:8554/demo"
    command = ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip.opus)]
    command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url]
    return Program(f"publisher at {machine.name}", command, directory)


def stop(machines: list[Machine]) -> None:
    for machine in machines:
        if hasattr(machine, "program"):
            machine.program.process.send_signal(signal.SIGCONT)
            machine.program.stop()


def kill(machine: Machine) -> None:
    machine.program.process.send_signal(signal.SIGKILL)


def freeze(machine: Machine) -> None:
    machine.program.process.send_signal(signal.SIGSTOP)


def cut(machine: Machine) -> None:
    machine.peer.cut()


def pauses(packets: list[Came]) -> list[float]:
    """Seconds between packets, whatever their track, sorted."""
    times = [one.at for one in packets]
    return sorted(later - earlier for earlier, later in itertools.pairwise(times))


def watch(viewer: PacketViewer, how: Break, which: Machine) -> tuple[list[Came], list[Came]]:
    """What came before one was broken, and since; the pauses are told."""
    begun = time.monotonic()
    time.sleep(WHILE)
    broken = time.monotonic()
    how(which)
    time.sleep(WHILE)
    ended = time.monotonic()
    before, after = viewer.between(begun, broken), viewer.between(broken - 0.1, ended)
    for what, packets in (("before", before), (how.__name__, after)):
        found = pauses(packets)
        print(
            f"{what}: {len(packets)} packets, {Account.of(packets)}, between packets "
            f"p99 {1000 * found[len(found) * 99 // 100]:.1f} ms, most {1000 * found[-1]:.1f} ms"
        )
    return before, after


def watch_from(url: str) -> PacketViewer:
    """A viewer that has played for some seconds; one that comes too early is turned away."""
    made = [PacketViewer(url)]

    def plays() -> bool:
        if made[-1].process.poll() is not None:
            made.pop().stop()
            made.append(PacketViewer(url))
        return len(made[-1].packets) > 500

    try:
        wait_until(plays, PATIENCE, "packets come")
    except AssertionError:
        made[-1].stop()
        raise
    return made[-1]


@pytest.fixture
def relays(links: Network, tmp_path: Path, clip: Clip, run: Keep) -> Iterator[list[Machine]]:
    """The publisher's node, two that take the channel from it, and one that takes it from both."""
    twice = "[mesh]\nredundancy = 2\n"
    made = [
        Machine(
            links.join(),
            tmp_path,
            name,
            keeps=name == "first",
            more=twice if name == "last" else "",
        )
        for name in ("first", "left", "right", "last")
    ]
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
        run(publish(first, clip, tmp_path))
        viewers = []
        for machine in (left, right):
            wait_until(machine.path, PATIENCE, f"{machine.name} has the channel")
            viewers.append(PacketViewer(machine.rtsp))
            wait_until(lambda v=viewers[-1]: len(v.packets) > 50, PATIENCE, "packets come")
        wait_until(last.path, PATIENCE, "the last one has the channel")
        yield made
        for viewer in viewers:
            viewer.stop()
    finally:
        stop(made)


@pytest.mark.parametrize("how", [kill, freeze, cut])
def test_one_of_two_ways_of_the_same_packets_is_not_missed(
    relays: list[Machine], how: Break
) -> None:
    _, left, right, last = relays
    viewer = watch_from(last.rtsp)

    def fed_by_both() -> bool:
        (channel,) = last.ask("/api/v1/mesh")["channels"]
        return set(channel["sources"]) == {left.node, right.node}

    try:
        wait_until(fed_by_both, PATIENCE, "both relays feed the last one")
        best = next(one for one in (left, right) if one.node == last.path()[1])
        before, after = watch(viewer, how, best)
    finally:
        viewer.stop()
    account = Account.of([*before, *after])
    assert (account.missing, account.doubled) == (0, 0)
    assert pauses(after)[-1] <= max(GAP, pauses(before)[-1])


@pytest.fixture
def cameras(links: Network, tmp_path: Path, clip: Clip, run: Keep) -> Iterator[list[Machine]]:
    """A node that pulls one channel from two others, the first of which is the better."""
    sources = [Machine(links.join(), tmp_path, name, keeps=True) for name in ("best", "next")]
    more = f'[[channels]]\nname = "demo"\nkey = "{KEY}"\nsilence_ms = 50\nreturn_ms = 0\n'
    for priority, camera in enumerate(sources):
        more += f'[[channels.sources]]\nurl = "{camera.rtsp}"\npriority = {priority}\n'
    node = Machine(links.join(), tmp_path, "node", more=more)
    made = [*sources, node]
    try:
        for camera in sources:
            camera.start()
            run(publish(camera, clip, tmp_path))
        node.start()
        yield made
    finally:
        stop(made)


@pytest.mark.parametrize("how", [kill, freeze, cut])
def test_a_camera_that_stands_by_takes_over_at_once(cameras: list[Machine], how: Break) -> None:
    best, other, node = cameras
    for camera in (best, other):
        wait_until(
            lambda c=camera: c.ask("/api/v1/channels/demo")["readers"] == 1,
            PATIENCE,
            f"the camera {camera.name} is pulled",
        )
    viewer = watch_from(node.rtsp)
    try:
        before, after = watch(viewer, how, best)
    finally:
        viewer.stop()
    assert Account.of([*before, *after]).doubled == 0
    assert {one.track for one in after[-20:]} == {0, 1}
    assert pauses(after)[-1] <= max(GAP, pauses(before)[-1])
