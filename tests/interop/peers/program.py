"""A process with its log and the pipes that media come out of."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeVar

from tests.nursery import Born

T = TypeVar("T")

#: Seconds a process has to end by itself after SIGTERM.
STOP_PATIENCE = 5.0
#: Seconds between two looks at something that has no event to wait for.
LOOK = 0.05


def wait_until(look: Callable[[], T], seconds: float, what: str) -> T:
    """Look until the answer is true, and give it; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(LOOK)


class Program:
    """A running program. ``{name}`` in an argument stands for the descriptor of pipe ``name``."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        directory: Path,
        *,
        pipes: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        namespace: str | None = None,
    ) -> None:
        assert shutil.which(argv[0]), f"{argv[0]} is not installed"
        self.name = name
        self.log_path = directory / f"{name}.log"
        self.pipes: dict[str, BinaryIO] = {}
        ends: dict[str, int] = {}
        for pipe in pipes:
            reading, ends[pipe] = os.pipe()
            self.pipes[pipe] = os.fdopen(reading, "rb", buffering=0)
        command = list(argv)
        for pipe, end in ends.items():
            command = [argument.replace(f"{{{pipe}}}", str(end)) for argument in command]
        if namespace:
            command = ["ip", "netns", "exec", namespace, *command]
        self.process = self._begin(command, tuple(ends.values()), env or {})
        for end in ends.values():
            os.close(end)

    def _begin(
        self, command: list[str], ends: tuple[int, ...], env: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | Born:
        with self.log_path.open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=ends,
                env={**os.environ, **env},
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def log(self) -> str:
        return self.log_path.read_text("utf-8", "replace")

    def wait(self, seconds: float) -> int:
        """Wait for its end; the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {seconds:g} s") from None

    def kill(self) -> None:
        """End it as a crash would: it says goodbye to nobody."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it, by force if it does not by itself; the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_PATIENCE)
        if self.running:
            self.process.kill()
        code = self.process.wait()
        for pipe in self.pipes.values():
            pipe.close()
        return code
