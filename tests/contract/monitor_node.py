"""One monitor as a process of its own, run by ``python -m tests.contract.monitor_node``.

Its arguments are DIR PORT DOOR… -- JOIN…. It measures one server a door, by TCP on this machine,
and tells on standard output, a line of JSON each, what it missed and what it and all monitors say.
It runs until it is killed.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from heliograph.bus import Bus, BusOptions
from heliograph.bus.identity import Identity
from heliograph.catalogue.contents.values import Probe, ProbeKind, Server, ServerState
from heliograph.dispatcher.monitor.health import HealthOptions, Outcome
from heliograph.dispatcher.monitor.monitor import Monitor, MonitorOptions
from heliograph.dispatcher.monitor.probes import Prober

#: Seconds between two probes, and between two looks at whose views are heard.
INTERVAL, LOOK = 0.3, 0.02
OPTIONS = MonitorOptions(HealthOptions(slow_start=0.5))


def tell(kind: str, value: Any) -> None:
    """Say it, with the time on the clock that all processes of a machine share."""
    print(json.dumps([time.monotonic(), kind, value]), flush=True)


class Telling(Prober):
    """Tells what it missed."""

    async def probe(self, host: str, probe: Probe, timeout: float) -> Outcome:
        outcome = await super().probe(host, probe, timeout)
        if outcome.ms is None:
            tell("miss", probe.port)
        return outcome


def changed(states: Mapping[int, ServerState]) -> None:
    """All monitors say something else."""
    tell("states", {id: [one.condition.value, one.reason] for id, one in states.items()})


async def main(directory: str, port: str, *rest: str) -> None:
    """Be a node."""
    at = rest.index("--")
    doors, join = rest[:at], rest[at + 1 :]
    identity = Identity.load(Path(directory))
    credentials = identity.credentials(datetime.now(UTC))
    bus = await Bus.open(BusOptions(identity.node, credentials, (f"127.0.0.1:{port}",), join))
    monitor = Monitor(bus, Telling(), OPTIONS, of="d" * 16, changed=changed)
    monitor.start()
    monitor.replace_servers(
        Server(id, f"s{id}", "127.0.0.1", probes=(Probe(ProbeKind.TCP, INTERVAL, int(door)),))
        for id, door in enumerate(doors, 1)
    )
    known = None
    while True:
        views = {
            view.node: {id: one.condition.value for id, one in view.states.items()}
            for view in monitor.views()
        }
        if views != known:
            tell("views", views)
            known = views
        await asyncio.sleep(LOOK)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
