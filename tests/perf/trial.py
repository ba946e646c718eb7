"""One run: a server, a publisher, many readers, and what it cost."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from tests.perf import proc
from tests.perf.servers import Place, Server, Setting

#: A window may begin or end inside a frame, and a keyframe is worth four: so much of the packets
#: that were published in a window's length must have come.
EDGES = 0.97


@dataclass(frozen=True, slots=True)
class Load:
    """What is put on a server."""

    readers: int
    """Readers."""
    transport: str = "udp"
    """``udp`` or ``tcp``."""
    seconds: float = 5.0
    """Length of the window that is measured."""
    publish: tuple[str, ...] = ()
    """Further options of the publisher."""
    slow: int = 0
    """Of the readers, how many read at a trickle (TCP)."""
    sources: int = 1
    """Loopback addresses the readers come from."""
    ramp: int = 1000
    """Readers started a second."""
    settle_s: float = 1.0
    """Seconds between the last reader's start and the window."""
    setup_s: float = 60.0
    """Seconds until the readers must play."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one run gave."""

    load: Load
    """What was asked for."""
    playing: int
    """Readers that played to the end."""
    failures: tuple[str, ...]
    """Why others did not."""
    seconds: float
    """Length of the window."""
    cpu: float
    """Cores the server used, by its own accounting."""
    core_busy: float
    """Share of the server's core that was not idle: more than ``cpu`` when others were there."""
    load_cpu: float
    """Cores the readers used; near 1 they are what is measured."""
    packets: int
    """RTP packets all readers received."""
    fewest: int
    """RTP packets the worst reader received."""
    lost: int
    """RTP packets missing at readers, wherever they were lost."""
    datagrams: float
    """UDP datagrams a second the machine delivered, or dropped at a reader's full buffer."""
    reads_per_reader: float
    """Reads that returned data, a second and TCP reader."""
    delay_us: dict[str, float | None]
    """One-way delay of complete frames: p50, p95, p99, max, µs."""
    gap_max_us: int
    """Longest time a reader had no frame."""
    memory_kib: int
    """PSS of the server with its readers."""
    memory_before_kib: int
    """PSS of the server with a publisher and no reader."""
    slow_bytes: int
    """Bytes the slow readers took."""

    @property
    def cost_us(self) -> float | None:
        """CPU time a viewer and second, µs."""
        return self.cpu * 1e6 / self.playing if self.playing else None

    def lossless(self, packets_per_second: float) -> bool:
        """Every reader played, received everything, and was not left behind.

        A delay of 200 ms at p95 means that frames queue up: the server is past its core.
        """
        p95 = self.delay_us.get("p95")
        return (
            self.playing == self.load.readers
            and self.lost == 0
            and self.fewest >= packets_per_second * self.seconds * EDGES
            and (p95 is None or p95 < 200_000)
        )


def run(
    place: Place, server: Server, setting: Setting, load: Load, beside: tuple[str, ...] = ()
) -> Trial | None:
    """Run one trial, with another command beside it; None when the readers did not end in time."""
    log = place.work / "load.log"
    setting = dataclasses.replace(setting, readers=load.readers)
    told = ["--log", str(place.work / "sent.times")] if server.sealed else []
    readers = [str(place.load), server.readers, *server.read_options(), *told]
    options = {
        "count": load.readers,
        "transport": load.transport,
        "seconds": load.seconds,
        "settle": load.settle_s,
        "slow": load.slow,
        "sources": load.sources,
        "ramp": load.ramp,
        "setup-timeout": load.setup_s,
    }
    readers += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(server.serving(place, setting))
        for channel in range(setting.channels):
            command = [str(place.load), server.publisher, *server.publish_options(channel)]
            command += ["--kind", setting.kind, *load.publish, *told]
            publisher = stack.enter_context(proc.running(command, place.load_core, log))
            if proc.reports(publisher, 20, until="publishing") is None:
                raise RuntimeError(f"cannot publish to {server.name}, see {log}")
        time.sleep(1.2)  # a keyframe a second: the server has one now
        before = proc.memory_kib(process.pid)
        taken: dict[str, Any] = {}

        def on_event(event: str) -> None:
            if event in ("window_start", "window_end"):
                taken[event] = proc.cost(process.pid, place.server_core)
            if event == "window_end":
                taken["memory"] = proc.memory_kib(process.pid)

        if beside:
            other = stack.enter_context(proc.running(list(beside), place.load_core, log))
            proc.reports(other, 20, until="connected")
        load_process = stack.enter_context(proc.running(readers, place.load_core, log))
        limit = load.setup_s + load.settle_s + load.seconds + 30
        said = proc.reports(load_process, limit, on_event)
        if said is None or "window_end" not in taken:
            return None
    used = taken["window_end"] - taken["window_start"]
    seconds = said["seconds"]
    return Trial(
        load=load,
        playing=said["playing"],
        failures=tuple(f"{why}: {count}" for why, count in said["failures"].items()),
        seconds=seconds,
        cpu=used.cpu_us / 1e6 / seconds,
        core_busy=used.core_us / 1e6 / seconds,
        load_cpu=said["cpu_us"] / 1e6 / seconds,
        packets=said["packets"],
        fewest=said["fewest_packets"],
        lost=max(said["lost"], said["lost_end_to_end"]),
        datagrams=used.datagrams / seconds,
        reads_per_reader=said["reads"] / seconds / max(1, said["playing"] - load.slow),
        delay_us={name: said["delay"][f"{name}_us"] for name in ("p50", "p95", "p99", "max")},
        gap_max_us=said["gap_max_us"],
        memory_kib=taken["memory"],
        memory_before_kib=before,
        slow_bytes=said["slow_bytes"],
    )
