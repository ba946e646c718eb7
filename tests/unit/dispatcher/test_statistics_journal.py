"""The recorder and its journal: nothing lost, or known how much; delivered once."""

from __future__ import annotations

import asyncio
import errno
import json
import random
import struct
import time
import zlib
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.unit.dispatcher.traffic import counted, decisions, play

from heliograph.catalogue.contents.batches import Addresses, Batch
from heliograph.dispatcher.statistics import delivery as delivery_module
from heliograph.dispatcher.statistics import journal as journal_module
from heliograph.dispatcher.statistics import recorder as recorder_module
from heliograph.dispatcher.statistics.delivery import Delivery
from heliograph.dispatcher.statistics.journal import Frame, Run, pack, parcels, unpack
from heliograph.dispatcher.statistics.recorder import Recorder
from heliograph.model.errors import HelioError, ResourceError

PATIENCE = 20.0


class Book:
    """Writes down in memory; away, or losing its answers, as the test wants."""

    def __init__(self) -> None:
        self.positions: dict[str, int] = {}
        self.whole = Batch()
        self.lost = 0
        self.away = False
        self.forgetful = random.Random(1)
        self.answers_lost = 0.0
        self.largest = 0

    async def position(self, recorder: str) -> int:
        if self.away:
            raise ResourceError("the database is away")
        return self.positions.get(recorder, 0)

    async def store(self, recorder: str, first: int, to: int, batch: Batch) -> None:
        if self.away:
            raise ResourceError("the database is away")
        known = self.positions.get(recorder, 0)
        if known < to:
            assert known <= first or not self.positions, "cut otherwise than before"
            self.lost += to - known - batch.records
            self.whole.add(batch)
            self.positions[recorder] = to
            self.largest = max(self.largest, len(batch))
        if self.forgetful.random() < self.answers_lost:
            raise ResourceError("the answer was lost")


class Process:
    """What one process has, killed or stopped by the test."""

    def __init__(self, directory: Path, book: Book, **options: int) -> None:
        self.run = Run.begin(directory)
        self.recorder = Recorder(self.run)
        self.delivery = Delivery(directory, self.run, self.recorder, book, period=1.0, **options)

    def kill(self) -> None:
        """What a kill leaves: files, and no lock on them."""
        self.run.close()
        for run in self.delivery._left:
            run.close()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def process(tmp_path: Path, book: Book) -> Process:
    made = Process(tmp_path, book)
    return made


def total(batch: Batch) -> int:
    return sum(sum(found.values()) for found in batch.requests.values())


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


