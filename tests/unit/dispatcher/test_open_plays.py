"""What a file says of plays that were under way."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from tests.unit.dispatcher.test_statistics_journal import Book, Process, files
from tests.unit.dispatcher.traffic import START, play

from heliograph.dispatcher.statistics import open_plays
from heliograph.dispatcher.statistics.open_plays import HEAD, SLOTS, OpenPlays
from heliograph.model.errors import ResourceError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.open"


def test_each_is_there_with_what_was_noted_last_until_its_end_is_written(path: Path) -> None:
    plays = OpenPlays(path)
    assert plays.left() == []
    for number in range(SLOTS + 5):
        plays.put(play(number, 0, 1))
    plays.note("play-3", 77_000, 2)
    plays.note("play-unknown", 1, 1)
    for number in (4, 5):
        plays.end(play(number, 0, 30), word=number)
    plays.written(4)
    plays.alive(START.replace(minute=9))
    found = OpenPlays(path).left()
    assert len(found) == len(plays) == SLOTS + 4
    assert found[0] == (play(5, 0, 30), True)
    by_id = {one.id: one for one, ended in found[1:] if not ended}
    assert by_id["play-3"] == play(3, 0, 9 * 60, sent_bytes=77_000, stalls=2)
    assert by_id["play-1028"] == play(1028, 0, 9 * 60, sent_bytes=1000)
    assert "play-4" not in by_id
    plays.close()


def test_slots_are_used_again(path: Path) -> None:
    plays = OpenPlays(path)
    for number in range(3 * SLOTS):
        plays.put(play(number, 0, 1, name="n" * (number % 90)))
        plays.end(play(number, 0, 1), number)
        plays.written(number)
        plays.alive(START)
    size = path.stat().st_size
    assert plays.left() == []
    assert size == HEAD + open_plays.CHUNK
    plays.close()


def test_a_file_of_another_version_or_spoilt_is_left_out(path: Path) -> None:
    plays = OpenPlays(path)
    for number in range(3):
        plays.put(play(number, 0, 1))
    plays.close()
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"play-1"', b'"play-1!'))
    assert {one.id for one, _ in plays.left()} == {"play-0", "play-2"}
    path.write_bytes(b"?" + whole[1:])
    assert plays.left() == []
    path.write_bytes(whole[:100])
    assert plays.left() == []


def test_a_play_that_finds_no_room_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "no space left on device")

    plays = OpenPlays(path)
    with pytest.raises(OSError, match="about a play"):
        plays.put(play(1, 0, 1, name="ü" * 128))
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="no space"):
        plays.put(play(1, 0, 1))
    plays.note("play-1", 1, 1)
    plays.end(play(1, 0, 1), 1)
    plays.close()


@pytest.mark.parametrize("answers_lost", [0.0, 0.5])
async def test_a_killed_run_misses_the_end_of_each_play(
    tmp_path: Path, answers_lost: float
) -> None:
    book = Book()
    first = Process(tmp_path, book)
    for number in range(1300):
        first.recorder.begun()
        first.recorder.played(play(number, 0, 1))
    first.recorder.begun()
    first.recorder.ended(None)  # one who never got anything
    first.recorder.flush()
    for number in range(1300):
        first.recorder.noted(f"play-{number}", 60_000, 1)
    first.recorder.ended(play(7, 0, 50))  # in its slot only
    first.recorder.alive(START.replace(minute=1))
    first.kill()
    second = Process(tmp_path, book)
    book.answers_lost = answers_lost
    for _ in range(100):
        with contextlib.suppress(ResourceError):
            await second.delivery.deliver()
            break
    whole = book.whole.plays
    assert {one.sent_bytes for one in whole.values()} == {50_000, 60_000}
    assert whole["play-7"] == play(7, 0, 50)
    assert whole["play-9"] == play(9, 0, 60, stalls=1)
    assert (book.lost, book.whole.records) == (1299, 1301)
    book.answers_lost = 0
    await second.delivery.close()
    assert files(tmp_path) == []
