"""Servers and commands that are born with everything loaded.

Loading is two thirds of the work that ``helio serve`` has before it is ready, and nearly all that
most commands have. A nursery, one for each process of tests, has loaded it all and does nothing
else; every server is a fork of it that goes on as ``python -m heliograph serve``, and a child of
the tests like any program that they start; so are commands that are asked of it. What starts in a
namespace, and some tests of ``tests/system``, start the command itself.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

#: Linux, linux/prctl.h: orphans among our descendants become our children.
PR_SET_CHILD_SUBREAPER = 36
#: Seconds for loading on a busy machine.
PATIENCE = 60.0
#: What servers load at their start, those of clusters included, and commands.
LOADED = (
    "heliograph.cli.serve",
    "heliograph.node.process",
    "heliograph.node.mesh",
    "heliograph.node.steering",
    "heliograph.cli.api",
    "httpcore",
    "httpx",
    "rich.console",
    "rich.progress",
    "rich.table",
)


class Born:
    """A process of ``helio``, with what tests use of ``subprocess.Popen``."""

    def __init__(self, pid: int, arguments: Sequence[str]) -> None:
        self.pid, self.args = pid, ["helio", *arguments]
        self.returncode: int | None = None
        self._end = os.pidfd_open(pid)

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; ``subprocess.TimeoutExpired`` after so many seconds."""
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._end, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._end], [], [], timeout)[0]:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._end)
        return self.returncode


def serve(arguments: Sequence[str], log: Path) -> Born:
    """Start ``helio serve`` with these arguments; what it says is added to ``log``."""
    return _nursery().bear(["serve", *arguments], log, log)


def helio(arguments: Sequence[str], patience: float) -> str:
    """Run another command of ``helio``, for so many seconds at most; what it printed. Raises what
    ``subprocess.run`` does with ``check``."""
    with tempfile.TemporaryDirectory() as directory:
        said, complained = Path(directory, "out"), Path(directory, "err")
        born = _nursery().bear(arguments, said, complained)
        try:
            code = born.wait(patience)
        except subprocess.TimeoutExpired:
            born.kill()
            born.wait()
            raise
        if code:
            told = said.read_text(), complained.read_text()
            raise subprocess.CalledProcessError(code, born.args, *told)
        return said.read_text()


@functools.cache
def _nursery() -> Nursery:
    return Nursery()


class Nursery:
    """The process that servers are forks of; it ends with the one that made it."""

    def __init__(self) -> None:
        self._near, far = socket.socketpair()
        self._near.settimeout(PATIENCE)
        with far:
            command = [sys.executable, "-m", "tests.nursery", str(far.fileno())]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=[far.fileno()]
            )
        self._lock = threading.Lock()
        atexit.register(self.close)

    def bear(self, arguments: Sequence[str], out: Path, err: Path) -> Born:
        """A ``helio`` with these arguments; what it prints and complains of is added to files."""
        asked = {
            "arguments": [*arguments],
            "files": [str(out), str(err)],
            "environment": {**os.environ},
        }
        for file in (out, err):
            file.touch()  # it is there as soon as the process is, as that of a program is
        with self._lock:
            _adopt(True)
            try:
                self._near.sendall(json.dumps(asked).encode() + b"\n")
                pid = int.from_bytes(self._near.recv(4))
            except BaseException:  # what comes late would be taken for another's
                _nursery.cache_clear()
                self._near.close()
                raise
            finally:
                _adopt(False)
        assert pid, "the nursery has ended"
        return Born(pid, arguments)

    def close(self) -> None:
        self._near.close()
        self._process.wait()


def _adopt(whether: bool) -> None:
    """Whether orphans of descendants become children of this process."""
    assert not ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(whether), 0, 0, 0)


def main() -> None:
    """Load, then fork for each request; returns in the forks, each ready to be what is wanted."""
    gc.disable()  # as the command does
    for name in LOADED:
        importlib.import_module(name)
    gc.freeze()
    gc.enable()
    line = socket.socket(fileno=int(sys.argv[1]))
    requests = line.makefile("rb")
    while asked := requests.readline():
        told, tell = os.pipe()
        if not (between := os.fork()):
            if child := os.fork():
                os.write(tell, child.to_bytes(4))
                os._exit(0)
            for one in (told, tell):
                os.close(one)
            requests.close()
            line.close()
            _become(**json.loads(asked))
            return
        os.waitpid(between, 0)  # from here on the server is the tests' child
        line.sendall(os.read(told, 4))
        for one in (told, tell):
            os.close(one)
    sys.exit()


def _become(arguments: list[str], files: list[str], environment: dict[str, str]) -> None:
    os.setsid()
    for descriptor, file in enumerate(files, 1):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["helio", *arguments]


if __name__ == "__main__":
    main()
    runpy.run_module("heliograph", run_name="__main__", alter_sys=True)
