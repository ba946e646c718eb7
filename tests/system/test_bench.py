"""``helio bench`` with its own server, and beside one that runs: real processes."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.system.conftest import PATIENCE, until


def as_from_a_terminal():
    """Programs started in the background of a shell inherit that SIGINT is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


async def helio(*arguments):
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "heliograph", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=as_from_a_terminal,
    )


def children(pid):
    """Processes whose parent is ``pid``."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


@pytest.mark.alone
@pytest.mark.parametrize("transport", ["udp", pytest.param("tcp", marks=pytest.mark.long)])
async def test_five_viewers_of_a_private_server(transport):
    bench = await helio(
        *("bench", "--viewers", "5", "--seconds", "2", "--transport", transport, "--json")
    )
    text, complaint = await asyncio.wait_for(bench.communicate(), 50)
    assert bench.returncode == 0, complaint.decode()
    document = json.loads(text)
    (step,) = document["steps"]
    assert (step["viewers"], step["playing"], step["failed"], step["starved"]) == (5, 5, 0, 0)
    assert (step["lost"], step["carried"]) == (0, True)
    # 25 frames and 50 packets of sound a second, at least, to each of five.
    assert step["packets"] > 5 * 75 * 1.8
    assert 0 < step["delay_p50_ms"] <= step["delay_p95_ms"] <= step["delay_p99_ms"] < 2000
    assert 0 < step["server_cpu"] < 1
    assert "carried 5 viewers" in document["verdict"]


@pytest.mark.alone
async def test_a_server_that_runs_is_found_and_its_limit_told(served, publish):
    publish()
    bench = await helio(
        *("bench", "--url", f"{served.rtsp}/demo", "--viewers", "2", "--seconds", "1", "--json")
    )
    text, complaint = await asyncio.wait_for(bench.communicate(), 50)
    assert bench.returncode == 0, complaint.decode()
    (step,) = json.loads(text)["steps"]
    assert step["playing"] == 2
    assert step["server_cpu"] is not None
    # Viewers by UDP said goodbye: nothing is sent to closed ports.
    assert served.channel()["readers"] == 0


@pytest.mark.alone
@pytest.mark.long
async def test_refused_viewers_are_what_the_run_says():
    bench = await helio(
        *("bench", "--until-loss", "--viewers", "2", "--max-viewers", "4", "--seconds", "0.5"),
        *("--set", "access.max_readers=2", "--json"),
    )
    text, complaint = await asyncio.wait_for(bench.communicate(), 50)
    assert bench.returncode == 0, complaint.decode()
    document = json.loads(text)
    assert [step["carried"] for step in document["steps"]] == [True, False]
    assert "no free place" in document["verdict"]
    assert document["verdict"].endswith("carried 2")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
async def test_interrupted_it_ends_what_it_started(number):
    bench = await helio("bench", "--viewers", "2", "--seconds", "60")
    # The server, the publisher, and the viewers of one core at least.
    own = await asyncio.to_thread(
        until, "three processes run", lambda: len(found := children(bench.pid)) >= 3 and found
    )
    os.kill(bench.pid, number)
    _, complaint = await asyncio.wait_for(bench.communicate(), PATIENCE)
    assert bench.returncode == 130
    assert b"Traceback" not in complaint
    assert alive(own) == []


async def test_no_server_at_the_address():
    bench = await helio("bench", "--url", "rtsp://127.0.0.1:1/x", "--viewers", "1")
    _, complaint = await asyncio.wait_for(bench.communicate(), PATIENCE)
    assert bench.returncode == 3
    assert complaint == b"helio: cannot reach 127.0.0.1:1: Connection refused\n"
