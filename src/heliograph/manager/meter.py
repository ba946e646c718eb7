"""What this process really spends, and what it may: read from the system."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

from heliograph.live.pressure import Look
from heliograph.live.seats import Spend
from heliograph.plane import PlaneTotals

#: Part of the machine's CPU and memory that is for media where nobody says otherwise: the rest is
#: for the system, and for a peak.
SHARE = 0.8
#: Bytes where the system does not tell how many there are.
SOME_MEMORY = 2_000_000_000


#: Seconds over which CPU is evened out: a process that starts, or collects garbage, takes all there
#: is for a moment, and could seat viewers all the same.
EVEN = 3.0
#: Seconds below which nothing is told: the system counts CPU in hundredths of a second.
SHORTEST = 0.25


def cpu_limit() -> int:
    """Microseconds of CPU a second that a unit may spend on the cores it may use."""
    return int(len(os.sched_getaffinity(0)) * 1_000_000 * SHARE)


def memory_limit(proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that a unit may use: of the machine's memory, or of its control group's."""
    found = [_number(cgroup / "memory.max"), _number(cgroup / "memory/memory.limit_in_bytes")]
    for line in _lines(proc / "meminfo"):
        if line.startswith("MemTotal:"):
            words = line.split()
            found.append(int(words[1]) * 1024 if len(words) > 1 and words[1].isdigit() else None)
    return int(min((one for one in found if one), default=SOME_MEMORY / SHARE) * SHARE)


def memory_used(proc: Path = Path("/proc")) -> int:
    """Bytes of this process that are in memory; 0 where that is not told."""
    words = " ".join(_lines(proc / "self/statm")).split()
    pages = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
    return pages * resource.getpagesize()


def cpu_used() -> float:
    """Seconds of CPU of this process, all its threads together."""
    times = os.times()
    return times.user + times.system


class Meter:
    """Takes the differences between two looks."""

    def __init__(
        self,
        totals: Callable[[], PlaneTotals],
        links: Callable[[], int],
        *,
        cpu: Callable[[], float] = cpu_used,
        memory: Callable[[], int] = memory_used,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``links``: bytes that links to other units have sent, which ``totals`` do not have."""
        self._totals, self._links = totals, links
        self._cpu, self._memory, self._clock = cpu, memory, clock
        self._at = clock()
        self._before = totals(), links(), cpu()
        self._rate = 0.0
        """Microseconds of CPU a second, evened out."""
        self._last = Spend(memory=memory())

    def look(self) -> Look:
        """What was spent since the look before, a second; that one where it was just now."""
        now = self._clock()
        seconds = now - self._at
        if seconds < SHORTEST:
            return Look(self._last)
        after = self._totals(), self._links(), self._cpu()
        (old, old_links, old_cpu), (new, new_links, new_cpu) = self._before, after
        rate = 1_000_000 * max(0.0, new_cpu - old_cpu) / seconds
        self._rate += (rate - self._rate) * (1 - math.exp(-seconds / EVEN))
        self._at, self._before = now, after
        # Links that ended take their counts with them.
        sent = new.bytes_out - old.bytes_out + max(0, new_links - old_links)
        self._last = Spend(int(8 * max(0, sent) / seconds), int(self._rate), self._memory())
        return Look(
            self._last,
            max(0, new.packets_out - old.packets_out),
            max(0, new.send_errors - old.send_errors),
            max(0, new.events_lost - old.events_lost),
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "replace").splitlines()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    """A number in a file; None for ``max``, and where there is none."""
    lines = _lines(path)
    return int(lines[0]) if lines and lines[0].strip().isdigit() else None
