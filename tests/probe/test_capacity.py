"""What a viewer costs at one unit, and where as many sit at each of four."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.peers.network import Network
from tests.interop.peers.program import Program, wait_until
from tests.perf.__main__ import build
from tests.probe.machines import KEY, PATIENCE, Machine

pytestmark = [pytest.mark.probe, pytest.mark.alone, pytest.mark.timeout(600)]

Keep = Callable[[Program], Program]

UNITS = 4
#: At each unit.
VIEWERS = int(os.environ.get("HELIO_PROBE_VIEWERS", "150"))
BITRATE = 1_000_000
#: A built ``helio-load``; empty: it is built.
LOAD = os.environ.get("HELIO_PROBE_LOAD", "")
#: Seconds that are measured, and turns: machines are busy with other things now and then.
SECONDS, TURNS = 10.0, 3
#: CPU of a viewer at four units against one.
MORE = 1.05


@pytest.fixture(scope="module")
def load() -> Path:
    """The program that watches with many viewers at once."""
    return Path(LOAD) if LOAD else build()


@pytest.fixture
def units(links: Network, tmp_path: Path, run: Keep, load: Path) -> list[Machine]:
    more = "[unit]\nbandwidth_bps = 9000000000\ncpu_percent = 1000\ngroups = 1000\n"
    portal = Machine(links.join(), tmp_path, "portal", keeps=True, roles=["portal", "manager"])
    run(portal.start().program)
    made = []
    for number in range(1, UNITS + 1):
        unit = Machine(links.join(), tmp_path, f"unit-{number}", roles=["unit"], more=more)
        join = f"tls/{portal.peer.address}:7447"
        made.append(unit.start("--join", join, "--token", portal.token()))
        run(unit.program)
    url = f"rtsp://me:{KEY}@{made[0].peer.address}:8554/demo"
    wait_until(lambda: made[0].order("GET", "/channels/demo")[0] == 200, PATIENCE, "it is known")
    command = [str(load), "publish", "--url", url, "--transport", "tcp"]
    run(Program("publisher", [*command, "--bitrate", str(BITRATE), "--seconds", "900"], tmp_path))
    wait_until(made[-1].path, PATIENCE, "all know the channel")
    return made


def cpu(machine: Machine) -> float:
    """Seconds of CPU that a process had so far."""
    text = Path(f"/proc/{machine.program.process.pid}/stat").read_text()
    words = text.rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def spent(machines: list[Machine]) -> float:
    """Cores that they take together."""
    before, began = sum(map(cpu, machines)), time.monotonic()
    time.sleep(SECONDS)
    return (sum(map(cpu, machines)) - before) / (time.monotonic() - began)


def with_viewers(load: Path, machines: list[Machine], directory: Path) -> float:
    """Cores that they take while the viewers watch there."""
    started = []
    for number, machine in enumerate(machines):
        # They take datagrams at 127.0.0.1 only: each unit's sit in its own network.
        command = ["ip", "netns", "exec", machine.peer.name, str(load), "rtsp-readers"]
        command += ["--url", "rtsp://127.0.0.1:8554/demo", "--count", str(VIEWERS)]
        command += ["--transport", "udp", "--seconds", str(SECONDS * 2), "--ramp", "100"]
        out = (directory / f"readers-{number}.json").open("w+")
        started.append((subprocess.Popen(command, stdout=out, stdin=subprocess.DEVNULL), out))
    try:
        for machine in machines:
            wait_until(
                lambda m=machine: m.order("GET", "/channels/demo")[1]["readers"] >= VIEWERS,
                PATIENCE * 2,
                f"all watch at {machine.name}",
            )
        time.sleep(2.0)
        found = spent(machines)
        for process, out in started:
            assert process.wait(SECONDS * 3) == 0
            out.seek(0)
            said = json.loads(out.readlines()[-1])
            assert said["playing"] == VIEWERS
            assert said["fewest_packets"] > 0
        return found
    finally:
        for process, out in started:
            if process.poll() is None:
                process.kill()
            process.wait()
            out.close()


def test_a_viewer_costs_as_much_at_four_units_as_at_one(
    units: list[Machine], load: Path, tmp_path: Path
) -> None:
    ratios = []
    for _ in range(TURNS):
        idle = spent(units)
        one = with_viewers(load, units[:1], tmp_path) / VIEWERS
        four = with_viewers(load, units, tmp_path) / (VIEWERS * UNITS)
        ratios.append(four / one)
        print(
            f"{VIEWERS} viewers of {BITRATE / 1e6:g} Mbit/s at one unit: {1e6 * one:.0f} µs a "
            f"viewer and second; as many at each of {UNITS}: {1e6 * four:.0f} "
            f"({ratios[-1]:.3f} of it); without viewers they take {idle:.3f} cores",
            flush=True,
        )
    ratio = sorted(ratios)[TURNS // 2]
    print(f"median: {ratio:.3f}")
    assert ratio <= MORE
