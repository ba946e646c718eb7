"""``helio play`` of a title that three servers send: nothing is lost, whoever has control."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import until
from tests.system.test_bipartite import PATIENCE, SECONDS, cluster, film, port
from tests.system.test_cluster import Node

__all__ = ["cluster", "film"]

pytestmark = [pytest.mark.timeout(400), pytest.mark.alone]


class Playing:
    """A player under way; what it says, line by line: the last line is the whole."""

    def __init__(self, node: Node, *options: str) -> None:
        command = [sys.executable, "-m", "heliograph", "play", f"{node.rtsp}/film", "--json"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        self.lines: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def wait(self) -> dict[str, Any]:
        assert self.process.wait(SECONDS + PATIENCE) == 0
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
    assert pictures(tmp_path / "film.mkv") == 25 * SECONDS


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
    assert pictures(tmp_path / "film.mkv") == 25 * SECONDS
