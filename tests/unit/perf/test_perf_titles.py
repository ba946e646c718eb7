"""How the measurement of titles judges, and what it compares with."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.perf import proc
from tests.perf.copying import cat, cp, forget, sendfile, timed
from tests.perf.films import FilmServer
from tests.perf.servers import Place, Setting
from tests.perf.titles import LATE, OWN, RIVAL, Played, _judged

RUN = Played(
    streams=150,
    playing=150,
    cpu=0.3,
    bps=1e8,
    lost=0,
    late=0,
    packets=100_000,
    counted_late=0.0,
    lateness={"p50": 500.0, "p999": 4000.0, "max": 30_000.0},
    medium=0.9,
)


@pytest.mark.parametrize(
    "change",
    [{"playing": 149}, {"lost": 1}, {"late": 101}, {"counted_late": 2 * LATE}],
    ids=lambda change: next(iter(change)),
)
def test_streams_work_when_all_play_and_next_to_nothing_is_late(change: dict[str, float]) -> None:
    assert RUN.works
    assert dataclasses.replace(RUN, late=100).works
    assert not dataclasses.replace(RUN, **change).works  # type: ignore[arg-type]


def test_figures_hold_the_cost_of_a_stream_and_the_verdicts() -> None:
    rival = dataclasses.replace(RUN, cpu=0.6, lateness={"p50": 1.0, "p999": 1.0, "max": 1.0})
    figures = _judged({OWN: [RUN] * 3, RIVAL: [rival]}, 2000.0, 400.0, "")
    told = {(one.what, one.server): one for one in figures}
    cost = told["CPU a stream-second at 150 streams", OWN]
    assert (cost.value, cost.ratio) == (pytest.approx(2000), pytest.approx(0.5))
    assert told["p99.9", OWN].verdict == "met"
    assert told["streams a core", OWN].verdict == "met"
    late = dataclasses.replace(RUN, lateness={**RUN.lateness, "p999": 20_001.0})
    figures = _judged({OWN: [late], RIVAL: []}, 2000.0, 149.0, "")
    verdicts = {one.what: one.verdict for one in figures if one.server == OWN}
    assert (verdicts["p99.9"], verdicts["streams a core"]) == ("missed", "missed")


def test_titles_are_read_in_turns_and_more_is_promised_than_comes(tmp_path: Path) -> None:
    server = FilmServer(2)
    assert server.url == "rtsp://127.0.0.1:9554/t0,rtsp://127.0.0.1:9554/t1"
    config = server.config(Place(tmp_path, tmp_path), Setting())
    assert "network_bps = 100000000000" in config
    assert "[[channels]]" not in config


def test_copies_leave_nothing_behind(tmp_path: Path) -> None:
    files = [tmp_path / str(number) for number in range(3)]
    for file in files:
        file.write_bytes(os.urandom(3 << 20))
    for way in (cat, cp, sendfile):
        forget(files)
        seconds, cpu = timed(lambda way=way: way(files))  # type: ignore[misc]
        assert seconds > 0
        assert cpu > 0
    assert sorted(tmp_path.iterdir()) == files


def test_bytes_read_of_media_are_those_of_the_whole_tree() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert proc.read_bytes(os.getpid()) >= proc.read_bytes(child.pid) >= 0
        child.communicate(b"\n")
    assert proc.read_bytes(child.pid) == 0  # it is gone
