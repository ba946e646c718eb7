"""Log lines hide secrets, cannot be forged, and never fail or block who writes them."""

from __future__ import annotations

import json
import logging
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from heliograph.node import logs


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """Stands for standard error; logging is stopped afterwards."""
    yield tmp_path / "stderr"
    logs.close()


def configure(output: Path, **options) -> structlog.typing.FilteringBoundLogger:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    logs.configure(fd=descriptor, **options)
    return structlog.get_logger()


def written(path: Path) -> list[str]:
    logs.close()
    return path.read_text().splitlines()


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class TestLines:
    def test_text_is_aligned_and_without_colours_where_nobody_looks(self, output):
        log = configure(output)
        log.info("reader joined", channel="demo", reader=7)
        log.warning("source silent", why="no packets")
        first, second = written(output)
        assert first.split()[1:4] == ["info", "reader", "joined"]
        assert first.endswith("channel=demo reader=7")
        assert second.endswith('why="no packets"')
        assert first.index("channel=") == second.index("why=")
        assert "\x1b" not in first

    def test_a_terminal_gets_colours(self, monkeypatch):
        monkeypatch.delenv("NO_COLOR", raising=False)
        controller, terminal = pty.openpty()
        logs.configure(fd=terminal)
        structlog.get_logger().error("broken")
        logs.close()
        assert b"\x1b[31m" in os.read(controller, 4096)
        os.close(controller)
        os.close(terminal)

    def test_json_has_one_object_a_line(self, output):
        configure(output, format="json").info("two\nlines", who="ä")
        (line,) = written(output)
        value = json.loads(line)
        assert (value["level"], value["event"], value["who"]) == ("info", "two\nlines", "ä")
        assert value["timestamp"].endswith("Z")

    def test_what_comes_from_outside_cannot_forge_lines_or_steer_the_terminal(self, output):
        configure(output).info("request\nfake line", agent="a\x1b[2J\r\nb\u202e")
        (line,) = written(output)
        assert "\\nfake" in line
        assert "a\\x1b[2J\\r\\nb\\u202e" in line

    def test_levels_below_the_chosen_one_are_dropped(self, output):
        log = configure(output, level="warning")
        log.info("no")
        log.warning("yes")
        (line,) = written(output)
        assert "yes" in line

    def test_exceptions_are_shown_below_the_line(self, output):
        log = configure(output)
        try:
            raise ValueError("rtsp://me:pw@host/")
        except ValueError:
            log.exception("task failed")
        lines = written(output)
        assert " error " in lines[0]
        assert "ValueError: rtsp://***@host/" in lines[-1]

    def test_libraries_use_the_same_lines(self, output):
        configure(output)
        logging.getLogger("some.package").warning("odd %s", "thing")
        logging.getLogger("httpx").info("chatter")
        (line,) = written(output)
        assert "odd thing" in line
        assert "library=some.package" in line

    def test_long_lines_are_cut(self, output):
        configure(output).info("x", data="y" * 100_000)
        assert len(written(output)[0]) <= logs.MAX_LINE

    def test_long_json_stays_json(self, output):
        configure(output, format="json").info("x", data="y" * 100_000)
        assert json.loads(written(output)[0])["truncated"] is True


class TestSecrets:
    @pytest.mark.parametrize(
        "key", ["key", "password", "token", "authorization", "secret", "view_key", "api-key", "Key"]
    )
    def test_by_name(self, key):
        assert logs.scrub(None, "", {key: "hunter2"}) == {key: logs.MASK}
        assert logs.scrub(None, "", {"a": [{key: "hunter2"}]}) == {"a": [{key: logs.MASK}]}

    def test_harmless_names_stay(self):
        event = {"keyframe": 1, "monkey": "x", "key_frames": 3, "tokens": 2, "key": None}
        assert logs.scrub(None, "", dict(event)) == event

    @pytest.mark.parametrize(
        ("text", "clean"),
        [
            ("GET /ws/demo?key=abc&x=1", "GET /ws/demo?key=***&x=1"),
            ("/a?x=1&TOKEN=abc", "/a?x=1&TOKEN=***"),
            ("pull rtsp://user:p@ss@cam:554/1", "pull rtsp://***@cam:554/1"),
            ("rtsp://cam/a@b", "rtsp://cam/a@b"),
            ("Authorization: Basic dTpw\r\nCSeq: 1", "Authorization: ***\r\nCSeq: 1"),
        ],
    )
    def test_by_form(self, text, clean):
        assert logs.scrub_text(text) == clean
        assert logs.scrub(None, "", {"event": text, "b": text.encode()}) == {
            "event": clean,
            "b": clean,
        }

    @pytest.mark.timeout(5)
    @pytest.mark.parametrize("piece", ["y", "a://", "a://b", "?key=", "authorization ", "@", "+."])
    def test_hostile_text_costs_no_more_than_its_length(self, piece):
        logs.scrub_text(piece * 200_000)

    def test_what_holds_itself_ends(self):
        value: list = []
        value.append(value)
        logs.scrub(None, "", {"value": value})


