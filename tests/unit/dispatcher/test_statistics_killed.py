"""A recorder killed at any point: what is in the database and what is missing is what was made."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.unit.catalogue.conftest import quick_passwords
from tests.unit.dispatcher.playing_process import EACH, PAUSE
from tests.unit.dispatcher.recording_process import BURST, TICK
from tests.unit.dispatcher.traffic import START

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.content_tables import PlayRow
from heliograph.catalogue.contents.batches import micros
from heliograph.catalogue.contents.following import LOOK, NOTE
from heliograph.catalogue.contents.reports import Span
from heliograph.dispatcher.statistics.delivery import Delivery
from heliograph.dispatcher.statistics.journal import Run
from heliograph.dispatcher.statistics.recorder import Recorder

ROOT = Path(__file__).parents[3]
PROCESS = "tests.unit.dispatcher.recording_process"
KILLS = 6
SECOND = 1_000_000
#: Microseconds that a step of the process may take.
SLACK = 500_000


def numbers(path: Path) -> list[int]:
    return [*memoryview(path.read_bytes()).cast("Q")]


def kill_some(url: str, directory: Path, what: str) -> None:
    """Start processes one after the other, and kill each while it records."""
    rng = random.Random(20261122)
    with subprocess.Popen(
        [sys.executable, "-m", PROCESS, url, str(directory), what],
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
                time.sleep(rng.uniform(0, 0.6 if what == "decisions" else 3))
                os.kill(pid, signal.SIGKILL)
                assert parent.stdout.readline() == "gone\n"
        finally:
            parent.kill()


@pytest.mark.timeout(120)
async def test_killed_at_any_point(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalogue.db"
    catalogue = await Catalogue.open(url, passwords=quick_passwords())
    kill_some(url, tmp_path, "decisions")
    await deliver_rest(tmp_path / "journal", catalogue)
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
    await catalogue.close()


@pytest.mark.timeout(120)
async def test_plays_under_way_miss_a_second_at_most(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/catalogue.db"
    catalogue = await Catalogue.open(url, passwords=quick_passwords())
    kill_some(url, tmp_path, "plays")
    await deliver_rest(tmp_path / "journal", catalogue)
    async with catalogue._context.database.read() as session:
        found = {row.name: row for row in await session.scalars(select(PlayRow))}
    under_way = lately = 0
    for run in range(KILLS):
        begun, *rest = numbers(tmp_path / f"made-{run}")
        plays = [rest[at : at + EACH] for at in range(0, begun * EACH, EACH)]
        killed = max(until for _, until, *_ in plays)
        for number, (began, until, _, sent, ended) in enumerate(plays):
            under_way += not ended
            lately += max(began, until if ended else 0) > killed - SECOND
            row = found.pop(f"made-{run}-{number}", None)
            if row is None:
                assert sent == 0 or began > killed - SECOND
                continue
            assert micros(row.started) == began
            # Until the last look, and with what was seen within the last second.
            assert until - micros(row.ended) <= (0 if ended else LOOK + PAUSE) * SECOND + SLACK
            assert sent - row.sent_bytes <= (0 if ended else NOTE / LOOK + 1)
            assert row.sent_bytes <= sent + 1
    assert found == {}
    span = Span(datetime.now(UTC) - timedelta(days=1), datetime.now(UTC) + timedelta(days=1))
    missing = (await catalogue.reports.titles(span)).missing
    # One may have ended at the very moment of its kill.
    assert under_way - KILLS <= missing <= under_way + 2 * lately
    assert under_way > 100
    await catalogue.close()


async def deliver_rest(journal: Path, catalogue: Catalogue) -> None:
    """What the next start does with what those left that were killed."""
    run = Run.begin(journal)
    delivery = Delivery(journal, run, Recorder(run), catalogue.recording)
    await delivery.deliver()
    await delivery.close()
    assert os.listdir(journal) == []
