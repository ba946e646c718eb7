"""Processes: start pinned, read what they cost, end them and nothing else."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")
#: A server that does not end on SIGTERM within this time is killed.
END_S = 5.0


@dataclass(frozen=True, slots=True)
class Cost:
    """A snapshot of what a process tree and its core have used."""

    cpu_us: int
    """User and system time of the tree and of its core's softirq thread, µs. Under load the kernel
    moves the receiver's half of loopback there; that is the sender's work all the same."""
    core_us: int
    """Time the core was not idle, µs, whoever used it."""
    datagrams: int
    """UDP datagrams the machine delivered or dropped for a full socket buffer."""

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.cpu_us - other.cpu_us,
            self.core_us - other.core_us,
            self.datagrams - other.datagrams,
        )


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*"):
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def parse_stat(text: str) -> int:
    """User and system time in ticks from the text of ``/proc/PID/stat`` (names may hold blanks)."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def parse_core(text: str, core: int) -> int:
    """Ticks a core was not idle, from the text of ``/proc/stat``."""
    for line in text.splitlines():
        if line.startswith(f"cpu{core} "):
            ticks = [int(word) for word in line.split()[1:9]]
            return sum(ticks) - ticks[3] - ticks[4]
    raise ValueError(f"no core {core}")


def parse_datagrams(text: str) -> int:
    """``InDatagrams`` + ``RcvbufErrors`` from the text of ``/proc/net/snmp``."""
    names, values = [line.split()[1:] for line in text.splitlines() if line.startswith("Udp:")]
    udp = dict(zip(names, map(int, values), strict=True))
    return udp["InDatagrams"] + udp["RcvbufErrors"]


@functools.cache
def softirq_thread(core: int) -> int | None:
    """Process number of a core's ``ksoftirqd``; None where it cannot be seen."""
    for comm in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if comm.read_text().strip() == f"ksoftirqd/{core}":
                return int(comm.parent.name)
    return None


def cpu_us(pid: int) -> int:
    """User and system time of a process tree, µs."""
    ticks = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            ticks += parse_stat(Path(f"/proc/{member}/stat").read_text())
    return ticks * TICK_US


def cost(pid: int, core: int) -> Cost:
    """Take a snapshot."""
    softirq = softirq_thread(core)
    return Cost(
        cpu_us(pid) + (cpu_us(softirq) if softirq else 0),
        parse_core(Path("/proc/stat").read_text(), core) * TICK_US,
        parse_datagrams(Path("/proc/net/snmp").read_text()),
    )


def memory_kib(pid: int) -> int:
    """Proportional set size of a process tree, KiB."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def read_bytes(pid: int) -> int:
    """Bytes that a process tree has had read from media."""
    total = 0
    for member in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{member}/io").read_text().splitlines():
                if line.startswith("read_bytes:"):
                    total += int(line.split()[1])
    return total


def start(command: list[str], core: int, log: Path, **options: Any) -> subprocess.Popen[str]:
    """Start a command on one core; what it says on stderr goes to a file."""
    with log.open("a") as stderr:
        return subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stderr=stderr,
            text=True,
            **options,
        )


def end(process: subprocess.Popen[str]) -> None:
    """End a process we started, and wait for it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


@contextlib.contextmanager
def running(
    command: list[str], core: int, log: Path, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """Run a command for as long as the context lasts."""
    process = start(command, core, log, **options)
    try:
        yield process
    finally:
        end(process)


def reports(
    process: subprocess.Popen[str],
    limit_s: float,
    on_event: Callable[[str], None] | None = None,
    until: str = "",
) -> dict[str, Any] | None:
    """Read JSON lines until the result, or the event named; None when neither came in time."""
    timer = threading.Timer(limit_s, process.kill)
    timer.daemon = True
    timer.start()
    try:
        for line in process.stdout or ():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            event = said.get("event")
            if event is None:
                return said
            if on_event is not None:
                on_event(event)
            if event == until:
                return said
        return None
    finally:
        timer.cancel()
