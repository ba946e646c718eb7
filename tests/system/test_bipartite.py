"""A title that three servers send together: each its blocks, whoever of them dies."""

from __future__ import annotations

import itertools
import json
import subprocess
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

#: Seconds of the film.
SECONDS = 40
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


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of some megabits a second and a tone: some twenty blocks."""
    file = tmp_path_factory.mktemp("film") / "film.mp4"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
    line += ["-f", "lavfi", "-i", "sine", "-t", str(SECONDS), "-c:v", "libx264", "-b:v", "3M"]
    line += ["-preset", "ultrafast", "-bf", "2", "-g", "25", "-c:a", "aac", str(file)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    return file


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, film: Path) -> Iterator[list[Node]]:
    """Three nodes with a disk each, and a volume over them that has the film."""
    directory = tmp_path_factory.mktemp("three")
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
        first.helio("title", "import", str(film), "--name", "film")
        for node in nodes:
            until("it is known", lambda at=node: ask(at, "GET", "/storage/titles")["titles"])
        yield nodes
    finally:
        for node in nodes:
            if node.served is not None and node.process.poll() is None:
                stop(node.process)
            if node.served is not None:
                assert "Traceback" not in node.served.log.read_text()


@pytest.fixture
def player(cluster: list[Node]) -> Iterator[Player]:
    made = Player(f"{cluster[0].rtsp}/film")
    made.begin()
    yield made
    made.close()


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


def port(node: Node) -> int:
    return int(node.rtsp.rpartition(":")[2])
