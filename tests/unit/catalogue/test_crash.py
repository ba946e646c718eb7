"""A server killed in the midst of writing: what was acknowledged is there, and nothing by half."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.unit.catalogue.conftest import quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import parse_url

KILLS = 5
ROOT = Path(__file__).parents[3]


def run_until_killed(url: str, run: int, seconds: float) -> list[str]:
    """Lines that the writer said before it was killed, ``seconds`` after it began to write."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.unit.catalogue.writer", url, str(run)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        # A writer that hangs would keep the test for ever: killed by then in any case.
        guard = threading.Timer(20, process.kill)
        guard.start()
        line = process.stdout.readline()
        while line and "ready" not in line:  # log lines of the migration
            line = process.stdout.readline()
        assert line, "the writer did not start"
        killer = threading.Timer(seconds, process.kill)
        killer.start()
        lines = process.stdout.read().splitlines()
        process.wait()
        guard.cancel()
        killer.join()
    assert process.returncode == -signal.SIGKILL
    # The last line may have been cut off by the kill; then it was not said.
    return [line for line in lines if len(line.split()) == 2 and len(line.split()[1]) == 32]


@pytest.mark.timeout(120)
async def test_killed_in_the_midst_of_writing(url: str) -> None:
    rng = random.Random(20260321)
    acknowledged: list[str] = []
    path = parse_url(url).database
    for run in range(KILLS):
        acknowledged += run_until_killed(url, run, rng.uniform(0.05, 0.6))
        with sqlite3.connect(path) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert raw.execute("PRAGMA foreign_key_check").fetchall() == []
            # Each change and its line of the audit log are one.
            for action, table in (("account.create", "accounts"), ("channel.create", "channels")):
                told = raw.execute(
                    "SELECT subject FROM audit_log WHERE action = ? ORDER BY 1", (action,)
                ).fetchall()
                made = raw.execute(f"SELECT name FROM {table} ORDER BY 1").fetchall()
                assert told == made
            counts = raw.execute(
                "SELECT count(*) FROM chat_messages GROUP BY channel_id"
            ).fetchall()
            assert set(counts) <= {(20,)}
        raw.close()
    assert len(acknowledged) > KILLS
    catalogue = await Catalogue.open(url, passwords=quick_passwords())
    for line in acknowledged:
        name, key = line.split()
        channel = await catalogue.channels.get(name)
        assert channel.owner is not None
        assert channel.owner.name == name
        assert (await catalogue.channels.standings(name))[name].key_id(key) is not None
    await catalogue.close()
