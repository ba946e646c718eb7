"""A title that is striped over three nodes, and other people's players: each plays and seeks it
from every node, and every picture is the one of the file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.system.conftest import stop, until
from tests.system.test_bipartite import ask
from tests.system.test_cluster import Node

from .peers.chromium import Chromium
from .peers.clip import Clip
from .peers.gstreamer import PYTHON
from .peers.program import Program
from .test_films import SEEK_PATIENCE, FilmTab
from .test_titles_ondemand import decode, hashes

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

#: MB of the disk of each node.
CAPACITIES = {"one": 400, "two": 250, "three": 600}
NAMES = (*CAPACITIES,)
#: Seconds of the title; pictures a second, and from one key picture to the next.
SECONDS, RATE, GROUP = 10, 25, 25
#: Seconds that starting, importing and playing may each take on a busy machine.
PATIENCE = 120.0
#: Bytes of a block: every node has many.
BLOCK = 1 << 16


class House:
    """Three nodes with a disk each, and what is right."""

    def __init__(self, clip: Clip, directory: Path) -> None:
        self.file = directory / "film.mp4"
        line = ["ffmpeg", "-nostdin", "-v", "error", "-t", str(SECONDS), "-i", str(clip.aac)]
        line += ["-c:a", "copy", "-c:v", "libx264", "-preset", "veryfast", "-bf", "2"]
        line += ["-g", str(GROUP), "-x264-params", "scenecut=0", str(self.file)]
        subprocess.run(line, check=True, timeout=PATIENCE)
        self.pictures = hashes(decode(str(self.file), [], "v", directory / "source"))
        assert len(set(self.pictures)) > 0.9 * SECONDS * RATE
        more = "cache_bytes = 0\n"  # what is played comes from disks, not from memory
        self.nodes = {
            name: Node(directory / name, name, more=more, patience=PATIENCE) for name in NAMES
        }
        self.directory = directory

    def start(self) -> None:
        first, *others = self.nodes.values()
        first.start()
        for node in others:
            token = first.helio("token").split()[0]
            node.start("--join", f"tls/127.0.0.1:{first.bus}", "--token", token)
        until("all see all", lambda: len(first.nodes()) == len(NAMES), PATIENCE)
        disks = [
            {"node": name, "path": str(self.directory / f"disk-{name}"), "capacity": size << 20}
            for name, size in CAPACITIES.items()
        ]
        volume = {"name": "main", "data": 2, "parity": 1, "code": "xor", "block": BLOCK}
        ask(first, "POST", "/storage/volumes", volume | {"disks": disks})
        first.helio("title", "import", str(self.file), "--name", "film")
        for node in self.nodes.values():
            until("the film is known", lambda at=node: self._whole(at), PATIENCE)

    def _whole(self, node: Node) -> bool:
        (volume,) = ask(node, "GET", "/storage")["volumes"]
        disks = [one["up"] and one["blocks"] > 5 for one in volume["disks"]]
        return bool(ask(node, "GET", "/storage/titles")["titles"]) and disks == [True] * 3

    def close(self) -> None:
        for node in self.nodes.values():
            if node.served is not None:
                stop(node.process)
                assert "Traceback" not in node.served.log.read_text()

    def numbers(self, found: list[str]) -> list[int]:
        """Which pictures of the file those are; -1: none of them."""
        places = {digest: number for number, digest in enumerate(self.pictures)}
        return [places.get(digest, -1) for digest in found]


@pytest.fixture(scope="module")
def house(clip: Clip, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(clip, tmp_path_factory.mktemp("house"))
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture(params=NAMES)
def node(house: House, request: pytest.FixtureRequest) -> Node:
    return house.nodes[request.param]


def test_mpv_plays_it_from_elsewhere(house: House, node: Node, tmp_path: Path) -> None:
    out = tmp_path / "out.md5"
    line = ["mpv", "--no-config", "--msg-level=all=warn", "--rtsp-transport=tcp", "--no-audio"]
    line += ["--vf=format=yuv420p", "--of=framemd5", "--ovc=rawvideo", f"-o={out}", "--start=5.5"]
    subprocess.run([*line, f"{node.rtsp}/film"], check=True, timeout=PATIENCE)
    found = house.numbers(hashes(out))
    assert found[0] in range(5 * RATE, 6 * RATE)
    assert found == list(range(found[0], len(house.pictures)))


def test_gstreamer_plays_and_seeks(
    house: House, node: Node, run: Callable[[Program], Program], tmp_path: Path
) -> None:
    script = str(Path(__file__).parent / "peers" / "gst_title_player.py")
    actions = ["pictures", "20", "seek", "4.5", "pictures", "20", "stop", "0"]
    player = run(Program("gst", [PYTHON, script, f"{node.rtsp}/film", "tcp", *actions], tmp_path))
    assert player.wait(PATIENCE) == 0, player.log[-2000:]
    before, sought = [], []
    for line in player.log.splitlines():
        what, *rest = line.split() or [""]
        if line == "did seek":
            before, sought = sought, []
        elif what == "picture":
            sought += house.numbers(rest[1:])
    assert before[:20] == list(range(20))
    assert len(sought) >= 20
    assert sought == list(range(4 * RATE, 4 * RATE + len(sought)))


@pytest.mark.browser
def test_chromium_plays_and_seeks(house: House, node: Node, chromium: Chromium) -> None:
    page = FilmTab(chromium, f"{node.http}/watch/film")
    page.playing()
    page.press("k")  # it is short: on a busy machine it would end meanwhile
    page.until("it is paused", lambda s: s["paused"], SEEK_PATIENCE)
    page.right()
    page.point(0.7)
    page.until("it is there", lambda s: abs(s["time"] - 0.7 * SECONDS) < 1, SEEK_PATIENCE)
    page.right()
    assert page.tab.complaints == []
    page.tab.close()
