"""What `make run` shows: a title that is there soon after the first start, by every way."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.system.conftest import PATIENCE, stop, until
from tests.system.test_cluster import Node


def titles(node: Node) -> dict[str, Any]:
    return {one["name"]: one for one in json.loads(node.helio("volume", "titles", "--json"))}


def seconds(url: str, *options: str) -> float:
    """How much of a title ffmpeg decodes of an address."""
    line = ["ffmpeg", "-v", "error", "-nostdin", *options, "-i", url, "-map", "0:v", "-t", "2"]
    line += ["-f", "framecrc", "-"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return sum(one[0] == "0" for one in done.stdout.splitlines()) / 25


def test_the_demo_has_a_film_and_makes_it_once(tmp_path: Path) -> None:
    node = Node(tmp_path / "node", "node")
    node.start("--demo")
    try:
        until("the demo's film is there", lambda: titles(node).get("demo-film"), 2 * PATIENCE)
        film = titles(node)["demo-film"]
        assert film["duration"] > 20
        assert [one["codec"] for one in film["tracks"]] == ["h264", "aac"]
        for address in (
            f"{node.http}/go/demo-film?format=hls",
            f"{node.http}/titles/demo-film.mp4",
        ):
            assert seconds(address) > 1.8
        assert seconds(f"{node.rtsp}/demo-film", "-rtsp_transport", "tcp") > 1.8
        page = subprocess.run(
            ["curl", "-sf", f"{node.http}/watch/demo-film"], capture_output=True, check=True
        )
        assert b"<html" in page.stdout
        assert not (node.state / "demo-film.mp4").exists()
        stop(node.process)
        node.start("--demo")
        until("it is known again", lambda: titles(node).get("demo-film"))
        assert titles(node)["demo-film"]["object"] == film["object"]
        assert json.loads(node.helio("volume", "show", "main", "--json"))["titles"] == 1
    finally:
        stop(node.process)
    assert node.served is not None
    assert "no demo film" not in node.served.log.read_text()
