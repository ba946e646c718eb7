"""A relay in the middle is killed, frozen or stopped: who hangs from it misses nothing.

Every node is a process in a network of its own. The last one does not reach the node of the
publisher and takes the channel from one of two that do.
"""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.clip import Clip
from tests.interop.peers.network import Network, Peer
from tests.interop.peers.program import Program, wait_until

pytestmark = [pytest.mark.probe, pytest.mark.timeout(300)]

Keep = Callable[[Program], Program]

KEY = "a-key-for-tests"
PATIENCE = 30.0
#: Seconds without a picture, at most, when a relay dies: silence is noticed after 0.2.
GAP = 0.5
#: Seconds that are looked at before and after.
WHILE = 4.0

HELIO = [sys.executable, "-m", "heliograph"]


class Machine:
    """A node in a network of its own."""

    def __init__(self, peer: Peer, directory: Path, name: str, keeps: bool = False) -> None:
        self.peer, self.name = peer, name
        self.http = f"http://{peer.address}:8080"
        self.rtsp = f"rtsp://{peer.address}:8554/demo"
        self.state = directory / name
        self._directory = directory
        self._config = directory / f"{name}.toml"
        channel = f'[[channels]]\nname = "demo"\nkey = "{KEY}"\n' if keeps else ""
        self._config.write_text(
            f'[server]\nstate_dir = "{self.state}"\n[cluster]\nenabled = true\nname = "{name}"\n'
            f'host = "{peer.address}"\nscouting = false\n[https]\nenabled = false\n{channel}'
        )
        self.program: Program

    def start(self, *options: str) -> Machine:
        command = [*HELIO, "serve", "--config", str(self._config), *options]
        self.program = Program(self.name, command, self._directory, namespace=self.peer.name)
        wait_until(self._ready, PATIENCE, f"{self.name} is ready")
        self.node = self.ask("/api/v1/mesh")["node"]
        return self

    def _ready(self) -> bool:
        assert self.program.running, self.program.log
        try:
            with urllib.request.urlopen(f"{self.http}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str) -> dict[str, Any]:
        key = (self.state / "administrator.key").read_text().strip()
        asked = urllib.request.Request(self.http + path, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(asked, timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def token(self) -> str:
        command = [*HELIO, "token", "--server", self.http]
        command += ["--key-file", str(self.state / "administrator.key")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        return done.stdout.split()[0]

    def path(self) -> list[str]:
        """Nodes by which the channel comes."""
        for channel in self.ask("/api/v1/mesh")["channels"]:
            if channel["channel"] == "demo":
                return list(channel["path"])
        return []


class Viewer:
    """A player of pictures that writes down when each came."""

    def __init__(self, url: str) -> None:
        self.seen: list[tuple[float, int]] = []
        """(when it came, its time stamp)."""
        self.process = subprocess.Popen(
            ["ffmpeg", "-v", "error", "-rtsp_transport", "tcp", "-fflags", "nobuffer", "-i", url]
            + ["-map", "0:v", "-c", "copy", "-f", "framecrc", "-flush_packets", "1", "-"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not line.startswith("#"):
                self.seen.append((time.monotonic(), int(line.split(",")[2])))

    def gap(self, since: float, until: float) -> float:
        """Longest time between two pictures, s."""
        times = [at for at, _ in self.seen if since <= at <= until]
        return max(b - a for a, b in itertools.pairwise(times))

    def steps(self, since: float) -> set[int]:
        """Differences of time stamps: one, where nothing is missing and nothing came twice."""
        stamps = [stamp for at, stamp in self.seen if at >= since]
        steps = [b - a for a, b in itertools.pairwise(stamps)]
        usual = min(steps)
        return {round(step / usual) if usual > 0 else step for step in steps}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._thread.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


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
            viewers.append(Viewer(machine.rtsp))
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


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM])
def test_who_hangs_from_a_relay_that_ends_misses_nothing(
    machines: list[Machine], how: signal.Signals
) -> None:
    _, left, right, last = machines
    viewer = Viewer(last.rtsp)
    try:
        wait_until(lambda: len(viewer.seen) > 50, PATIENCE, "pictures come")
        path = last.path()
        assert len(path) == 3, path
        relay = next(one for one in (left, right) if one.node == path[1])
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
