"""A title that three servers send together: each its blocks, whoever of them dies; to a player made
by hand, which counts packets, and to ``helio play``, which loses nothing."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.bipartite_player import Player, Rtsp
from tests.system.conftest import stop, until
from tests.system.test_cluster import Node

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]

#: Seconds of the film, and of the one that is played to its end.
SECONDS, SHORT = 40, 20
#: Seconds that starting and importing may take on a busy machine.
PATIENCE = 120.0


def ask(node: Node, method: str, path: str, body: Any = None, data: bytes | None = None) -> Any:
    key = (node.state / "administrator.key").read_text().strip()
    request = urllib.request.Request(
        f"{node.http}/api/v1{path}",
        method=method,
        data=json.dumps(body).encode() if body is not None else data,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or b"null")


def encode(file: Path, seconds: int, rate: str) -> Path:
    """Make a film of pictures and a tone."""
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
    line += ["-f", "lavfi", "-i", "sine", "-t", str(seconds), "-c:v", "libx264", "-b:v", rate]
    line += ["-preset", "ultrafast", "-bf", "2", "-g", "25", "-c:a", "aac", str(file)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    return file


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three nodes with a disk each, and a volume over them that has both films, of some megabits a
    second and some twenty blocks each."""
    directory = tmp_path_factory.mktemp("three")
    films = encode(directory / "film.mp4", SECONDS, "3M"), encode(directory / "s.mp4", SHORT, "6M")
    nodes = [Node(directory / name, name) for name in ("one", "two", "three")]
    first = nodes[0]
    try:
        first.start()
        for node in nodes[1:]:
            token = first.helio("token").split()[0]
            node.start("--join", f"tls/127.0.0.1:{first.bus}", "--token", token)
        until("all see all", lambda: len(first.nodes()) == 3, PATIENCE)

        def served() -> bool:
            names = json.loads(first.helio("names", "--json"))
            return sum(one["kind"] == "blocks" for one in names) == 3

        until("disks are served", served, PATIENCE)
        disks = [
            {"node": node.name, "path": str(directory / f"disk-{node.name}"), "capacity": 400 << 20}
            for node in nodes
        ]
        volume = {"name": "main", "data": 2, "parity": 1, "code": "xor", "disks": disks}
        ask(first, "POST", "/storage/volumes", volume)
        for name, film in zip(("film", "short"), films, strict=True):
            first.helio("title", "import", str(film), "--name", name)
        yield nodes
    finally:
        for node in nodes:
            if node.served is not None and node.process.poll() is None:
                stop(node.process)
            if node.served is not None:
                assert "Traceback" not in node.served.log.read_text()


@pytest.fixture
def cluster(three: list[Node]) -> list[Node]:
    """The nodes, all there and with all they have: those that died in the test before are back."""
    for node in three:
        if node.process.poll() is not None:
            node.start()

    def whole(node: Node) -> bool:
        volumes = ask(node, "GET", "/storage")["volumes"]
        titles = ask(node, "GET", "/storage/titles")["titles"]
        up = [one["up"] for volume in volumes for one in volume["disks"]]
        return len(titles) == 2 and up == [True] * 3

    for node in three:
        until("films and disks are known", lambda at=node: whole(at), PATIENCE)
    return three


@pytest.fixture
def player(cluster: list[Node]) -> Iterator[Player]:
    made = Player(f"{cluster[0].rtsp}/film")
    made.begin()
    yield made
    made.close()


