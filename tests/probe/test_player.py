"""The player's figures: what losses leave, how evenly a server is steered, how far streams part.

Servers in networks of their own; the player behind a way that delays and loses. What is measured is
printed (``pytest -s``).
"""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.network import Network, Peer
from tests.interop.peers.program import Program, wait_until
from tests.probe.machines import HELIO, PATIENCE
from tests.probe.test_volume import Three

pytestmark = [pytest.mark.probe, pytest.mark.timeout(900)]

Keep = Callable[[Program], Program]

#: Seconds of the film, and its bits a second: some 50 000 packets.
SECONDS, BITRATE = 60, "9M"
#: Seconds of the way, each way; share of datagrams that it loses.
DELAY, LOSS = 0.020, 0.00365


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that are hard to compress, at an even rate, and a tone."""
    file = tmp_path_factory.mktemp("noise") / "film.mp4"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=480x270:rate=25"]
    line += ["-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", str(SECONDS)]
    line += ["-vf", "noise=alls=80:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-g", "50"]
    line += ["-b:v", BITRATE, "-minrate", BITRATE, "-maxrate", BITRATE, "-bufsize", "4M"]
    line += ["-x264-params", "nal-hrd=cbr", "-c:a", "aac", str(file)]
    subprocess.run(line, check=True, timeout=600)
    return file


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


def behind(
    network: Network, peer: Peer, run: Keep, directory: Path, *, lose: float, burst: int
) -> Program:
    """Put a way that delays and loses between a peer and all others."""
    tag = os.getpid() % 100_000
    near, far = f"w{tag}n{burst}", f"w{tag}f{burst}"
    command = [sys.executable, "-m", "tests.probe.way", near, network.server, far, peer.name]
    command += ["--delay", str(DELAY), "--lose", str(lose), "--burst", str(burst)]
    way = run(Program("way", command, directory))
    wait_until(lambda: "ready" in way.log, PATIENCE, "the way is there")
    for namespace, words in (
        (network.server, f"link set {near} master bridge"),
        (network.server, f"link set {near} up"),
        (peer.name, "link set eth0 down"),
        (peer.name, f"addr add {peer.address}/24 dev {far}"),
        (peer.name, f"link set {far} up"),
    ):
        subprocess.run(["ip", "-n", namespace, *words.split()], check=True)
    return way


def play(peer: Peer, *options: str, seconds: float = PATIENCE) -> list[dict[str, Any]]:
    """What ``helio play --json`` says, line by line; the last one is the whole."""
    command = ["ip", "netns", "exec", peer.name, *HELIO, "play", "--json", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("burst", "most"), [(1, 0.0001), (3, 0.0003)])
def test_what_is_lost_is_sent_again_by_the_node_that_sent_it(
    three: Three,
    noise: Path,
    links: Network,
    tmp_path: Path,
    run: Keep,
    burst: int,
    most: float,
) -> None:
    three.send(noise)
    peer = links.join()
    way = behind(links, peer, run, tmp_path, lose=LOSS, burst=burst)
    url = f"rtsp://{three.machines[0].peer.address}:8554/film"
    figures = {}
    for name, options in (("several nodes", []), ("one server", ["--gathered"])):
        shown = play(peer, url, *options, seconds=SECONDS)[-1]
        packets = sum(one["packets"] for one in shown["streams"])
        missing = sum(one["missing"] for one in shown["streams"])
        feed = shown["feeds"][0]
        figures[name] = missing / (packets + missing)
        print(
            f"{name}, bursts of {burst}: {packets} packets, {missing} missing "
            f"({100 * figures[name]:.4f} %), {feed['unread']} found our sockets full; nodes "
            f"{feed['nodes']}; stood still {shown['rebuffered']} times"
        )
        assert feed["bipartite"] is (name == "several nodes")
    way.process.terminate()
    print(f"the way: {way.wait(5)} {way.log.splitlines()[-1]}")
    assert figures["several nodes"] <= most
    assert figures["one server"] >= LOSS / 2  # the control: nobody sends that again


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


#: Seconds of what is played together.
TOGETHER = 15.0


@pytest.mark.parametrize(("videos", "sounds"), [(5, 12), (8, 24)])
def test_many_streams_stay_together(
    three: Three, links: Network, tmp_path: Path, videos: int, sounds: int
) -> None:
    """Each of a file of its own, asked of the three machines in turn; sound is uncompressed."""
    names = []
    for number in range(videos):
        file = tmp_path / f"picture{number}.mp4"
        line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i"]
        line += [
            f"testsrc2=size=320x180:rate=25:duration={TOGETHER}",
            "-vf",
            f"hue=h={40 * number}",
        ]
        line += ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-bf", "0", str(file)]
        subprocess.run(line, check=True, timeout=120)
        names.append(file)
    for number in range(sounds):
        file = tmp_path / f"sound{number}.wav"
        line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i"]
        line += [f"sine=frequency={200 + 40 * number}:sample_rate=48000:duration={TOGETHER}"]
        subprocess.run([*line, str(file)], check=True, timeout=120)
        names.append(file)
    for file in names:
        three.send(file, file.stem)
    places = itertools.cycle(machine.peer.address for machine in three.machines)
    urls = [f"rtsp://{next(places)}:8554/{file.stem}" for file in names]
    shown = play(links.join(), *urls, seconds=TOGETHER)[-1]
    units = [(one["kind"], one["decoded"]) for one in shown["streams"]]
    print(
        f"{videos} videos, {sounds} sounds: skew {shown['skew_ms']} ms; {shown['pictures']} "
        f"pictures, {shown['skipped']} left out; stood still {shown['rebuffered']} times; "
        f"underflows {shown['underflows']}, overflows {shown['overflows']}"
    )
    assert len(units) == videos + sounds
    assert all(decoded > 0 for _, decoded in units)
    assert shown["skew_ms"]["worst"] <= 33.4
    assert shown["pictures"] >= 0.9 * videos * TOGETHER * 25
