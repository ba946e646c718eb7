"""Two inputs for one channel: the one that is relayed dies, and viewers hardly wait.

Once they are two ways of the same packets, at a node that takes the channel from two relays at a
time; once two cameras with streams of their own, of which the second stands by. A viewer at the
one that stays tells what the machine delays by itself: publishers and players wait for their turn
too.
"""

from __future__ import annotations

import itertools
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Watched:
    """What came to a viewer, and to one at the source that stays, around the break."""

    packets: list[Came]
    control: list[Came]
    broken: float

    def since(self, packets: list[Came]) -> list[Came]:
        """From just before the break, so that a pause which the break makes is among them."""
        return [one for one in packets if one.at >= self.broken - 0.1]

    def before(self, packets: list[Came]) -> list[Came]:
        return [one for one in packets if one.at < self.broken]

    def delays(self) -> tuple[list[float], list[float]]:
        """How much later than at the other viewer the same packets came, before and since."""
        there = {(one.track, one.sequence): one.at for one in self.control}
        both = [(one.at, there.get((one.track, one.sequence))) for one in self.packets]
        found = [(at, at - other) for at, other in both if other is not None]
        assert len(found) > len(self.packets) // 2, "they are the same packets"
        return (
            sorted(delay for at, delay in found if at < self.broken),
            sorted(delay for at, delay in found if at >= self.broken - 0.1),
        )


def watch(viewer: PacketViewer, control: PacketViewer, how: Break, which: Machine) -> Watched:
    """Break one of two; the pauses are told."""
    begun = time.monotonic()
    time.sleep(WHILE)
    broken = time.monotonic()
    how(which)
    time.sleep(WHILE)
    ended = time.monotonic()
    watched = Watched(viewer.between(begun, ended), control.between(begun, ended), broken)
    for what, packets in (
        ("before", watched.before(watched.packets)),
        (how.__name__, watched.since(watched.packets)),
        ("at the one that stays", watched.since(watched.control)),
    ):
        found = pauses(packets)
        print(
            f"{what}: {len(packets)} packets, {Account.of(packets)}, between packets "
            f"p99 {1000 * found[len(found) * 99 // 100]:.1f} ms, most {1000 * found[-1]:.1f} ms"
        )
    return watched


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


Relays = tuple[list[Machine], dict[str, PacketViewer]]


@pytest.fixture
def relays(links: Network, tmp_path: Path, clip: Clip, run: Keep) -> Iterator[Relays]:
    """The publisher's node, two that take the channel from it, and one that takes it from both;
    viewers at those two."""
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
        viewers = {}
        for machine in (left, right):
            wait_until(machine.path, PATIENCE, f"{machine.name} has the channel")
            viewers[machine.node] = watch_from(machine.rtsp)
        wait_until(last.path, PATIENCE, "the last one has the channel")
        yield made, viewers
    finally:
        stop(made)
        for viewer in viewers.values():
            viewer.stop()


@pytest.mark.parametrize("how", [kill, freeze, cut])
def test_one_of_two_ways_of_the_same_packets_is_not_missed(relays: Relays, how: Break) -> None:
    (_, left, right, last), viewers = relays
    viewer = watch_from(last.rtsp)

    def fed_by_both() -> bool:
        (channel,) = last.ask("/api/v1/mesh")["channels"]
        return set(channel["sources"]) == {left.node, right.node}

    try:
        wait_until(fed_by_both, PATIENCE, "both relays feed the last one")
        best, other = sorted((left, right), key=lambda one: one.node != last.path()[1])
        watched = watch(viewer, viewers[other.node], how, best)
    finally:
        viewer.stop()
    before, since = watched.delays()
    usual = before[len(before) // 2]
    print(
        f"later than there: {1000 * usual:.1f} ms, most {1000 * before[-1]:.1f} ms before and "
        f"{1000 * since[-1]:.1f} ms since"
    )
    account = Account.of(watched.packets)
    assert (account.missing, account.doubled) == (0, 0)
    assert since[-1] - usual <= max(GAP, before[-1] - usual)


@pytest.fixture
def cameras(links: Network, tmp_path: Path, clip: Clip, run: Keep) -> Iterator[list[Machine]]:
    """A node that pulls one channel from two others, the first of which is the better."""
    sources = [Machine(links.join(), tmp_path, name, keeps=True) for name in ("best", "next")]
    more = f'[[channels]]\nname = "demo"\nkey = "{KEY}"\nsilence_ms = 40\nreturn_ms = 0\n'
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
    viewers = [watch_from(node.rtsp), watch_from(other.rtsp)]
    try:
        watched = watch(*viewers, how, best)
    finally:
        for viewer in viewers:
            viewer.stop()
    since = watched.since(watched.packets)
    assert Account.of(watched.packets).doubled == 0
    assert {one.track for one in since[-20:]} == {0, 1}
    bounds = [GAP, pauses(watched.before(watched.packets))[-1]]
    assert pauses(since)[-1] <= max(*bounds, pauses(watched.since(watched.control))[-1])
