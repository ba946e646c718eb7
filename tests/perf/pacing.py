"""Streams of titles a core, by UDP, and how late their packets are, beside the bare loop."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.perf import proc, search
from tests.perf.figures import Figure, Result, at_least, at_most, middle, ratio
from tests.perf.pacer import KEY_PICTURE, PICTURE, PICTURE_US, PICTURES_A_GROUP, SOUND_US

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN, FLOOR = "heliograph", "floor"
#: Streams that a core must carry, and of its packets how many may be late.
STREAMS, LATE = 150, 0.001
#: Of the streams, those whose packets' times of arrival are looked at.
WATCHED = 8
#: No more than the drain's core can take.
CAP = 1600
FIRST_PORT = 20_000
#: Until the streams are open, s.
OPEN_S = 4.0


@dataclass(frozen=True, slots=True)
class Paced:
    """One run of paced streams."""

    streams: int
    cpu: float
    """Cores used, feeding included."""
    late: float
    """Share of the packets that went out more than 20 ms late, by the senders' own count."""
    arrivals: dict[str, int]
    """How late packets came, µs, by the kernel's clock at some of the receivers."""

    @property
    def works(self) -> bool:
        """Whether no more packets are late than may be, by either count."""
        return self.late <= LATE and self.arrivals["p999"] <= 20_000


def _run(plan: Plan, streams: int, seconds: float) -> Paced | None:
    log = plan.place.work / "pacing.log"
    at = time.monotonic_ns() // 1000 + int(OPEN_S * 1e6)
    words = [f"--{name}={value}" for name, value in (("seconds", seconds), ("at-us", at))]
    first = f"--first-port={FIRST_PORT}"
    rest = streams - WATCHED
    drain = [str(plan.place.load), "sink", "--count", str(rest), "--seconds", str(seconds + 20)]
    drain += ["--first-port", str(FIRST_PORT + WATCHED)]
    watch = [sys.executable, "-m", "tests.perf.arrivals", f"--watched={WATCHED}", first, *words]
    paced = [sys.executable, "-m", "tests.perf.pacer", f"--count={streams}", first, *words]
    with contextlib.ExitStack() as stack:
        sink = stack.enter_context(proc.running(drain, plan.place.load_core, log))
        proc.reports(sink, 10, until="listening")
        command = [*watch, f"--count={streams}"]
        watching = stack.enter_context(proc.running(command, plan.place.load_core, log))
        proc.reports(watching, 10, until="listening")
        sender = stack.enter_context(proc.running(paced, plan.place.server_core, log))
        busy: dict[str, int] = {}

        def on_event(event: str) -> None:
            busy[event] = proc.cost(sender.pid, plan.place.server_core).core_us

        said = proc.reports(sender, seconds + 30, on_event)
        seen = proc.reports(watching, 20)
    if said is None or seen is None:
        plan.say(f"  {streams} streams: did not end in time")
        return None
    done = Paced(
        streams,
        said["cpu_us"] / 1e6 / said["seconds"],
        said["late_20ms"] / max(1, said["packets"]),
        seen,
    )
    core = (busy["window_end"] - busy["window_start"]) / 1e6 / said["seconds"]
    others = core - done.cpu
    plan.others.append(others)
    plan.say(
        f"  {streams} streams: {done.cpu:.2f} cores, {done.late:.3%} above 20 ms; came p50 "
        f"{seen['p50'] / 1000:.1f}, p99.9 {seen['p999'] / 1000:.1f} ms, others {others:.2f}"
    )
    return done


def _bare(plan: Plan, burst: int, seconds: float) -> float | None:
    """Packets a CPU second of the bare loop, so many for one destination at a time."""
    log = plan.place.work / "pacing.log"
    sink = [str(plan.place.load), "sink", "--count", str(STREAMS), "--seconds", "60"]
    blast = [str(plan.place.load), "udp-blast", "--dests", str(STREAMS), "--burst", str(burst)]
    blast += ["--mode", "segment", "--seconds", str(max(1, round(seconds)))]
    with contextlib.ExitStack() as stack:
        drain = stack.enter_context(proc.running(sink, plan.place.load_core, log))
        proc.reports(drain, 10, until="listening")
        loop = stack.enter_context(proc.running(blast, plan.place.server_core, log))
        said: dict[str, Any] | None = proc.reports(loop, seconds + 10)
    return None if said is None else float(said["packets_per_cpu_second"])


def pacing(plan: Plan) -> Result:
    """Streams of 5.3 Mbit/s from memory."""
    seconds = plan.window_s
    done = [one for _ in range(plan.runs) if (one := _run(plan, STREAMS, seconds)) is not None]
    loops = [
        (_bare(plan, round(a_picture()), seconds), _bare(plan, 1, seconds))
        for _ in range(plan.runs)
    ]
    cost = middle(one.cpu * 1e6 / one.streams for one in done)
    bare = middle(
        bare_cost(pictures, sounds) if pictures and sounds else None for pictures, sounds in loops
    )
    most: float | None = None
    if cost and plan.quick:
        most = 1e6 / cost
    elif cost:

        def works(streams: int) -> bool:
            # One disturbance must not halve the answer.
            runs = (_run(plan, streams, seconds) for _ in range(2))
            return any(one is not None and one.works for one in runs)

        most = search.largest(works, max(STREAMS, int(0.8e6 / cost)), CAP, 0.1)
    late = middle(one.late * 100 for one in done)
    came = {name: middle(one.arrivals[name] / 1000 for one in done) for name in ("p50", "p999")}
    what = f"CPU a stream-second at {STREAMS} streams"
    figures = [
        Figure(what, OWN, cost, "µs", FLOOR, ratio(cost, bare)),
        Figure(what, FLOOR, bare, "µs"),
        Figure("packets sent more than 20 ms late", OWN, late, "%", target=at_most(LATE * 100)),
        Figure("late on arrival, p50", OWN, came["p50"], "ms"),
        Figure("late on arrival, p99.9", OWN, came["p999"], "ms", target=at_most(20)),
        Figure("streams a core", OWN, most, "streams", target=at_least(STREAMS)),
    ]
    return Result(
        "pacing",
        f"Titles of 5.3 Mbit/s by UDP: pictures of {a_picture():.0f} packets, key pictures of "
        f"{KEY_PICTURE}, and sound; {STREAMS} streams fed from memory, Python included",
        tuple(figures),
        (
            "The floor is the bare loop at full speed: what it takes to send as many pictures, and "
            "as many single packets of sound; it waits for nothing and numbers nothing. Arrivals "
            f"are taken by the kernel at {WATCHED} of the receivers.",
        ),
    )


def a_picture() -> float:
    """Packets of a picture, on average."""
    return (KEY_PICTURE + (PICTURES_A_GROUP - 1) * PICTURE) / PICTURES_A_GROUP


def bare_cost(pictures: float, sounds: float) -> float:
    """µs for a stream's second of packets, by what the loop sends of either in a CPU second."""
    return (1e6 / PICTURE_US * a_picture() / pictures + 1e6 / SOUND_US / sounds) * 1e6
