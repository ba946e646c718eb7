"""What a large catalogue costs: bringing it in, taking it out, deciding by it, counting its use.

``python -m tests.perf.catalogue`` measures in a process of its own, whose memory is told as well.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.perf.figures import Figure, Result, at_most, middle
from tests.perf.servers import ROOT

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents import exchange
from heliograph.catalogue.contents.batches import DAY, HOUR, REDIRECT, Batch
from heliograph.catalogue.contents.fields import Kind, Record
from heliograph.catalogue.contents.reports import Span, Step
from heliograph.dispatcher.statistics.journal import FRAME_ENTRIES
from heliograph.node.dispatching import Dispatching
from heliograph.node.settings.dispatcher import DispatcherSettings

if TYPE_CHECKING:
    from tests.perf.plan import Plan

TITLES, QUICK_TITLES, SERVERS, COPIES = 100_000, 5_000, 50, 3
#: Records that the API is given at a time by ``helio catalogue import``.
AT_ONCE = 250
#: Changes of one title of which the delay is measured.
CHANGES = 10
#: Days of use that reports are made of, and networks of clients of each.
DAYS, QUICK_DAYS, NETWORKS = 365, 14, 100
#: Deliveries of statistics, each of as many entries as one has.
DELIVERIES = 20
#: Seconds from a change in the database to decisions by it, the second between two looks left out:
#: a removed server gets nobody two seconds later.
MAX_CHANGE_S = 1.0


def records(titles: int) -> Iterator[Record]:
    """Servers, titles, and files on three servers each; the same each time."""
    dice = random.Random(1)
    hosts = [f"s{number}.example" for number in range(SERVERS)]
    for number, host in enumerate(hosts):
        yield Record(Kind.SERVER, {"name": f"s{number}", "host": host, "make": "nginx"})
    for number in range(titles):
        yield Record(Kind.TITLE, {"name": f"t{number}", "title": f"The film number {number}"})
    for number in range(titles):
        for server in dice.sample(range(SERVERS), COPIES):
            uri = f"http://{hosts[server]}/media/t{number}.mp4"
            yield Record(
                Kind.FILE,
                {"title": f"t{number}", "server": f"s{server}", "format": "mp4", "uri": uri},
            )


def used(dice: random.Random, titles: int, entries: int) -> Batch:
    """Requests for titles by chance, as one delivery has them."""
    counts: Counter[tuple[str, int, int, int]] = Counter()
    while len(counts) < entries:
        file = dice.randrange(titles * COPIES)
        counts[f"t{file // COPIES}", file % SERVERS + 1, file + 1, REDIRECT] += 1
    return Batch({int(time.time() // HOUR): counts}, records=counts.total())


def used_all_year(titles: int, days: int) -> Iterator[Batch]:
    """What each server was asked for in each hour, one title and file each, and by whom each day:
    a batch a day, the last of them yesterday's."""
    dice, today = random.Random(3), int(time.time() // HOUR) // DAY
    for day in range(today - days, today):
        requests: dict[int, Counter[tuple[str, int, int, int]]] = {}
        for hour in range(day * DAY, (day + 1) * DAY):
            files = [dice.randrange(titles) * SERVERS + server for server in range(SERVERS)]
            requests[hour] = Counter(
                {
                    (f"t{file // SERVERS}", file % SERVERS + 1, file + 1, REDIRECT): 3
                    for file in files
                }
            )
        times = DAY * SERVERS * 3
        clients = Counter({f"10.{one}.0.0/24": times // NETWORKS for one in range(NETWORKS)})
        yield Batch(requests, {day: clients}, records=times)


async def _reports(catalogue: Catalogue, titles: int, days: int) -> dict[str, float]:
    """Seconds that each report takes of all that time."""
    at = 0
    for batch in used_all_year(titles, days):
        await catalogue.recording.store("year", at, at + batch.records, batch)
        at += batch.records
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    reports, span = catalogue.reports, Span(end - timedelta(days=days, hours=-5), end)
    asked = {
        "servers": lambda: reports.servers(span),
        "titles": lambda: reports.titles(span),
        "clients": lambda: reports.clients(span),
        "periods": lambda: reports.periods(span, Step.DAY),
    }
    found = {}
    for name, ask in asked.items():
        began = time.monotonic()
        report = await ask()
        found[f"report {name} s"] = time.monotonic() - began
        wanted = days * DAY * SERVERS * 3
        missing = 0 if name == "clients" else 5 * SERVERS * 3  # the first hours of the first day
        assert report.totals["redirects"] == wanted - missing, name
    return found


class Meter:
    """Seconds, and those of the processor, that things take."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Measure a block."""
        began, used = time.monotonic(), time.process_time()
        yield
        self.found[f"{what} s"] = time.monotonic() - began
        self.found[f"{what} cpu"] = time.process_time() - used
        # KiB on Linux.
        self.found[f"{what} peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _export(catalogue: Catalogue, writer: exchange.CsvWriter | exchange.JsonWriter) -> str:
    out = io.StringIO()
    out.write(writer.begin())
    async for record in catalogue.contents.records():
        out.write(writer.line(record))
    out.write(writer.end())
    return out.getvalue()


async def _import(catalogue: Catalogue, text: str) -> tuple[int, int]:
    found = exchange.order(exchange.read(text).records)
    added = unchanged = 0
    for start in range(0, len(found), AT_ONCE):
        outcome = await catalogue.contents.put(found[start : start + AT_ONCE])
        added, unchanged = added + outcome.added, unchanged + outcome.unchanged
    return added, unchanged


async def measure(titles: int, directory: Path) -> dict[str, float]:
    """Do all of it once."""
    meter = Meter()
    writer = exchange.CsvWriter()
    text = writer.begin() + "".join(map(writer.line, records(titles)))
    rows = SERVERS + titles * (1 + COPIES)
    catalogue = await Catalogue.open(f"sqlite:///{directory}/catalogue.db")
    try:
        with meter.of("import"):
            assert await _import(catalogue, text) == (rows, 0)
        del text
        for name, kind in (("csv", exchange.CsvWriter), ("json", exchange.JsonWriter)):
            with meter.of(f"export {name}"):
                text = await _export(catalogue, kind())
        with meter.of("again"):
            assert await _import(catalogue, text) == (0, rows)
        del text
        source = catalogue.contents
        dispatching = Dispatching(DispatcherSettings(), source, directory)
        with meter.of("begin"):
            await dispatching._read()
        delays = []
        for number in range(CHANGES):
            wanted = f"Another name {number}"
            change = Record(Kind.TITLE, {"name": f"t{number * 7}", "title": wanted})
            await source.put([change])
            began = time.monotonic()
            await dispatching._read()
            delays.append(time.monotonic() - began)
            entry = dispatching.dispatcher.snapshot.entries[f"t{number * 7}"]
            assert entry.title.title == wanted
        meter.found["change s"] = middle(delays) or 0.0
        dice, at = random.Random(2), 0
        batches = [used(dice, titles, FRAME_ENTRIES) for _ in range(DELIVERIES)]
        with meter.of("statistics"):
            for batch in batches:
                await catalogue.recording.store("bench", at, at + batch.records, batch)
                at += batch.records
        meter.found |= await _reports(catalogue, titles, DAYS if titles == TITLES else QUICK_DAYS)
    finally:
        await catalogue.close()
    return meter.found


def catalogue(plan: Plan) -> Result:
    """A catalogue of 100 000 titles."""
    titles = QUICK_TITLES if plan.quick else TITLES
    runs: list[dict[str, float]] = []
    for _ in range(plan.runs):
        runs.append(_run(plan, titles))
        plan.say("  " + ", ".join(f"{what} {value:.3g}" for what, value in runs[-1].items()))
    found = {what: middle(run[what] for run in runs) or 0.0 for what in runs[0]}
    rows = SERVERS + titles * (1 + COPIES)
    entries = DELIVERIES * FRAME_ENTRIES
    figures = [
        _figure("import of a CSV file", found["import s"], "s"),
        _figure("records imported a second of CPU", rows / found["import cpu"], "1/s"),
        _figure("import of what is there already, JSON", found["again s"], "s"),
        _figure("export as CSV", found["export csv s"], "s"),
        _figure("export as JSON", found["export json s"], "s"),
        _figure("memory at the most, import", found["import peak"], "MiB"),
        _figure("reading all, and the first snapshot", found["begin s"], "s"),
        Figure(
            "from one title's change to decisions by it",
            "heliograph",
            found["change s"],
            "s",
            target=at_most(MAX_CHANGE_S),
        ),
        _figure("memory at the most, with two snapshots", found["statistics peak"], "MiB"),
        _figure("counts written, CPU", found["statistics cpu"] / entries * 1e6, "µs each"),
        _figure("counts written a second", entries / found["statistics s"], "1/s"),
        *(
            _figure(
                f"report of {DAYS if titles == TITLES else QUICK_DAYS} days by {what}",
                found[f"report {name} s"],
                "s",
            )
            for name, what in (
                ("servers", "server"),
                ("titles", "title"),
                ("clients", "client network"),
                ("periods", "day"),
            )
        ),
    ]
    return Result(
        "catalogue",
        f"A catalogue of {titles} titles with {COPIES} files each on {SERVERS} servers, in SQLite",
        tuple(figures),
        (
            f"Imported {AT_ONCE} records a transaction, as the command does, without HTTP. A "
            "dispatcher looks each second whether something changed; that second is not included. "
            f"Counts of use come {FRAME_ENTRIES} at a time, each of another title or file. Reports "
            f"are of {SERVERS} servers, each used each hour for a title by chance, and {NETWORKS} "
            "networks of clients.",
        ),
    )


def _figure(what: str, value: float, unit: str) -> Figure:
    return Figure(what, "heliograph", value, unit)


def _run(plan: Plan, titles: int) -> dict[str, float]:
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    done = subprocess.run(
        ["taskset", "-c", str(plan.place.server_core), sys.executable, "-m", "tests.perf.catalogue"]
        + ["--titles", str(titles), "--directory", str(plan.place.work)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=3600,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(words: Sequence[str] | None = None) -> None:
    """Measure once, and print what was found as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.catalogue", description=__doc__)
    parser.add_argument("--titles", type=int, default=QUICK_TITLES)
    parser.add_argument("--directory", type=Path, default=None)
    options: Any = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        print(json.dumps(asyncio.run(measure(options.titles, Path(directory)))))


if __name__ == "__main__":
    main()
