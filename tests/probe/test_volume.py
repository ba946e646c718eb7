"""A volume over the disks of three machines: titles are played and sought at each of them while
disks and machines are added, taken away, killed and damaged; every frame is checked."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.network import Network
from tests.interop.peers.program import wait_until
from tests.probe.machines import PATIENCE, Machine

from heliograph.storage.disks.format import HEADER, seal, unseal

pytestmark = [pytest.mark.probe, pytest.mark.timeout(900)]

#: Seconds of the film; long enough for disks to come and go while it is played.
SECONDS = 30
#: What the film is played by, and how it is told apart.
PLAY = ["ffmpeg", "-v", "error", "-xerror", "-rtsp_transport", "tcp"]
SUM = ["-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with B-frames and a tone, some five megabits a second."""
    file = tmp_path_factory.mktemp("film") / "film.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=960x540:rate=25"]
        + [
            "-f",
            "lavfi",
            "-i",
            "sine",
            "-t",
            str(SECONDS),
            "-c:v",
            "libx264",
            "-preset",
            "veryfast",
        ]
        + ["-b:v", "5M", "-bf", "2", "-g", "50", "-c:a", "aac", str(file)],
        check=True,
        timeout=180,
    )
    return file


class Three:
    """Three machines with unequal disks, and a volume over them."""

    def __init__(self, directory: Path, network: Network, cluster: str = "") -> None:
        """``cluster``: settings of that section."""
        self.directory = directory
        more = "[storage]\ncache_bytes = 0\n"  # what is played comes from disks, not from memory
        self.machines = [
            Machine(network.join(), directory, f"node-{number}", cluster=cluster, more=more)
            for number in (1, 2, 3)
        ]

    def start(self) -> None:
        first, *others = self.machines
        first.start()
        for machine in others:
            machine.start(*self.joining(), "--token", first.token())
        wait_until(lambda: len(self.names("blocks")) == 3, PATIENCE, "disks are served by all")

    def joining(self) -> list[str]:
        return ["--join", f"tls/{self.machines[0].peer.address}:7447"]

    def names(self, kind: str) -> list[Any]:
        found = self.machines[0].ask("/api/v1/names")["names"]
        return [one for one in found if one["kind"] == kind]

    def disk(self, number: int, name: str, megabytes: int = 400) -> dict[str, Any]:
        """A directory that is to be a disk of machine ``number``."""
        path = self.directory / f"disk-{name}"
        return {"node": f"node-{number}", "path": str(path), "capacity": megabytes << 20}

    def volume(self, at: int = 1) -> dict[str, Any]:
        (found,) = self.machines[at - 1].ask("/api/v1/storage")["volumes"]
        return dict(found)

    def disks(self) -> dict[str, dict[str, Any]]:
        """By the last letter of their paths."""
        return {one["path"][-1]: one for one in self.volume()["disks"]}

    def order(self, method: str, path: str, body: Any = None) -> Any:
        status, answer = self.machines[0].order(method, f"/storage{path}", body, timeout=60)
        assert status < 300, answer
        return answer

    def whole(self) -> None:
        """Wait until nothing is under way."""
        wait_until(lambda: self.volume()["change"] is None, 120, "all is where it is to be")

    def verified(self, name: str = "film") -> dict[str, Any]:
        """Have every block read, by the machine that is asked; what it says of them."""
        path = f"/storage/titles/{name}/verify"

        def done() -> Any:
            status, found = self.machines[0].order("POST", path, timeout=20)
            assert status == 200, found
            return found if found["ended"] is not None else None

        return dict(wait_until(done, 120, "the title is checked"))

    def verify(self, name: str = "film") -> None:
        """The same, where all has to be good."""
        found = self.verified(name)
        assert found["good"], found["faults"]

    def send(self, film: Path, name: str = "film") -> None:
        """Import a file, and wait until it is a title."""
        machine = self.machines[0]
        assert machine.send_film(name, film)[0] == 202
        wait_until(
            lambda: (
                {one["state"] for one in machine.ask("/api/v1/storage/imports")["imports"]}
                == {"done"}
            ),
            60,
            "the film is imported",
        )

    def played(self, number: int, *options: str, name: str = "film") -> subprocess.Popen[str]:
        """A player of a title at machine ``number``; it prints the sums of its frames."""
        url = f"rtsp://{self.machines[number - 1].peer.address}:8554/{name}"
        return subprocess.Popen(
            [*PLAY, *options, "-i", url, *SUM], stdout=subprocess.PIPE, text=True
        )

    def close(self) -> None:
        for machine in self.machines:
            if hasattr(machine, "program"):
                machine.program.stop()


def sums(text: str) -> list[str]:
    """Of frames, in order, without their times."""
    return [line.split(",")[-1].strip() for line in text.splitlines() if not line.startswith("#")]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Three]:
    network = Network()
    made = Three(tmp_path, network)
    try:
        made.start()
        yield made
    finally:
        made.close()
        network.close()


