"""Command line of the measurements."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import sys
import tempfile
from pathlib import Path

from tests.perf import report
from tests.perf.scenarios import SCENARIOS, WITHOUT_SERVER, Plan
from tests.perf.servers import ROOT, Floor, GStreamer, Heliograph, Place, Server, build

#: Above this share of the server's core taken by others, figures are marked.
QUIET = 0.1
#: Above this share of its own core the load may be what is measured.
LOADED = 0.9


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf", description=__doc__)
    names = tuple(SCENARIOS)
    parser.add_argument("--only", action="append", choices=names, help="run this scenario only")
    parser.add_argument("--quick", action="store_true", help="smaller and once; not to be quoted")
    parser.add_argument("--runs", type=int, default=0, help="runs a figure (3; quick: 1)")
    parser.add_argument(
        "--server",
        action="append",
        choices=("heliograph", "gstreamer", "floor"),
        help="measure this server only",
    )
    parser.add_argument(
        "--write", action="store_true", help="write docs/performance.md even after --quick"
    )
    parser.add_argument("--no-write", action="store_true", help="only print")
    parser.add_argument(
        "--document", type=Path, default=ROOT / "docs" / "performance.md", help="file to write"
    )
    parser.add_argument("--load", type=Path, help="a built helio-load (default: build it)")
    return parser.parse_args(words)


def doubts(plan: Plan) -> list[str]:
    """Say what speaks against the figures since the last call."""
    others, loads = max(plan.others, default=0.0), max(plan.loads, default=0.0)
    plan.others.clear()
    plan.loads.clear()
    said = []
    if others > QUIET:
        said.append(f"Others took up to {others:.2f} of the server's core: not to be quoted.")
    if loads > LOADED:
        said.append(f"The readers took up to {loads:.2f} of their core: it may be the limit.")
    return said


def main() -> int:
    """Measure, print, write; 1 when a bound was missed or a server could not be measured."""
    options = arguments()
    names = tuple(options.only or SCENARIOS)
    serving = any(name not in WITHOUT_SERVER for name in names)
    cores = os.sched_getaffinity(0)
    if serving and not {0, 1} <= cores:
        print(f"cores 0 and 1 are needed, this process may use {sorted(cores)}", file=sys.stderr)
        return 2
    wanted = options.server or ["heliograph", "gstreamer", "floor"]
    servers: list[Server] = []
    failed = False
    for server in (Heliograph(), GStreamer(), Floor()):
        if server.name not in wanted or not serving:
            continue
        if reason := server.missing():
            print(f"{server.name} is left out: {reason}", file=sys.stderr)
            failed = True
            continue
        servers.append(server)
    with tempfile.TemporaryDirectory(prefix="helio-bench-") as directory:
        work = Path(directory)
        load = options.load or (build() if serving else work / "helio-load")
        place = Place(load, work)
        runs = options.runs or (1 if options.quick else 3)
        say = lambda text: print(text, file=sys.stderr, flush=True)  # noqa: E731
        plan = Plan(place, tuple(servers), options.quick, runs, say)
        where, commit = report.machine(), report.commit(ROOT)
        print(f"{where}; commit {commit}; median of {runs}")
        for name in names:
            say(name)
            try:
                result = SCENARIOS[name](plan)
            # Peers of the tests say by an assertion what they waited for in vain.
            except (RuntimeError, AssertionError) as error:
                failed = True
                say(f"{name}: {error}")
                for log in sorted(work.glob("*.log")):
                    say(f"{log.name}:\n{log.read_text()[-2000:]}")
                continue
            result = dataclasses.replace(result, notes=(*result.notes, *doubts(plan)))
            print(report.plain(result), flush=True)
            failed |= any(figure.verdict == "missed" for figure in result.figures)
            if (options.write or not options.quick) and not options.no_write:
                date = datetime.datetime.now(datetime.UTC).date().isoformat()
                document = options.document
                old = document.read_text() if document.exists() else ""
                document.parent.mkdir(parents=True, exist_ok=True)
                document.write_text(report.update(old, result, date, commit, where))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
