"""The player's figures against servers in networks of their own: how evenly they are steered.

What is measured is printed (``pytest -s``).
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.network import Network, Peer
from tests.probe.machines import HELIO, PATIENCE
from tests.probe.test_volume import Three

pytestmark = [pytest.mark.probe, pytest.mark.timeout(900)]

#: Seconds of the film.
SECONDS = 60


@pytest.fixture
def three(links: Network, tmp_path: Path) -> Iterator[Three]:
    """Three machines, and a volume with a disk at each."""
    made = Three(tmp_path, links)
    try:
        made.start()
        disks = [made.disk(number, name) for number, name in ((1, "a"), (2, "b"), (3, "c"))]
        volume = {"name": "main", "data": 2, "parity": 1, "code": "xor", "disks": disks}
        made.order("POST", "/volumes", volume)
        yield made
    finally:
        made.close()


def play(peer: Peer, *options: str, seconds: float = PATIENCE) -> list[dict[str, Any]]:
    """What ``helio play --json`` says, line by line; the last one is the whole."""
    command = ["ip", "netns", "exec", peer.name, *HELIO, "play", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of some seconds that need ten times as many bits as those between them."""
    file = tmp_path_factory.mktemp("uneven") / "film.mp4"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=480x270:rate=25"]
    line += ["-t", str(SECONDS), "-vf", "noise=alls=40:allf=t:enable='lt(mod(t,9),4)'"]
    line += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-crf", "30", str(file)]
    subprocess.run(line, check=True, timeout=600)
    return file


def test_rates_are_steered_evenly(three: Three, uneven: Path, links: Network) -> None:
    """Δp against pause and resume, over the same film: seconds of media that come in a second."""
    three.send(uneven)
    peer = links.join()
    url = f"rtsp://{three.machines[0].peer.address}:8554/film"
    deviations = {}
    for flow in ("rate", "pause"):
        lines = play(peer, url, "--flow", flow, "--gathered", seconds=SECONDS)
        playing = [line for line in lines if line["state"] == "playing" and line["position"] > 8]
        playing = [line for line in playing if line["position"] < SECONDS - 8]
        rates = []
        for before, after in itertools.pairwise(playing):
            passed = after["position"] - before["position"]
            levels = [line["feeds"][0]["level_ms"] / 1000 for line in (before, after)]
            rates.append(1 + (levels[1] - levels[0]) / passed)
        deviations[flow] = statistics.pstdev(rates)
        last = lines[-1]
        print(
            f"{flow}: deviation {deviations[flow]:.3f} of {statistics.mean(rates):.3f}; underflows "
            f"{last['underflows']}, overflows {last['overflows']}, "
            f"{last['feeds'][0]['requests']} requests in {SECONDS} s"
        )
        assert (last["underflows"], last["overflows"], last["rebuffered"]) == (0, 0, 0)
    assert deviations["rate"] <= deviations["pause"] / 2
