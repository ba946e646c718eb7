"""Streams of titles a core, from disks: a whole server, its volume, and players who came when they
liked; beside GStreamer's server with the same films, and the same bytes copied by the kernel."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.perf import proc, search
from tests.perf.copying import cp, forget, sendfile, timed
from tests.perf.figures import Figure, Result, at_least, at_most, compare, middle, ratio
from tests.perf.films import FilmServer, GStreamerFilms, make
from tests.perf.servers import Server, Setting

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN, RIVAL = "heliograph", "gstreamer"
#: Streams that a core must carry, and of their packets how many may be late.
STREAMS, LATE = 150, 0.001
#: Titles; of each, so many seconds (quick: fewer), so that hardly two players want the same blocks.
TITLES, SECONDS, QUICK_SECONDS = 4, 400, 150
#: Players begin so far before a title's end at least.
REST = 30
#: Players who come a second, and seconds from the last to the window.
RAMP, SETTLE = 50, 3.0
#: Least length of the window, s: each player has some blocks of a second and a half read in it.
BLOCKS_S = 4.0
#: More streams are not tried: the readers' core has to take them.
CAP = 900
#: Files that are copied for comparison.
COPIED = 256


@dataclass(frozen=True, slots=True)
class Played:
    """One run."""

    streams: int
    playing: int
    cpu: float
    """Cores used."""
    bps: float
    """Bytes of RTP a second that came."""
    lost: int
    late: int
    """Packets above 20 ms, at the receivers."""
    packets: int
    counted_late: float
    """Share of the packets that are late by the server's own count, from the first stream on."""
    lateness: dict[str, float | None]
    """At the receivers, µs."""
    medium: float
    """Share of the bytes sent that was read from the medium meanwhile."""

    @property
    def works(self) -> bool:
        """Whether all play, nothing is lost, and no more is late than may be, by either count."""
        most = LATE * self.packets
        return (
            self.playing == self.streams
            and self.lost == 0
            and self.late <= most
            and self.counted_late <= LATE
        )


def _run(
    plan: Plan, server: Server, streams: int, files: list[Path], seconds: int
) -> Played | None:
    log = plan.place.work / "titles.log"
    taken: dict[str, proc.Cost] = {}
    counted: dict[str, float] = {}
    read: dict[str, int] = {}
    window = max(plan.window_s, BLOCKS_S)
    forget(files)
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(server.serving(plan.place, Setting()))

        def on_event(event: str) -> None:
            if event in ("window_start", "window_end"):
                taken[event] = proc.cost(process.pid, plan.place.server_core)
                read[event] = proc.read_bytes(process.pid)
            if event == "window_start":
                forget(files)  # what players further on have just read
            if event == "window_end" and isinstance(server, FilmServer):
                counted.update(server.counted())  # what that costs is not in the window

        readers = [str(plan.place.load), "rtsp-readers", "--url", server.url, "--due"]
        options = {
            "count": streams,
            "length": seconds - REST,
            "ramp": RAMP,
            "settle": SETTLE,
            "seconds": window,
        }
        readers += [word for name, value in options.items() for word in (f"--{name}", str(value))]
        load = stack.enter_context(proc.running(readers, plan.place.load_core, log))
        said = proc.reports(load, 60 + streams / RAMP + SETTLE + window + 20, on_event)
    if said is None or "window_end" not in taken:
        plan.say(f"  {server.name}: {streams} streams did not end in time")
        return None
    used = taken["window_end"] - taken["window_start"]
    done = Played(
        streams,
        said["playing"],
        used.cpu_us / 1e6 / said["seconds"],
        said["bytes"] / said["seconds"],
        said["lost"],
        said["late"],
        said["packets"],
        counted.get("late_20ms", 0.0) / max(1.0, counted.get("packets", 0.0)),
        {name: said["lateness"][f"{name}_us"] for name in ("p50", "p999", "max")},
        (read["window_end"] - read["window_start"]) / max(1, said["bytes"]),
    )
    others = (used.core_us - used.cpu_us) / 1e6 / said["seconds"]
    plan.others.append(others)
    plan.loads.append(said["cpu_us"] / 1e6 / said["seconds"])
    p50, p999 = (done.lateness[name] or 0.0 for name in ("p50", "p999"))
    plan.say(
        f"  {server.name}: {done.playing} of {streams} streams, {done.cpu:.2f} cores, lost "
        f"{done.lost}, late {done.late} (counted {done.counted_late:.3%}), "
        f"p50 {p50 / 1000:.1f} ms, p99.9 {p999 / 1000:.1f} ms, from the medium {done.medium:.0%}, "
        f"load {plan.loads[-1]:.2f}, others {others:.2f} {said['failures'] or ''}"
    )
    return done


def _cost(runs: list[Played]) -> float | None:
    """µs of CPU for a stream's second."""
    return middle(one.cpu * 1e6 / one.playing for one in runs if one.playing)