async def settled(process: Process) -> None:
    """Deliver until it is done."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await process.delivery.deliver()
                return
            except HelioError:
                await asyncio.sleep(0)


async def test_what_is_recorded_is_delivered(process: Process, book: Book, tmp_path: Path) -> None:
    some = decisions(5000)
    process.recorder.start()
    process.delivery.start()
    for one in some:
        process.recorder.record(one)
    process.recorder.played(play(1, 0, 5))
    process.recorder.played(play(1, 0, 9))
    await process.delivery.close()
    wanted = Batch()
    wanted.count(some, Addresses.NETWORK)
    assert book.whole.requests == wanted.requests
    assert book.whole.clients == wanted.clients
    assert [one.sent_bytes for one in book.whole.plays.values()] == [9000]
    assert (book.lost, book.whole.records) == (0, 5002)
    assert files(tmp_path) == []
    assert sum(counted(some).values()) > 5000


async def test_the_next_start_delivers_what_is_left(tmp_path: Path, book: Book) -> None:
    first = Process(tmp_path, book)
    for one in decisions(300):
        first.recorder.record(one)
    first.recorder.flush()
    for one in decisions(40):  # not in the journal yet when it is killed
        first.recorder.record(one)
    first.kill()
    second = Process(tmp_path, book)
    await settled(second)
    assert (total(book.whole), book.lost) == (300, 40)
    await second.delivery.close()
    assert files(tmp_path) == []


async def test_a_frame_cut_off_counts_as_missing(tmp_path: Path, book: Book) -> None:
    rng = random.Random(2)
    for _ in range(10):
        first = Process(tmp_path, book)
        for one in decisions(100):
            first.recorder.record(one)
        first.recorder.flush()
        (segment,) = first.run.segments()
        data = segment.read_bytes()
        first.kill()
        if rng.random() < 0.5:
            segment.write_bytes(data[: rng.randrange(len(data))])
        else:
            spoilt = bytearray(data)
            spoilt[rng.randrange(len(data))] ^= 0x40
            segment.write_bytes(spoilt)
        second = Process(tmp_path, book)
        await settled(second)
        await second.delivery.close()
    assert total(book.whole) + book.lost == 1000
    assert total(book.whole) < 1000
    assert files(tmp_path) == []


async def test_a_digit_that_changed_is_not_believed(tmp_path: Path, book: Book) -> None:
    first = Process(tmp_path, book)
    for one in decisions(50):
        first.recorder.record(one)
    first.recorder.flush()
    (segment,) = first.run.segments()
    first.kill()
    data = segment.read_bytes()
    assert b"302," in data
    segment.write_bytes(data.replace(b"302,", b"303,", 1))
    second = Process(tmp_path, book)
    await settled(second)
    assert (total(book.whole), book.lost) == (0, 50)
    second.kill()


async def test_answers_that_are_lost_make_nothing_count_twice(
    tmp_path: Path, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "FRAME_ENTRIES", 10)
    monkeypatch.setattr(delivery_module, "FRAME_ENTRIES", 10)
    monkeypatch.setattr(delivery_module, "STORE_ENTRIES", 30)
    monkeypatch.setattr(delivery_module, "MAX_SEGMENTS", 2)
    book.answers_lost = 0.4
    process = Process(tmp_path, book)
    made = 0
    for turn in range(30):
        for one in decisions(100, seed=turn):
            process.recorder.record(one)
            made += 1
        book.away = turn % 3 == 1
        try:
            await process.delivery.deliver()
        except HelioError:
            process.delivery._bound()
        if turn % 7 == 6:
            process.kill()
            process = Process(tmp_path, book)
    book.away = False
    await settled(process)
    assert (total(book.whole), book.lost) == (made, 0)
    assert book.largest <= 1000
    process.kill()


async def test_a_journal_that_grows_is_folded_and_then_dropped(
    tmp_path: Path, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "MAX_SEGMENTS", 4)
    book.away = True
    process = Process(tmp_path, book, max_bytes=20_000)
    some = decisions(100, hours=0.5)
    sizes = []
    for _ in range(40):
        for one in some:  # of the same titles again and again: it folds well
            process.recorder.record(one)
        with pytest.raises(HelioError):
            await process.delivery.deliver()
        sizes.append(process.delivery._bound())
    assert max(sizes) <= 20_000
    assert len(process.run.segments()) <= 5
    assert process.delivery.dropped_segments == 0
    for turn in range(40):  # ever new hours: it does not
        for one in decisions(100, seed=turn, hours=4000):
            process.recorder.record(one)
        with pytest.raises(HelioError):
            await process.delivery.deliver()
        sizes.append(process.delivery._bound())
    assert max(sizes) <= 20_000
    assert process.delivery.dropped_segments > 0
    book.away = False
    await settled(process)
    assert total(book.whole) + book.lost == 8000
    assert 0 < book.lost < 8000
    process.kill()


async def test_a_full_disk_costs_counted_records_at_most(
    process: Process, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "MAX_HELD", 50)
    good = Run.write

    def full(run: Run, frame: Frame) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(Run, "write", full)
    for turn in range(3):
        for one in decisions(20, seed=turn):
            process.recorder.record(one)
        process.recorder.flush()
    monkeypatch.setattr(Run, "write", good)
    for one in decisions(10, seed=9):
        process.recorder.record(one)
    await settled(process)
    counters = process.delivery.counters()
    assert counters["write_failures"] == 3
    assert counters["dropped"] > 0
    assert total(book.whole) + book.lost == 70
    assert book.lost == counters["dropped"]
    process.kill()


async def test_a_thread_that_lags_costs_counted_records(
    process: Process, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "MAX_WAITING", 30)
    for one in decisions(100):
        process.recorder.record(one)
    assert process.delivery.counters()["refused"] == 70
    await settled(process)
    for one in decisions(5):
        process.recorder.record(one)
    await settled(process)
    assert (total(book.whole), book.lost) == (35, 70)
    process.kill()


def test_a_run_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    one, two = Run.begin(tmp_path), Run.begin(tmp_path)
    assert Run.left(tmp_path) == []
    one.close()
    (left,) = Run.left(tmp_path)
    assert left.id == one.id
    left.close()
    two.close()


def test_segments_folded_by_half_are_read_once(tmp_path: Path) -> None:
    run = Run.begin(tmp_path)
    for number in range(4):
        batch = Batch()
        batch.count(decisions(50, seed=number), Addresses.NETWORK)
        run.write(Frame(number * 50, number * 50 + 50, batch))
        run.seal()
    paths = run.segments()
    spare = {path: path.read_bytes() for path in paths[1:]}
    run.fold(paths, 50)
    for path, data in spare.items():  # killed before these were removed
        path.write_bytes(data)
    known, records = 0, 0
    for path in run.segments():
        for to, batch in parcels(path, known, 10):
            known, records = to, records + total(batch)
    assert (known, records) == (200, 200)
    first, *rest = unpack(run.segments()[0].read_bytes())
    assert (first.first, first.to) == (0, 50), "what may be counted stays as it was cut"
    assert rest[-1].to == 200
    run.close()


def test_a_frame_of_another_version_is_told_of() -> None:
    batch = Batch(records=2)
    known = pack(Frame(0, 2, batch))
    text = json.dumps(batch.to_json() | {"requests": [[1, "film", 1, 1, 302, 2]]}).encode()
    body = struct.pack("<QQ", 2, 4) + text
    other = struct.pack("<II", len(body), zlib.crc32(body)) + body
    with capture_logs() as said:
        assert [one.to for one in unpack(known + other + known)] == [2]
    assert [(one["log_level"], one["first"]) for one in said] == [("error", 2)]
    with capture_logs() as said:
        assert [one.to for one in unpack(known + other[:-1])] == [2]
    assert said == [], "cut off where the process was killed"


def test_recording_takes_no_time(process: Process) -> None:
    """Two microseconds are the bound on a machine that has nothing else to do."""
    some = decisions(2000)
    best = 1.0
    for _ in range(20):
        began = time.perf_counter()
        for one in some:
            process.recorder.record(one)
        best = min(best, (time.perf_counter() - began) / len(some))
        process.recorder.flush()
    assert best < 4e-6
    process.kill()