def damage(directory: Path, count: int) -> int:
    """Turn a bit in each of some blocks of a disk; how many were hit."""
    files = [
        one for one in sorted(directory.rglob("*")) if one.is_file() and one.stat().st_size > 9999
    ]
    chosen = random.Random(7).sample(files, min(count, len(files)))
    for file in chosen:
        with file.open("r+b") as open_file:
            at = random.Random(str(file)).randrange(4096, file.stat().st_size)
            open_file.seek(at)
            byte = open_file.read(1)[0]
            open_file.seek(at)
            open_file.write(bytes([byte ^ 0x10]))
    return len(chosen)


def forge(directory: Path) -> None:
    """Change a byte in the middle of a block and give it the digest that goes with it."""
    blocks = sorted(one for one in (directory / "blocks").rglob("*-00") if one.is_file())
    file = blocks[len(blocks) // 2]
    header, payload = file.read_bytes()[:HEADER], bytearray(file.read_bytes()[HEADER:])
    label = unseal(header, payload, str(file))
    payload[len(payload) // 2] ^= 0x10
    file.write_bytes(seal(label, payload) + payload)


def test_what_is_wrong_and_not_mended_is_seen(three: Three, film: Path) -> None:
    """The control of what the others compare: without redundancy nothing can be made good."""
    wanted = sums(
        subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(film), *SUM],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    )

    def came(number: int) -> list[str]:
        with three.played(number) as player:
            text, _ = player.communicate(timeout=120)
        return sums(text)

    body = {"name": "main", "data": 1, "parity": 0, "disks": [three.disk(1, "a")]}
    three.order("POST", "/volumes", body)
    three.send(film)
    for machine in three.machines:
        wait_until(lambda at=machine: at.ask("/api/v1/storage/titles")["titles"], 30, "it is known")
    assert came(2) == wanted
    # A byte that is other than what was imported, and of which no digest tells.
    forge(three.directory / "disk-a")
    assert came(3) != wanted
    # Bits that digests tell of: what they are in is left out.
    assert damage(three.directory / "disk-a", 2) == 2
    lacking = came(1)
    assert lacking != wanted
    assert len(lacking) < len(wanted)
    assert not three.verified()["good"]


def test_a_title_is_played_everywhere_whatever_happens_to_disks(three: Three, film: Path) -> None:
    source = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(film), *SUM],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    wanted = sums(source)
    assert len(wanted) == SECONDS * 25
    disks = [three.disk(1, "a"), three.disk(1, "b", 300), three.disk(2, "c"), three.disk(3, "d")]
    three.order(
        "POST", "/volumes", {"name": "main", "data": 2, "parity": 1, "code": "xor", "disks": disks}
    )
    three.send(film)
    for number in (1, 2, 3):
        machine = three.machines[number - 1]
        wait_until(lambda at=machine: at.ask("/api/v1/storage/titles")["titles"], 30, "it is known")
    # All of it at each, at once, while a disk is added and another one leaves.
    players = [three.played(number) for number in (1, 2, 3)]
    three.order("POST", "/volumes/main/disks", three.disk(3, "e"))
    three.whole()
    assert {letter: one["state"] for letter, one in three.disks().items()} == dict.fromkeys(
        "abcde", "active"
    )
    assert three.disks()["e"]["blocks"] > 0
    three.order("DELETE", f"/volumes/main/disks/{three.disks()['b']['id']}")
    wait_until(lambda: "b" not in three.disks(), 120, "the disk has left")
    for number, player in enumerate(players, 1):
        text, _ = player.communicate(timeout=120)
        assert (player.returncode, sums(text) == wanted) == (0, True), f"machine {number}"
    three.verify()
    # A disk is pulled and a machine is killed while others play; neither is asked before.
    players = [three.played(number) for number in (1, 2)]
    time.sleep(3)
    three.order("DELETE", f"/volumes/main/disks/{three.disks()['c']['id']}?force=true")
    three.whole()
    three.machines[2].program.kill()
    for number, player in enumerate(players, 1):
        text, _ = player.communicate(timeout=120)
        assert (player.returncode, sums(text) == wanted) == (0, True), f"machine {number}"
    # It comes back, and bits are turned behind the back of everybody.
    three.machines[2].start(*three.joining())
    three.whole()
    hit = damage(three.directory / "disk-a", 3)
    assert hit == 3
    with three.played(2) as player:
        text, _ = player.communicate(timeout=120)
    assert sums(text) == wanted
    three.verify()
    wait_until(lambda: three.volume()["scrub"]["mended"] >= 1, 60, "damage is mended")
    assert three.volume()["lost"] == {"blocks": 0, "titles": []}
    # Sought: from a key picture on, the rest is what it was.
    with three.played(3, "-ss", "10", "-copyts") as player:
        text, _ = player.communicate(timeout=120)
    rest = sums(text)
    assert rest
    assert rest == wanted[-len(rest) :]
    assert len(rest) <= (SECONDS - 8) * 25
