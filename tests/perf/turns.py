"""Two servers fed in turns at the same time: what disturbs one disturbs the other as much."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.perf import proc
from tests.perf.servers import Place, Server, Setting
from tests.perf.trial import Load

#: Length of a turn, ms: some frames, and shorter than what a scheduler or another tenant does.
TURN_MS = 250


@dataclass(frozen=True, slots=True)
class Cost:
    """What one of the two used."""

    server: str
    """Name of the server."""
    playing: int
    """Readers that played to the end."""
    lost: int
    """Packets missing at readers."""
    packet_us: float
    """CPU time a packet that was received, µs."""


def run(place: Place, pair: tuple[Server, Server], load: Load) -> tuple[Cost, Cost] | None:
    """Feed both in turns; None when readers did not end in time.

    The readers of the second begin when those of the first are all there. Work that the kernel does
    in a thread of its own counts for neither.
    """
    setting = Setting(readers=load.readers)
    ready = threading.Event()
    found: dict[int, Cost | None] = {}
    with contextlib.ExitStack() as stack:
        processes = []
        for turn, server in enumerate(pair):
            processes.append(stack.enter_context(server.serving(place, setting)))
            command = [str(place.load), server.publisher, *server.publish_options()]
            command += [*load.publish, "--log", str(_log(place, turn))]
            command += ["--turn-ms", str(TURN_MS), "--turn", str(turn)]
            publisher = stack.enter_context(
                proc.running(command, place.load_core, place.work / "load.log")
            )
            if proc.reports(publisher, 20, until="publishing") is None:
                raise RuntimeError(f"cannot publish to {server.name}")
        time.sleep(2.4)  # a keyframe a second of media, which takes two

        def read(turn: int, settle: float, begun: threading.Event) -> None:
            try:
                pid = processes[turn].pid
                found[turn] = _read(place, pair[turn], turn, pid, load, settle, begun)
            finally:
                begun.set()

        first = threading.Thread(target=read, args=(0, load.settle_s, ready))
        first.start()
        try:
            ready.wait()
            read(1, 0.1, threading.Event())
        finally:
            first.join()
    costs = found.get(0), found.get(1)
    return None if costs[0] is None or costs[1] is None else (costs[0], costs[1])


def _log(place: Place, turn: int) -> Path:
    return place.work / f"turn{turn}.times"


def _read(
    place: Place,
    server: Server,
    turn: int,
    pid: int,
    load: Load,
    settle: float,
    begun: threading.Event,
) -> Cost | None:
    options = {
        "count": load.readers,
        "seconds": load.seconds,
        "settle": settle,
        "sources": load.sources,
        "ramp": load.ramp,
        "setup-timeout": load.setup_s,
        "log": _log(place, turn),
    }
    command = [str(place.load), server.readers, *server.read_options()]
    command += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    taken: dict[str, int] = {}

    def on_event(event: str) -> None:
        if event in ("window_start", "window_end"):
            taken[event] = proc.cpu_us(pid)
        if event == "window_start":
            begun.set()

    limit = load.setup_s + settle + load.seconds + 30
    with proc.running(command, place.load_core, place.work / "load.log") as readers:
        said = proc.reports(readers, limit, on_event)
    if said is None or len(taken) < 2 or not said["packets"]:
        return None
    used = taken["window_end"] - taken["window_start"]
    return Cost(server.name, said["playing"], said["lost"], used / said["packets"])


def trials(
    place: Place, pair: tuple[Server, Server], load: Load, runs: int, say: Callable[[str], None]
) -> list[tuple[Cost, Cost]]:
    """Run it several times; what failed is left out."""
    done = []
    for number in range(runs):
        costs = run(place, pair, load)
        if costs is not None:
            done.append(costs)
        told = "did not end in time"
        if costs is not None:
            each = (f"{one.server} {one.packet_us:.2f} µs, lost {one.lost}" for one in costs)
            told = f"{costs[0].packet_us / costs[1].packet_us:.2f} of the floor; {'; '.join(each)}"
        say(f"  in turns: {load.readers} #{number + 1}: {told}")
    return done
