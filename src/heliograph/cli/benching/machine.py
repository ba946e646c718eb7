"""This machine's processes and cores, as Linux shows them in ``/proc``."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_LISTEN = "0A"


def parse_cpu_ticks(text: str) -> int:
    """User and system time in ticks from ``/proc/PID/stat``; names in it may hold blanks."""
    fields = text.rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def cpu_seconds(pid: int) -> float | None:
    """CPU seconds a process has used, all its threads; None when it is gone."""
    try:
        return parse_cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) / _TICKS
    except (OSError, ValueError, IndexError):
        return None


def parse_listeners(text: str, port: int) -> set[str]:
    """Inodes of the sockets that listen on ``port``, from ``/proc/net/tcp`` or ``tcp6``."""
    found = set()
    for line in text.splitlines()[1:]:
        fields = line.split()
        listening = len(fields) > 9 and fields[3] == _LISTEN
        if listening and int(fields[1].rpartition(":")[2], 16) == port:
            found.add(fields[9])
    return found


def is_local(host: str) -> bool:
    """Whether a name means this machine."""
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, _, _, address in infos:
        with contextlib.suppress(OSError), socket.socket(family, kind) as probe:
            probe.bind((address[0], 0))
            return True
    return False


def listener(port: int) -> int | None:
    """Process that listens on a TCP port of this machine; None where it cannot be seen."""
    inodes: set[str] = set()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            inodes |= parse_listeners(Path(f"/proc/net/{name}").read_text(), port)
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for fds in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if any(_target(fd) in wanted for fd in fds.iterdir()):
                return int(fds.parent.name)
    return None


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def share_cores(cores: Iterable[int]) -> tuple[frozenset[int], tuple[int, ...]]:
    """Cores for the server, and those for the viewers: half each; both the one that there is."""
    ordered = sorted(cores)
    half = len(ordered) // 2
    if not half:
        return frozenset(ordered), tuple(ordered)
    return frozenset(ordered[:-half]), tuple(ordered[-half:])


@contextlib.contextmanager
def on_cores(cores: Iterable[int]) -> Iterator[None]:
    """Processes started meanwhile inherit these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(cores))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