class TestRateLimit:
    def test_the_rest_is_counted_and_told(self):
        clock = Clock()
        limit = logs.RateLimit(clock)
        passed = 0
        for _ in range(20):
            try:
                limit(None, "", {"event": "x", "limit": "strangers"})
                passed += 1
            except structlog.DropEvent:
                pass
        assert passed == logs.LIMIT_BURST
        assert limit(None, "", {"event": "x", "limit": "others"}) == {"event": "x"}
        assert limit(None, "", {"event": "x"}) == {"event": "x"}
        clock.now += logs.LIMIT_WINDOW_S
        event = limit(None, "", {"event": "x", "limit": "strangers"})
        assert event == {"event": "x", "suppressed": 20 - passed}
        assert limit(None, "", {"event": "x", "limit": "strangers"}) == {"event": "x"}

    def test_names_made_from_input_stay_bounded(self):
        limit = logs.RateLimit(Clock())
        for number in range(3 * logs.MAX_LIMITS):
            limit(None, "", {"limit": f"peer {number}"})
        assert len(limit._windows) <= logs.MAX_LIMITS


def no_notice(lost: int) -> str:
    return f"lost {lost}"


class TestFullDisk:
    def test_a_full_disk_is_counted_and_never_raises(self, output):
        logs.configure(file=Path("/dev/full"), fd=os.open(output, os.O_WRONLY | os.O_CREAT))
        log = structlog.get_logger()
        assert logs.lost_lines() == 0
        for number in range(10):
            log.info("line", number=number)
        writer = logs._writer
        assert len(written(output)) == 10
        assert writer is not None
        assert writer.lost == 10

    def test_recovery_is_told_with_the_number_of_lines_lost(self, tmp_path, monkeypatch):
        clock = Clock()
        target = logs.Target(path=tmp_path / "log", clock=clock)
        target.write("before", no_notice)
        real = os.write

        def full(descriptor: int, data: bytes) -> int:
            if len(data) > 4:  # the disk takes a part of the line, then nothing
                return real(descriptor, data[:4])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "write", full)
        target.write("halfway", no_notice)
        target.write("dropped", no_notice)
        monkeypatch.setattr(os, "write", real)
        target.write("too early to try again", no_notice)
        clock.now += logs.RETRY_S
        target.write("after", no_notice)
        assert target.lost == 3
        assert (tmp_path / "log").read_text() == "before\nhalf\nlost 3\nafter\n"

    def test_a_directory_that_comes_back(self, tmp_path):
        clock = Clock()
        target = logs.Target(path=tmp_path / "away" / "log", clock=clock)
        target.write("one", no_notice)
        (tmp_path / "away").mkdir()
        clock.now += logs.RETRY_S
        target.write("two", no_notice)
        assert (tmp_path / "away" / "log").read_text() == "lost 1\ntwo\n"

    def test_a_closed_standard_error_is_counted(self):
        read, write = os.pipe()
        os.close(read)
        target = logs.Target(fd=write)
        target.write("x", no_notice)
        assert target.lost == 1
        os.close(write)

    def test_a_writer_that_hangs_does_not_block_the_server(self, monkeypatch):
        release = threading.Event()
        monkeypatch.setattr(logs.Target, "write", lambda *_: release.wait())
        writer = logs.Writer([(logs.Target(fd=2), logs._render_json)])
        for _ in range(logs.QUEUE_LINES + 100):
            writer.put({"event": "x"})
        assert writer.lost >= 99
        release.set()
        writer.close()

    def test_a_value_that_cannot_be_written_does_not_end_the_thread(self, output):
        class Odd:
            def __str__(self) -> str:
                raise RuntimeError

        writer_output = logs.Target(path=output)
        writer = logs.Writer([(writer_output, logs._render_json)])
        writer.put({"event": "x", "odd": Odd()})
        writer.put({"event": "y"})
        writer.close()
        assert "y" in output.read_text()


class TestRotation:
    def test_files_are_bounded_in_size_and_number(self, tmp_path):
        path = tmp_path / "log"
        target = logs.Target(path=path, max_bytes=100, keep=2)
        for number in range(50):
            target.write(f"{number:030}", no_notice)
        files = sorted(file.name for file in tmp_path.iterdir())
        assert files == ["log", "log.1", "log.2"]
        assert all(file.stat().st_size <= 100 for file in tmp_path.iterdir())
        assert path.read_text().splitlines()[-1] == f"{49:030}"
        assert int((tmp_path / "log.1").read_text().split()[-1]) < int(path.read_text().split()[0])
        assert target.lost == 0

    def test_none_kept(self, tmp_path):
        target = logs.Target(path=tmp_path / "log", max_bytes=100, keep=0)
        for number in range(10):
            target.write(f"{number:030}", no_notice)
        assert [file.name for file in tmp_path.iterdir()] == ["log"]