def titles(plan: Plan) -> Result:
    """Streams of 5.3 Mbit/s from the disks of a volume."""
    seconds = QUICK_SECONDS if plan.quick else SECONDS
    film = make(plan.place.work, seconds)
    own, rival = FilmServer(TITLES), GStreamerFilms(TITLES, film)
    wanted = {server.name for server in plan.servers}
    with own.serving(plan.place, Setting()):
        took = own.fill(plan.place, film)
    plan.say(f"  {TITLES} titles of {film.stat().st_size >> 20} MiB imported in {took:.0f} s")
    blocks = own.blocks(plan.place)
    runs: dict[str, list[Played]] = {OWN: [], RIVAL: []}
    for _ in range(plan.runs):
        if (one := _run(plan, own, STREAMS, blocks, seconds)) is not None:
            runs[OWN].append(one)
        if RIVAL not in wanted:
            continue
        if (one := _run(plan, rival, STREAMS, rival.files(plan.place), seconds)) is not None:
            runs[RIVAL].append(one)
    cost = _cost(runs[OWN])
    most: float | None = None
    if cost and plan.quick:
        most = 1e6 / cost
    elif cost:

        def works(streams: int) -> bool:
            # One disturbance must not halve the answer.
            done = (_run(plan, own, streams, blocks, seconds) for _ in range(2))
            return any(one is not None and one.works for one in done)

        most = search.largest(works, max(STREAMS, int(0.7e6 / cost)), CAP, 0.15)
    return Result(
        "titles",
        f"Titles of 5.3 Mbit/s by RTSP and UDP, from a volume of {len(_disks(own, plan))} disks "
        f"(3+1) of one medium: {STREAMS} players at different places of {TITLES} titles",
        (
            *_judged(runs, cost, most, told="by its cost" if plan.quick else ""),
            *_bytes(runs, blocks),
        ),
        (
            "A packet is late by its time stamp against the earliest packet of its track, by the "
            "kernel's clock at each receiver; all are looked at. The kernel forgets the files "
            "before each run, and again when the window begins.",
            "cp and sendfile read blocks of the volume's disks from the medium; a second of CPU "
            "of all threads.",
        ),
    )


def _disks(server: FilmServer, plan: Plan) -> set[Path]:
    return {one.relative_to(plan.place.work).parents[-2] for one in server.blocks(plan.place)}


def _judged(
    runs: dict[str, list[Played]], cost: float | None, most: float | None, told: str
) -> list[Figure]:
    costs = {name: _cost(done) for name, done in runs.items() if done}
    figures = compare(f"CPU a stream-second at {STREAMS} streams", "µs", costs, {})
    for what, name in (("late at the receivers, p50", "p50"), ("p99.9", "p999"), ("most", "max")):
        for server, done in runs.items():
            found = middle(one.lateness[name] for one in done)
            target = at_most(20) if (server, name) == (OWN, "p999") else None
            value = None if found is None else found / 1000
            figures.append(Figure(what, server, value, "ms", target=target))
    for server, done in runs.items():
        shares = middle(100 * one.late / one.packets for one in done if one.packets)
        target = at_most(100 * LATE) if server == OWN else None
        what = "packets more than 20 ms late, at the receivers"
        figures.append(Figure(what, server, shares, "%", target=target))
        figures.append(
            Figure("packets lost", server, middle(float(one.lost) for one in done), "packets")
        )
    own = runs[OWN]
    counted = middle(100 * one.counted_late for one in own)
    what = "packets more than 20 ms late, by the sender's count"
    figures.append(Figure(what, OWN, counted, "%", target=at_most(100 * LATE)))
    share = middle(100 * one.medium for one in own)
    figures.append(Figure("read from the medium, of what was sent", OWN, share, "%"))
    what = f"streams a core{', ' * bool(told)}{told}"
    figures.append(Figure(what, OWN, most, "streams", target=at_least(STREAMS)))
    rival = costs.get(RIVAL)
    if rival and cost:
        what = "streams a core, by its cost"
        figures.append(Figure(what, OWN, 1e6 / cost, "streams", RIVAL, ratio(rival, cost)))
        figures.append(Figure(what, RIVAL, 1e6 / rival, "streams"))
    return figures


def _bytes(runs: dict[str, list[Played]], blocks: list[Path]) -> list[Figure]:
    """Bytes for a second of CPU, beside what the kernel needs to copy them."""
    files = blocks[:: max(1, len(blocks) // COPIED)][:COPIED]
    size = sum(path.stat().st_size for path in files)
    values = {
        name: middle(one.bps / one.cpu / 1e6 for one in done if one.cpu)
        for name, done in runs.items()
        if done
    }
    for name, way in (("cp", cp), ("sendfile", sendfile)):
        found = []
        for _ in range(3):
            forget(files)
            _, cpu = timed(lambda way=way: way(files))  # type: ignore[misc]
            found.append(size / cpu / 1e6)
        values[name] = middle(found)
    return compare("bytes for a second of CPU", "MB", values, {})
