"""Servers and commands that are forks behave as programs that were started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests import nursery


def test_who_cannot_start_says_why_and_gives_the_same_code(tmp_path: Path) -> None:
    log = tmp_path / "log"
    born = nursery.serve(["--config", str(tmp_path / "none.toml")], log)
    assert born.wait(60) == born.poll() == born.returncode == 2
    assert "none.toml" in log.read_text()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -9)])
def test_who_runs_is_a_child_that_is_ended_by_signals(
    number: int, code: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    off = ["http.port=0", "https.port=0", "rtsp.port=0", "rtmp.port=0", "webrtc.port=0"]
    options = [word for one in off for word in ("--set", one)]
    born = nursery.serve([*options, "--state", str(tmp_path / "state")], log)
    with pytest.raises(subprocess.TimeoutExpired):
        born.wait(0)
    end = time.monotonic() + 60
    while not log.exists() or "Administrator's key" not in log.read_text():
        assert born.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.05)
    with open(f"/proc/{born.pid}/stat") as file:
        assert int(file.read().rpartition(")")[2].split()[1]) == os.getpid()
    born.send_signal(number)
    assert born.wait(30) == code
    born.kill()  # which nobody is any more


def test_what_a_command_prints_is_given_and_its_failure_raised() -> None:
    assert nursery.helio(["version"], 60).startswith("heliograph ")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        nursery.helio(["names", "--server", "http://127.0.0.1:1", "--key-file", "/none"], 60)
    argv = [Path(sys.executable).with_name("helio"), *caught.value.cmd[1:]]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (caught.value.returncode, caught.value.output) == (ran.returncode, ran.stdout)
    assert caught.value.stderr == ran.stderr != ""


def test_a_command_that_goes_on_for_too_long_is_ended() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        nursery.helio(["probe", "rtsp://127.0.0.1:1/x"], 0)
