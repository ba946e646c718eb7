"""A disk is pulled while titles are played: every packet comes, in time, and is the right one."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tests.interop.peers.program import wait_until
from tests.perf.films import make
from tests.probe.load import built
from tests.probe.readers import Readers, told
from tests.probe.test_volume import SUM, Three, sums, three

__all__ = ["three"]

pytestmark = [pytest.mark.probe, pytest.mark.timeout(900)]

#: Seconds of the film; long enough for a disk to go and be made good while it is played.
SECONDS = 40
#: Titles on the volume: all of them lose blocks, and have to be made anew.
TITLES = 4
PLAYERS = 6
#: ms that a packet may be late. Players keep more than that: ``helio play`` 2 s, browsers 0.2 s at
#: least. A machine with nothing else to do keeps 20.
BUDGET = float(os.environ.get("HELIO_PROBE_LATE_MS", "200"))


def test_a_disk_pulled_under_load_costs_nobody_a_packet(three: Three, tmp_path: Path) -> None:
    load, film = built(), make(tmp_path, SECONDS, scene_s=SECONDS)
    line = ["ffmpeg", "-v", "error", "-i", str(film), *SUM]
    wanted = sums(subprocess.run(line, capture_output=True, text=True, check=True).stdout)
    disks = [three.disk(number, name) for number, name in ((1, "a"), (2, "b"), (3, "c"), (3, "d"))]
    body = {"name": "main", "data": 2, "parity": 1, "code": "xor", "disks": disks}
    three.order("POST", "/volumes", body)
    for number in range(TITLES):
        three.send(film, f"t{number}")
    for machine in three.machines:
        wait_until(
            lambda at=machine: len(at.ask("/api/v1/storage/titles")["titles"]) == TITLES,
            30,
            "known",
        )
    # What has to come: packets of a stream whose pictures are those of the file.
    with three.played(1, name="t0") as player:
        text, _ = player.communicate(timeout=120)
    assert sums(text) == wanted
    urls = [f"rtsp://{one.peer.address}:8554/t0" for one in three.machines]
    kept = tmp_path / "packets"
    first = Readers(load, urls, PLAYERS, SECONDS + 2, record=kept)
    said = first.wait()
    assert (said["playing"], said["lost"]) == (PLAYERS, 0), said
    print(told("all disks", first.seconds))
    # Now the same while a disk goes.
    readers = Readers(load, urls, PLAYERS, SECONDS + 2, check=kept)
    try:
        readers.wait_playing()
        begun = time.monotonic()
        time.sleep(8)
        id, blocks = three.disks()["b"]["id"], three.disks()["b"]["blocks"]
        pulled = time.monotonic()
        shutil.rmtree(three.directory / "disk-b")
        time.sleep(8)
        ordered = time.monotonic()
        three.order("DELETE", f"/volumes/main/disks/{id}?force=true")
        three.whole()
        whole = time.monotonic()
        said = readers.wait()
    finally:
        readers.stop()
    times = [begun, pulled, ordered, whole, time.monotonic()]
    names = ["before", "pulled, nobody says so", "being made anew", "afterwards"]
    for name, (since, until) in zip(names, itertools.pairwise(times), strict=True):
        print(told(name, readers.between(since, until)))
    most = max(one.most for one in readers.between(begun, times[-1]))
    print(
        f"{blocks} blocks of the disk made anew in {whole - ordered:.1f} s; "
        f"{said['packets']} packets: {said['wrong']} wrong, {said['missing']} missing, "
        f"{said['late']} above 20 ms, most {most:.1f} ms"
    )
    assert (said["playing"], said["wrong"], said["missing"]) == (PLAYERS, 0, 0), said
    assert most <= BUDGET
    assert three.volume()["lost"] == {"blocks": 0, "titles": []}
    for number in range(TITLES):
        three.verify(f"t{number}")
