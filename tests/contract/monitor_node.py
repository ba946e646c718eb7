"""One monitor as a process of its own, run by ``python -m tests.contract.monitor_node``.

Its arguments are DIR LISTEN SERVER… -- JOIN…, each but the first an address HOST:PORT; a server may
have @SECONDS behind, from one probe to the next. It measures the servers by TCP, and tells on
standard output, a line of JSON each, what it missed, what all monitors say together and each for
itself, and which of them doubt themselves. It runs until it is killed.
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

#: Seconds between two probes where nothing is said, and between two looks at whose views are heard.
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
            tell("miss", f"{host}:{probe.port}")
        return outcome


def changed(states: Mapping[int, ServerState]) -> None:
    """All monitors say something else."""
    tell("states", {id: [one.condition.value, one.reason] for id, one in states.items()})


def server(id: int, text: str) -> Server:
    """A server as the arguments have it."""
    address, _, interval = text.partition("@")
    host, _, port = address.rpartition(":")
    probe = Probe(ProbeKind.TCP, float(interval or INTERVAL), int(port))
    return Server(id, f"s{id}", host, probes=(probe,))


async def main(directory: str, listen: str, *rest: str) -> None:
    """Be a node."""
    at = rest.index("--")
    servers, join = rest[:at], rest[at + 1 :]
    identity = Identity.load(Path(directory))
    credentials = identity.credentials(datetime.now(UTC))
    bus = await Bus.open(BusOptions(identity.node, credentials, (listen,), join))
    monitor = Monitor(bus, Telling(), OPTIONS, of="d" * 16, changed=changed)
    monitor.start()
    monitor.replace_servers(server(id, text) for id, text in enumerate(servers, 1))
    known: dict[str, Any] = {}
    while True:
        found = monitor.views()
        now = {
            "views": {
                view.node: {id: one.condition.value for id, one in view.states.items()}
                for view in found
            },
            "doubts": [view.node for view in found if view.doubt],
        }
        for kind, value in now.items():
            if known.get(kind) != value:
                tell(kind, value)
        known = now
        await asyncio.sleep(LOOK)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
