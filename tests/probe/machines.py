"""Nodes of a cluster, each in a network of its own, and viewers that write down what came."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.interop.peers.network import Peer
from tests.interop.peers.program import Program, wait_until

KEY = "a-key-for-tests"
#: Seconds for a node to start, among others: half a minute where the machine is busy.
PATIENCE = 90.0

HELIO = [sys.executable, "-m", "heliograph"]


class Machine:
    """A node in a network of its own."""

    def __init__(
        self,
        peer: Peer,
        directory: Path,
        name: str,
        *,
        keeps: bool = False,
        roles: Sequence[str] = (),
        redirect: bool = False,
        cluster: str = "",
        more: str = "",
    ) -> None:
        """``keeps``: the channel ``demo``. ``redirect``: RTSP viewers are sent to units. ``more``:
        further settings, ``cluster`` those of that section."""
        self.peer, self.name = peer, name
        self.http = f"http://{peer.address}:8080"
        self.rtsp = f"rtsp://{peer.address}:8554/demo"
        self.state = directory / name
        self._directory = directory
        self._config = directory / f"{name}.toml"
        channel = f'[[channels]]\nname = "demo"\nkey = "{KEY}"\n' if keeps else ""
        self._config.write_text(
            f'[server]\nstate_dir = "{self.state}"\n[cluster]\nenabled = true\nname = "{name}"\n'
            f'host = "{peer.address}"\nscouting = false\nroles = {json.dumps([*roles])}\n'
            f"{cluster}"
            f"[https]\nenabled = false\n[rtsp]\nredirect = {json.dumps(redirect)}\n{more}{channel}"
        )
        self.program: Program

    def start(self, *options: str) -> Machine:
        self.launch(*options)
        wait_until(self._ready, PATIENCE, f"{self.name} is ready")
        self.node = self.ask("/api/v1/mesh")["node"]
        return self

    def launch(self, *options: str) -> None:
        """Start it without waiting until it is ready."""
        command = [*HELIO, "serve", "--config", str(self._config), *options]
        self.program = Program(self.name, command, self._directory, namespace=self.peer.name)

    def _ready(self) -> bool:
        assert self.program.running, self.program.log
        return self.answers()

    def answers(self) -> bool:
        """Whether all its parts run."""
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

    def order(
        self, method: str, path: str, body: Any = None, timeout: float = 12.0
    ) -> tuple[int, Any]:
        """Ask the API below ``/api/v1`` as an administrator: status and answer; ``OSError`` where
        none came, so that nobody knows what became of it."""
        key = (self.state / "administrator.key").read_text().strip()
        asked = urllib.request.Request(
            f"{self.http}/api/v1{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=timeout) as answer:
                return answer.status, json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def send_film(self, name: str, film: Path) -> tuple[int, Any]:
        """Have a file imported as a title; status and answer."""
        key = (self.state / "administrator.key").read_text().strip()
        asked = urllib.request.Request(
            f"{self.http}/api/v1/storage/titles/{name}/media?filename={film.name}",
            method="PUT",
            data=film.read_bytes(),
            headers={"Authorization": f"Bearer {key}"},
        )
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")

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


class PictureViewer:
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
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:  # it says goodbye to a node that is frozen
            self.process.kill()
            self.process.wait()
        self._thread.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass(frozen=True, slots=True)
class Came:
    """An RTP packet that a viewer got."""

    at: float
    """On the clock of ``time.monotonic``, s."""
    track: int
    sequence: int
    timestamp: int


class PacketViewer:
    """A player by UDP that writes down every packet; in a process of its own, so that nothing
    which the test does delays what it notes."""

    def __init__(self, url: str) -> None:
        self.packets: list[Came] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.probe.packets", url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            at, track, sequence, timestamp = line.split()
            self.packets.append(Came(float(at), int(track), int(sequence), int(timestamp)))

    def stop(self) -> None:
        """End it; ``packets`` is complete then."""
        self.process.terminate()
        self.process.wait()
        self._thread.join(5)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def between(self, since: float, until: float) -> list[Came]:
        """What came in that time."""
        return [one for one in list(self.packets) if since <= one.at <= until]


@dataclass(frozen=True, slots=True)
class Account:
    """What a viewer got of what there was, all tracks together."""

    expected: int
    missing: int
    doubled: int

    @classmethod
    def of(cls, packets: Sequence[Came]) -> Account:
        """By the sequence numbers, which go on over relays."""
        expected = missing = doubled = 0
        for track in {one.track for one in packets}:
            numbers = [one.sequence for one in packets if one.track == track]
            long = [numbers[0]]
            for number in numbers[1:]:  # 16 bits go round
                step = (number - long[-1] + 0x8000 & 0xFFFF) - 0x8000
                long.append(long[-1] + step)
            known = set(long)
            whole = max(known) - min(known) + 1
            expected += whole
            missing += whole - len(known)
            doubled += len(long) - len(known)
        return cls(expected, missing, doubled)
