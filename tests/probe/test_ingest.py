"""The node at which a channel enters is killed: the publisher enters at another, viewers stay."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.peers.clip import Clip
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.probe.machines import KEY, PATIENCE, Machine, PictureViewer

pytestmark = [pytest.mark.probe, pytest.mark.timeout(300)]

Keep = Callable[[Program], Program]
Publish = Callable[[Machine], Program]


@pytest.fixture
def three(links: Network, tmp_path: Path, run: Keep) -> list[Machine]:
    """Three nodes; the first keeps the channel."""
    first, *others = (
        Machine(links.join(), tmp_path, name, keeps=name == "first")
        for name in ("first", "second", "third")
    )
    run(first.start().program)
    for machine in others:
        join = f"tls/{first.peer.address}:7447"
        run(machine.start("--join", join, "--token", first.token()).program)
    return [first, *others]


@pytest.fixture
def publish(clip: Clip, tmp_path: Path, run: Keep) -> Publish:
    """Start an encoder that publishes at a node."""

    def begin(machine: Machine) -> Program:
        url = f"rtsp://me:{KEY}@{machine.peer.address}:8554/demo"
        command = ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip.opus)]
        command += ["-c", "copy", "-f", "rtsp", "-rtsp_transport", "tcp", url]
        return run(Program(f"publisher at {machine.name}", command, tmp_path))

    return begin


def test_viewers_stay_while_the_publisher_enters_elsewhere(
    three: list[Machine], publish: Publish
) -> None:
    first, second, third = three
    publish(second)
    wait_until(first.path, PATIENCE, "the first has the channel")
    viewer = PictureViewer(first.rtsp)
    try:
        wait_until(lambda: len(viewer.seen) > 50, PATIENCE, "pictures come")
        second.program.process.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        # To a node that has never had the media: its packets follow on those of the dead one.
        publish(third)
        wait_until(
            lambda: first.path()[:1] == [third.node], PATIENCE, "the channel enters at the third"
        )
        seen = len(viewer.seen)
        wait_until(lambda: len(viewer.seen) > seen + 50, PATIENCE, "the same player goes on")
        gap = viewer.gap(killed - 0.5, time.monotonic())
        print(f"without a picture for {gap:.2f} s, the start of the second encoder included")
        assert viewer.process.poll() is None
        assert first.path() == [third.node, first.node]
    finally:
        viewer.stop()
