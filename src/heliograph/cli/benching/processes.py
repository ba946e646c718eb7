"""Processes of our own: started apart from the terminal's Ctrl-C, and ended by us alone."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heliograph.cli.benching.machine import on_cores
from heliograph.cli.benching.tally import Totals, together
from heliograph.model.errors import HelioError, ResourceError

#: Seconds a process has to come up; a cold disk and a busy core included.
START = 20.0
#: Seconds it has to end once asked.
END = 5.0
#: Seconds a worker may take for a report. One that needs longer is far beyond its limit.
REPORT = 10.0
#: Lines kept of what a process said, for the message when it fails.
LAST_WORDS = 5
#: The channel of a private server.
CHANNEL = "bench"


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a private server's publisher sends."""

    width: int = 640
    """Pixels."""
    height: int = 360
    """Pixels."""
    fps: int = 25
    """Frames a second."""
    bitrate: int = 2000
    """Of video, kbit/s."""


class Process:
    """A Python program of ours."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        """For messages."""
        self.pid = process.pid
        """Its process id."""
        self._process = process
        self._said: collections.deque[str] = collections.deque(maxlen=LAST_WORDS)
        self._listener: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, name: str, arguments: Iterable[str], cores: Iterable[int], *, key: str = ""
    ) -> Process:
        """Start ``python -m ARGUMENTS`` on some cores; settings in the environment do not hold.

        ``key``: a stream key, passed where no list of processes shows it.
        """
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HELIO_")}
        if key:
            kept["HELIO_KEY"] = key
        with on_cores(cores):
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=kept,
                start_new_session=True,
                limit=1 << 20,
            )
        return cls(name, process)

    async def line(self, timeout: float = START) -> dict[str, Any]:
        """The next line of JSON; whatever else is said is kept for ``failed``."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(timeout):
                while line := await self._process.stdout.readline():
                    with contextlib.suppress(ValueError):
                        found = json.loads(line)
                        if isinstance(found, dict):
                            return found
                    self._said.append(line.decode("utf-8", "replace").rstrip())
        except TimeoutError:
            raise ResourceError(f"{self.name} says nothing for {timeout:.0f} s") from None
        raise self.failed()

    async def until(self, name: str, value: str) -> dict[str, Any]:
        """The first line of JSON with such a member; listens on so that it never blocks."""
        try:
            async with asyncio.timeout(START):
                while (found := await self.line()).get(name) != value:
                    self._said.append(str(found.get("event", "")))
        except TimeoutError:
            raise ResourceError(f"{self.name} does not come up within {START:.0f} s") from None
        self._listener = asyncio.create_task(self._listen())
        return found

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            self._said.append(line.decode("utf-8", "replace").rstrip())

    def failed(self) -> HelioError:
        """What to raise when it has ended by itself."""
        return ResourceError(f"{self.name} ended: {' / '.join(self._said) or 'no word'}")

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.returncode is not None

    def tell(self, command: dict[str, object]) -> None:
        """Write a line of JSON."""
        assert self._process.stdin is not None
        if not self.ended:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")

    async def end(self, *, by_input: bool = False) -> None:
        """Ask it to end, then make it. Nothing is left behind.

        ``by_input``: it ends when its standard input does, and has something to do before.
        """
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not by_input or not await self._has_ended():
            self._signal(signal.SIGTERM)
            if not await self._has_ended():
                self._signal(signal.SIGKILL)
                await self._process.wait()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def _signal(self, number: int) -> None:
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _has_ended(self) -> bool:
        try:
            async with asyncio.timeout(END):
                await self._process.wait()
        except TimeoutError:
            return False
        return True


class Workers:
    """All processes with viewers."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    def want(self, viewers: int) -> None:
        """Have so many viewers in all, evenly in every process."""
        count = len(self._processes)
        for place, process in enumerate(self._processes):
            process.tell({"viewers": viewers // count + (place < viewers % count)})

    async def totals(self) -> Totals:
        """What all have counted until now."""
        for process in self._processes:
            process.tell({})
        parts = []
        for process in self._processes:
            found = await process.line(REPORT)
            delays = {int(number): count for number, count in found.pop("delays").items()}
            parts.append(Totals(**{**found, "delays": delays, "cpu_s": tuple(found["cpu_s"])}))
        return together(parts)


@contextlib.asynccontextmanager
async def workers(url: str, key: str, *, udp: bool, cores: Iterable[int]) -> AsyncIterator[Workers]:
    """One process a core, each with viewers of ``url``."""
    processes: list[Process] = []
    try:
        for core in cores:
            name = f"the load generator on core {core}"
            process = await Process.start(name, ["heliograph.cli.benching.worker"], [core])
            processes.append(process)
            process.tell({"url": url, "key": key, "udp": udp})
        yield Workers(processes)
    finally:
        # Viewers say goodbye, or a server that is not ours would go on sending to them for a while.
        await asyncio.gather(*(process.end(by_input=True) for process in processes))


@dataclass(frozen=True, slots=True)
class Private:
    """A server of our own, with a publisher."""

    url: str
    """Of the channel."""
    pid: int
    """The server's process id."""


@contextlib.asynccontextmanager
async def private_server(
    pattern: Pattern, sets: Iterable[str], server: Iterable[int], publisher: Iterable[int]
) -> AsyncIterator[Private]:
    """Serve a test pattern on free ports of loopback, with state that vanishes afterwards.

    ``sets``: settings as ``KEY=VALUE``. ``server``, ``publisher``: their cores.
    """
    running: list[Process] = []
    with tempfile.TemporaryDirectory(prefix="helio-bench-") as directory:
        key, file = os.urandom(16).hex(), Path(directory) / "heliograph.toml"
        file.touch(0o600)
        file.write_text(
            f'[server]\nstate_dir = "{directory}"\nlog_format = "json"\n'
            '[http]\nhost = "127.0.0.1"\nport = 0\n'
            '[rtsp]\nhost = "127.0.0.1"\nport = 0\nrtp_port = 0\n'
            "[https]\nport = 0\n[rtmp]\nport = 0\n[webrtc]\nport = 0\n"
            f'[[channels]]\nname = "{CHANNEL}"\nkey = "{key}"\n'
        )
        options = [part for text in sets for part in ("--set", text)]
        try:
            arguments = ["heliograph", "serve", "--config", str(file), *options]
            served = await Process.start("the server", arguments, server)
            running.append(served)
            port = (await served.until("event", "rtsp listening"))["port"]
            base = f"rtsp://127.0.0.1:{port}"
            arguments = _publish(pattern, base)
            sending = await Process.start("the publisher", arguments, publisher, key=key)
            running.append(sending)
            await sending.until("state", "publishing")
            yield Private(f"{base}/{CHANNEL}", served.pid)
        finally:
            for process in reversed(running):
                await process.end()


def _publish(pattern: Pattern, base: str) -> list[str]:
    return [
        "heliograph",
        "publish",
        "pattern",
        CHANNEL,
        "--url",
        base,
        "--json",
        "--width",
        str(pattern.width),
        "--height",
        str(pattern.height),
        "--fps",
        str(pattern.fps),
        "--bitrate",
        str(pattern.bitrate),
    ]
