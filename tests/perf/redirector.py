"""A dispatcher behind the web server's HTTP, and nothing else: ``python -m tests.perf.redirector``.

Titles ``t1`` … are held by three of the servers each; each tenth is licensed, for the regions that
clients are in. Every decision is recorded as it is in the server: in a journal on disk, from which
counts are written to a database of SQLite by this process.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.contents.values import (
    Condition,
    Contents,
    File,
    Format,
    Network,
    Server,
    ServerState,
    Title,
)
from heliograph.dispatcher.choose import Dispatcher, Options
from heliograph.dispatcher.snapshot import Snapshot
from heliograph.dispatcher.statistics.delivery import Delivery
from heliograph.dispatcher.statistics.journal import Run
from heliograph.dispatcher.statistics.recorder import Recorder
from heliograph.node.process import spare_the_loop
from heliograph.servers.dispatching import Redirects
from heliograph.servers.forwarded import Trust
from heliograph.servers.http import HttpOptions, HttpServer

#: Servers that hold one title.
COPIES = 3
#: Networks whose clients have a region: those of loopback from which is asked, and others.
LOCAL, NETWORKS = 256, 1000
#: Titles of which one is licensed.
LICENSED = 10
REGIONS = tuple(f"r{number}" for number in range(7))
#: Where counts are written to, within the directory.
DATABASE = "catalogue.db"
#: Seconds between two looks at what time does.
TICK = 1.0


def contents(titles: int, servers: int) -> Contents:
    """As many, the same each time."""
    dice = random.Random(1)
    rows = tuple(Server(id, f"s{id}", f"s{id}.example") for id in range(1, servers + 1))
    named = tuple(
        Title(id, f"t{id}", f"Title {id}", regions=() if id % LICENSED else REGIONS)
        for id in range(1, titles + 1)
    )
    files: list[File] = []
    for title in named:
        for server in dice.sample(rows, min(COPIES, servers)):
            uri = f"http://{server.host}/media/{title.name}.mp4"
            files.append(File(len(files) + 1, title.id, server.id, Format.MP4, uri, 3_000_000))
    networks = [Network("127.0.0.0/8", REGIONS[0])]
    for first, count in ((127 << 16, LOCAL), (11 << 16, NETWORKS)):
        for number in range(count):
            address = ip_network((number + first << 8, 24))
            networks.append(Network(str(address), REGIONS[number % len(REGIONS)]))
    return Contents(1, rows, named, tuple(files), tuple(networks))


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _serve(options: argparse.Namespace, directory: Path) -> None:
    catalogue = await Catalogue.open(f"sqlite:///{directory / DATABASE}")
    journal = directory / "statistics"
    run = Run.begin(journal)
    recorder = Recorder(run)
    recorder.start()
    Delivery(journal, run, recorder, catalogue.recording).start()
    dispatcher = Dispatcher(recorder.record, Options(policy=options.policy))
    moment = datetime.now(UTC)
    ids = range(1, options.servers + 1)
    states = {id: ServerState(id, Condition.UP, 1.0 + id, moment, moment) for id in ids}
    snapshot = Snapshot.of(contents(options.titles, options.servers)).with_states(states)
    dispatcher.replace(snapshot, moment.timestamp())
    trust = Trust()
    site: Any = SimpleNamespace(counters=Counter())
    listen = HttpOptions(address="127.0.0.1", port=options.port, trust=trust)
    server = HttpServer(_nothing, site, listen, None, Redirects(dispatcher, trust))
    await server.start()
    spare_the_loop()
    print('{"event": "ready"}', flush=True)
    while True:
        await asyncio.sleep(TICK)
        dispatcher.tick(datetime.now(UTC).timestamp())
        dispatcher.observe(states, datetime.now(UTC).timestamp())


def main() -> None:
    """Serve until somebody ends the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--titles", type=int, default=100_000)
    parser.add_argument("--servers", type=int, default=50)
    parser.add_argument("--policy", default="power-of-two")
    parser.add_argument("--directory", type=Path, required=True, help="for journal and database")
    options = parser.parse_args()
    uvloop.run(_serve(options, options.directory))


if __name__ == "__main__":
    main()
