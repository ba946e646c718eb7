"""A recorder killed at any point: what is in the database and what is missing is what was made."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from tests.unit.catalogue.conftest import quick_passwords
from tests.unit.dispatcher.recording_process import BURST, TICK
from tests.unit.dispatcher.traffic import START

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents.reports import Span
from heliograph.dispatcher.statistics.delivery import Delivery
from heliograph.dispatcher.statistics.journal import Run
from heliograph.dispatcher.statistics.recorder import Recorder

ROOT = Path(__file__).parents[3]
KILLS = 6


def numbers(path: Path) -> list[int]:
    return [*memoryview(path.read_bytes()).cast("Q")]


def kill_some(url: str, directory: Path) -> None:
    """Start processes one after the other, and kill each while it records."""
    rng = random.Random(20261122)
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.dispatcher.recording_process", url, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        try:
            assert parent.stdout.readline() == "ready\n"
            for run in range(KILLS):
                name = f"made-{run}"
                parent.stdin.write(f"{name}\n")
                parent.stdin.flush()
                pid = int(parent.stdout.readline())
                until = time.monotonic() + 20
                while time.monotonic() < until and numbers(directory / name)[0] == 0:
                    time.sleep(0.01)
                time.sleep(rng.uniform(0, 0.6))
                os.kill(pid, signal.SIGKILL)
                assert parent.stdout.readline() == "gone\n"
        finally:
            parent.kill()


@pytest.mark.timeout(120)
async def test_killed_at_any_point(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalogue.db"
    catalogue = await Catalogue.open(url, passwords=quick_passwords())
    kill_some(url, tmp_path)
    journal = tmp_path / "journal"
    run = Run.begin(journal)
    recorder = Recorder(run)
    delivery = Delivery(journal, run, recorder, catalogue.recording)
    await delivery.deliver()
    await delivery.close()
    made = [numbers(tmp_path / f"made-{one}") for one in range(KILLS)]
    counted = sum(one[0] for one in made)
    span = Span(START - timedelta(days=1), START + timedelta(days=4))
    report = await catalogue.reports.titles(span)
    totals = report.totals
    there = totals["redirects"] + totals["refusals"] + totals["plays"]
    # Each may have been killed between making a record and counting it for the test.
    assert 0 <= there + report.missing - counted <= KILLS
    assert there > counted / 2
    # A second and no more: of each run, what it made in the last one.
    ticks = [max(1, len([*filter(None, one[1:])])) for one in made]
    last_second = sum(
        one[0] - one[max(0, last - round(1 / TICK))] if last > 1 / TICK else one[0]
        for one, last in zip(made, ticks, strict=True)
    )
    assert report.missing <= last_second + KILLS * BURST
    assert [*journal.iterdir()] == []
    await catalogue.close()
