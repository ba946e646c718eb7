"""What the catalogue of the first node bars is barred at nodes that do not have it."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.system.conftest import stop, until
from tests.system.test_bipartite import PATIENCE, ask
from tests.system.test_cluster import Node

pytestmark = pytest.mark.timeout(300)

REFUSED = "clients of your network are not served"


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    """One with the catalogue, a unit without any, and a portal with one of its own."""
    first = Node(tmp_path / "first", "first", keeps=True)
    made = [first, *(Node(tmp_path / name, name) for name in ("unit", "portal"))]
    roles = (["--set", 'cluster.roles=["unit", "storage"]'], [])
    try:
        first.start()
        for node, more in zip(made[1:], roles, strict=True):
            token = first.helio("token").split()[0]
            node.start("--join", f"tls/127.0.0.1:{first.bus}", "--token", token, *more)
        yield made
    finally:
        for node in made:
            if node.served is not None:
                stop(node.process)
                assert "Traceback" not in node.served.log.read_text()


def got(url: str) -> tuple[int, bool]:
    """The status, and whether the network is said to be why."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, REFUSED in answer.read().decode("latin-1")
    except urllib.error.HTTPError as error:
        return error.code, REFUSED in error.read().decode("latin-1")


def described(node: Node, name: str) -> int:
    """The status of what an RTSP server says of a title or channel."""
    place = urlsplit(node.rtsp)
    with socket.create_connection((place.hostname or "", place.port or 0), 30) as client:
        client.sendall(f"DESCRIBE {node.rtsp}/{name} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        return int(client.recv(4096).split()[1])


def film(node: Node) -> list[int]:
    """The title by HLS, as a file and by RTSP."""
    return [
        got(f"{node.http}/hls/film/index.m3u8")[0],
        got(f"{node.http}/titles/film.mp4")[0],
        described(node, "film"),
    ]


def test_titles_that_are_withheld_and_networks_that_are_refused_are_so_at_every_node(
    nodes: list[Node], tmp_path: Path
) -> None:
    first = nodes[0]
    file = tmp_path / "film.mp4"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25"]
    line += ["-t", "2", "-c:v", "libx264", "-preset", "ultrafast", "-g", "25", str(file)]
    subprocess.run(line, check=True, timeout=PATIENCE)
    first.helio("volume", "create", "films", str(tmp_path / "disk"))
    first.helio("title", "import", str(file), "--name", "film")
    for node in nodes:
        until(f"{node.name} plays it", lambda node=node: film(node) == [200] * 3, PATIENCE)
    until("it is listed", lambda: json.loads(first.helio("title", "list", "--json")), PATIENCE)

    ask(first, "PATCH", "/titles/film", {"published": False})
    for node in nodes:
        until(f"{node.name} has it not", lambda node=node: film(node) == [404] * 3, PATIENCE)
    ask(first, "PATCH", "/titles/film", {"published": True, "regions": ["elsewhere"]})
    for node in nodes:
        until(f"{node.name} bars it", lambda node=node: film(node) == [403] * 3, PATIENCE)
    ask(first, "PATCH", "/titles/film", {"regions": []})
    for node in nodes:
        until(f"{node.name} has it again", lambda node=node: film(node) == [200] * 3, PATIENCE)
        assert got(f"{node.http}/hls/demo/none/s1.m4s") == (404, False)

    ask(first, "PUT", "/networks/127.0.0.0/8", {"refused": True})
    for node in nodes:
        until(f"{node.name} refuses", lambda node=node: film(node) == [403] * 3, PATIENCE)
        for address in ("hls/demo/none/s1.m4s", "hls/demo/index.m3u8", "hls/film/index.m3u8"):
            assert got(f"{node.http}/{address}") == (403, True)
        assert got(f"{node.http}/go/demo?format=hls") == (403, True)
        assert described(node, "demo") == 403
