"""One node of a bus as a process of its own: ``python -m tests.contract.bus_node DIR PORT JOIN``.

It announces itself, tells on standard output when it is there and what it sees of others, and
runs until it is killed.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from heliograph.bus import Bus, BusOptions, Event, Request
from heliograph.bus.identity import Identity
from heliograph.bus.wire import Json


async def main(directory: str, port: str, *join: str) -> None:
    """Be a node."""
    identity = Identity.load(Path(directory))
    credentials = identity.credentials(datetime.now(UTC))
    bus = await Bus.open(
        BusOptions(identity.node, credentials, (f"127.0.0.1:{port}",), tuple(join), stall=1.0)
    )

    async def echo(request: Request) -> Json:
        return request.value

    def seen(event: Event) -> None:
        print(type(event).__name__, event.name.name, flush=True)

    async def stand(request: Request) -> Json:
        time.sleep(request.value)  # noqa: ASYNC251 - the loop is to stand still

    bus.serve("echo", echo)
    bus.serve("stand", stand)
    bus.watch("unit", seen)
    bus.announce("unit", Path(directory).name)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
