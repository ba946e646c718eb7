"""A title of three servers' volume: players are spread over the servers, whoever is asked."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from tests.system.conftest import stop, until
from tests.system.test_bipartite import PATIENCE, ask
from tests.system.test_cluster import Node

pytestmark = [pytest.mark.timeout(300), pytest.mark.alone]

NAMES = ("one", "two", "three")
#: Seconds until nobody is sent to a node that died, and for which it is looked whether somebody is:
#: what a node of the cluster may be silent for is 1 s, the rest is for busy machines.
GONE_S, WATCHED_S = 5.0, 8.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three nodes that send players to each other; a volume over them has a film."""
    directory = tmp_path_factory.mktemp("sent")
    file = directory / "film.mp4"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25"]
    line += ["-t", "8", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", str(file)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    nodes = [Node(directory / name, name, redirect=True) for name in NAMES]
    first = nodes[0]
    try:
        first.start()
        for node in nodes[1:]:
            token = first.helio("token").split()[0]
            node.start("--join", f"tls/127.0.0.1:{first.bus}", "--token", token)

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
        first.helio("title", "import", str(file), "--name", "film")
        every = {*map(at, nodes)}
        until("all are used", lambda: set(places(first)) == every, PATIENCE)
        yield nodes
    finally:
        for node in nodes:
            if node.served is not None and node.process.poll() is None:
                stop(node.process)
            if node.served is not None:
                assert "Traceback" not in node.served.log.read_text()


def at(node: Node) -> str:
    return urlsplit(node.http).netloc


def go(node: Node, query: str = "?format=hls") -> str:
    """Where a portal sends a player; empty where it does not."""
    place = urlsplit(node.http)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)
    connection.request("GET", f"/go/film{query}")
    found = connection.getresponse().getheader("location", "")
    connection.close()
    return str(found)


def places(node: Node, count: int = 30) -> Counter[str]:
    return Counter(urlsplit(go(node)).netloc for _ in range(count))


def described(node: Node) -> tuple[int, str]:
    """What an RTSP server answers who asks for the film: status, and where he is to go."""
    place = urlsplit(node.rtsp)
    with socket.create_connection((place.hostname or "", place.port or 0), 10) as client:
        client.sendall(f"DESCRIBE {node.rtsp}/film RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        head = client.recv(4096).decode().split("\r\n\r\n")[0].split("\r\n")
    fields = dict(line.split(": ", 1) for line in head[1:])
    return int(head[0].split()[1]), fields.get("Location", "")


def test_players_of_hls_and_of_files_are_spread_and_served_wherever_they_come(
    cluster: list[Node],
) -> None:
    found = places(cluster[0], 120)
    assert set(found) == {*map(at, cluster)}
    assert max(found.values()) <= 80, found  # chance alone gives one of three 40
    for place in {go(cluster[0]) for _ in range(40)}:
        with urllib.request.urlopen(place, timeout=10) as answer:
            assert answer.read().startswith(b"#EXTM3U")
    sums = set()
    for place in {go(cluster[0], "?format=mp4") for _ in range(40)}:
        with urllib.request.urlopen(place, timeout=30) as answer:
            sums.add(answer.read())
    assert len(sums) == 1  # the same file, whoever made it of the blocks


def test_players_of_rtsp_are_spread_and_play_where_they_are_sent(cluster: list[Node]) -> None:
    found = Counter(described(cluster[0]) for _ in range(60))
    others = {f"{one.rtsp}/film?sent=1" for one in cluster[1:]}
    assert set(found) == {(200, ""), *((302, one) for one in others)}
    line = ["ffprobe", "-v", "error", "-rtsp_transport", "tcp", "-count_frames"]
    line += ["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0", f"{cluster[0].rtsp}/film"]
    with ThreadPoolExecutor() as players:
        played = list(players.map(lambda _: output(line), range(4)))
    assert [one.strip() for one in played] == ["200"] * 4


def output(line: list[str]) -> str:
    """What a program says that does well."""
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout


def test_a_node_that_is_drained_gets_nobody_and_sends_on_who_comes(cluster: list[Node]) -> None:
    first, second, _ = cluster
    assert urlsplit(go(second)).netloc == ""  # it has not the cluster's database: it serves itself
    listed = {one["name"]: one for one in ask(first, "GET", "/servers")["servers"]}
    assert {*NAMES} <= {*listed}
    assert {one["make"] for one in listed.values()} == {"heliograph"}
    ask(first, "POST", "/servers/one/drain")
    try:
        until("nobody is sent there", lambda: at(first) not in places(first))
        assert {described(first)[0] for _ in range(20)} == {302}
    finally:
        ask(first, "POST", "/servers/one/return")
    until("it is used again", lambda: at(first) in places(first))


def test_nobody_is_sent_to_a_node_that_died(cluster: list[Node]) -> None:
    first, second, third = cluster
    until("it is used", lambda: at(third) in places(first))
    third.kill()
    died = last = time.monotonic()
    while time.monotonic() < died + WATCHED_S:
        if at(third) in go(first):
            last = time.monotonic()
    print(f"the last was sent there {last - died:.2f} s after its death")
    assert last - died < GONE_S
    assert set(places(first)) <= {at(first), at(second)}