class Playing:
    """A player under way; what it says, line by line: the last line is the whole."""

    def __init__(self, node: Node, *options: str) -> None:
        command = [sys.executable, "-m", "heliograph", "play", f"{node.rtsp}/short", "--json"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def wait(self) -> dict[str, Any]:
        assert self.process.wait(SHORT + PATIENCE) == 0
        self._reader.join(PATIENCE)
        return self.lines[-1]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def playing(cluster: list[Node], tmp_path: Path) -> Iterator[Playing]:
    made = Playing(cluster[0], "--write", str(tmp_path / "film.mkv"))
    yield made
    made.close()


def pictures(file: Path) -> int:
    """Pictures of a file that can be decoded."""
    line = ["ffprobe", "-v", "error", "-select_streams", "v", "-count_frames", "-of", "csv=p=0"]
    line += ["-show_entries", "stream=nb_read_frames", str(file)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stderr == ""
    return int(done.stdout.strip().strip(","))


def port(node: Node) -> int:
    return int(node.rtsp.rpartition(":")[2])


def after(player: Player, count: int) -> None:
    """Wait until so many packets more have come."""
    wanted = len(player.packets) + count
    until("packets come", lambda: len(player.packets) >= wanted)


def quiet(player: Player) -> bool:
    """Whether nothing has come for a second: at any rate packets come every few milliseconds."""
    return time.monotonic() - player.packets[-1].at > 1


def test_three_nodes_send_a_title_whole_and_any_of_them_has_control(
    cluster: list[Node], player: Player
) -> None:
    assert len(player.nodes) == 3
    began = time.monotonic()
    found = player.ask("PLAY", Range="npt=0-")
    assert time.monotonic() - began < 5
    after(player, 1500)
    # Which node has which block is by lot: one may have none of the first.
    until("all have sent", lambda: {one.node for one in player.packets} == {0, 1, 2})
    assert player.missing()[10:] == []
    first = min(player.packets, key=lambda one: one.total)
    assert first.total == 0
    assert f"seq={first.sequence};" in found["rtp-info"]
    for node in range(3):
        numbers = [one.number for one in player.packets if one.node == node]
        assert numbers == [*range(len(numbers))]
    assert player.strangers == 0
    # What is lost comes again, once, when its node is asked.
    player.drop = {max(player.totals()) + 200}
    until("it is lost", lambda: not player.drop)
    node, number = player.lost
    player.again(node, number)
    until("it came", lambda: any((p.node, p.number) == (node, number) for p in player.packets))
    # Speed and pauses are orders to all.
    assert player.ask("PLAY", Speed="2.000")["speed"] == "2.000"
    after(player, 300)
    player.ask("PAUSE")
    until("nobody sends any more", lambda: quiet(player))
    # Another node goes on with it, from where it stood.
    player.move(f"{cluster[1].rtsp}/film")
    assert quiet(player)
    player.ask("PLAY")
    after(player, 300)
    until("nothing is missing", lambda: player.missing() == [])
    # Elsewhere: numbers of nodes go on, the title's jump.
    player.packets.clear()
    player.ask("PLAY", Range="npt=30-")
    until("it is there", lambda: any(one.total > 5000 for one in player.packets) or None)
    player.ask("TEARDOWN")
    until("nobody sends any more", lambda: quiet(player))
    late = Rtsp(f"{cluster[2].rtsp}/film")
    status, _, _ = late.ask("GET_PARAMETER", Session=player.session)
    late.close()
    assert status == 454
    assert quiet(player)


def test_a_title_of_three_servers_comes_whole(
    cluster: list[Node], playing: Playing, tmp_path: Path
) -> None:
    whole = playing.wait()
    (feed,) = whole["feeds"]
    assert feed["bipartite"]
    assert sorted(one["node"] for one in feed["nodes"]) == [0, 1, 2]
    assert all(one["packets"] > 500 and one["missing"] == 0 for one in feed["nodes"])
    assert (feed["moves"], feed["strangers"], feed["unread"]) == (0, 0, 0)
    assert feed["control"].endswith(f":{port(cluster[0])}")
    assert [one["missing"] for one in whole["streams"]] == [0, 0]
    assert whole["rebuffered"] == whole["underflows"] == whole["overflows"] == 0
    assert whole["state"] == "ended"
    assert whole["remarks"] == []
    assert pictures(tmp_path / "film.mkv") == 25 * SHORT


def test_the_controller_dies_and_nothing_is_missing(cluster: list[Node], player: Player) -> None:
    controller, second, _ = cluster
    player.ask("PLAY")
    after(player, 1000)
    dead = next(number for number, one in player.nodes.items() if one[1] == port(controller))
    controller.kill()
    killed = time.monotonic()
    # Nobody asks for anything: the others send what is theirs, and then what was the dead one's.
    after(player, 1500)
    times = sorted(one.at for one in player.packets if one.at > killed - 1 and one.node != dead)
    assert max(b - a for a, b in itertools.pairwise(times)) < 1.5
    alive = {one.node for one in player.packets if one.at > killed + 0.5}
    assert alive <= {0, 1, 2} - {dead}
    until("nothing is missing", lambda: player.missing() == [])
    # The player finds another node that has control, and goes elsewhere in the title.
    found = player.move(f"{second.rtsp}/film")
    assert dead not in player.nodes
    assert len(player.nodes) == 2
    player.packets.clear()
    found = player.ask("PLAY", Range="npt=25-")
    assert found["range"].startswith("npt=24")  # that of the key unit shown then
    after(player, 1000)
    assert {one.node for one in player.packets[50:]} <= {0, 1, 2} - {dead}

    def whole() -> bool:
        played = player.totals()[50:]
        return played == [*range(played[0], played[-1] + 1)]

    until("nothing is missing there", whole)
    player.ask("TEARDOWN")
    status, _, _ = player.rtsp.ask("GET_PARAMETER", Session=player.session)
    assert status == 454


def test_the_server_in_control_dies_and_the_film_goes_on(
    cluster: list[Node], playing: Playing, tmp_path: Path
) -> None:
    until("it plays", lambda: playing.lines and playing.lines[-1]["position"] > 4, PATIENCE)
    (feed,) = playing.lines[-1]["feeds"]
    assert feed["control"].endswith(f":{port(cluster[0])}")
    cluster[0].kill()

    def moved() -> bool:
        (feed,) = playing.lines[-1]["feeds"]
        return bool(feed["moves"] == 1)

    until("another has control", moved, PATIENCE)
    whole = playing.wait()
    (feed,) = whole["feeds"]
    assert feed["moves"] == 1
    assert [one["missing"] for one in whole["streams"]] == [0, 0]
    assert whole["rebuffered"] == 0
    assert whole["state"] == "ended"
    assert pictures(tmp_path / "film.mkv") == 25 * SHORT
